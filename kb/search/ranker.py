"""The learned ranker: the default reranker."""

from __future__ import annotations

import numpy as np

from kb.encode.encoder import Vectors
from kb.models.ranker.weights import FEATURES, RankerWeights
from kb.search.retriever import Candidates, Query, rocchio_centroid, z_scores

_NEIGHBOURS = 10
_RANKED = 600  # candidates that are ranked; the similarities of all pairs are computed


class LearnedReranker:
    """Ranks candidates by a linear model over their scores and stored vectors: nothing is encoded or read."""

    depth = _RANKED

    def __init__(self, weights: RankerWeights) -> None:
        self._weights = weights

    def rerank(self, query: Query, candidates: Candidates) -> Vectors:
        """See Reranker.rerank."""
        weights = self._weights.example if query.by_example else self._weights.phrase
        return np.asarray(self.features(candidates) @ weights, dtype=np.float32)

    def features(self, candidates: Candidates) -> Vectors:
        """The features of the first candidates, `depth` at most, z-scored over them; shape (n, features), as in FEATURES."""
        n = min(len(candidates), self.depth)
        if not n:
            return np.zeros((0, len(FEATURES)), dtype=np.float32)
        fused, vectors = candidates.fused[:n], candidates.vectors[:n]
        similarities = vectors @ vectors.T
        columns = (
            candidates.dense[:n],
            candidates.lexical[:n],
            vectors @ rocchio_centroid(fused, vectors),
            _neighbours(similarities, fused),
            similarities.mean(axis=1),
        )
        return np.stack([z_scores(np.asarray(column, dtype=np.float32)) for column in columns], axis=1)


def _neighbours(similarities: Vectors, scores: Vectors) -> Vectors:
    """Mean score of each candidate's nearest other candidates, weighted by their cosines; shape (n,).

    Similar documents should have similar scores (Diaz, Regularizing ad hoc retrieval scores, CIKM 2005).
    """
    n = len(scores)
    k = min(_NEIGHBOURS, n - 1)
    if k < 1:
        return np.zeros(n, dtype=np.float32)
    others = similarities.copy()
    np.fill_diagonal(others, -1)
    nearest = np.argpartition(-others, k - 1, axis=1)[:, :k]
    cosines = np.maximum(np.take_along_axis(others, nearest, axis=1), 1e-6)
    return np.asarray((cosines * scores[nearest]).sum(axis=1) / cosines.sum(axis=1), dtype=np.float32)
