"""Importers of papers, notes and code links, one folder a source, and the jobs that run them."""
