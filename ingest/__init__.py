"""Jobs that bring papers, notes and code links into the knowledge base."""
