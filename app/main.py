"""The app: `kb app`, or `streamlit run app/main.py` with KB_HOME set."""

from __future__ import annotations

import streamlit as st

from app import search_page

st.set_page_config(page_title="Find papers", page_icon="📄", layout="wide", initial_sidebar_state="auto")
st.navigation([st.Page(search_page.show, title="Find papers", icon=":material/search:", default=True)]).run()
