"""The public Python API: `kb.KnowledgeBase`, on which the command line stands."""
