"""arXiv: Atom API, OAI-PMH and metadata snapshot."""
