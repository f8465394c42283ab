"""Texts to vectors, and the vectors on disk."""
