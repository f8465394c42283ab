"""The Streamlit app: pages that show what the library finds and pass on what the user asks for."""
