"""Words, sentences, LaTeX, and the facets of an abstract."""
