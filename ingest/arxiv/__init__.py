"""arXiv as a source: the Atom API, OAI-PMH, and the metadata snapshot."""
