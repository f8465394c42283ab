"""The ranker: a linear model over features of the candidates of a search."""
