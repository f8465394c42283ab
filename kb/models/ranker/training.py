"""Fits the ranker's weights to judged candidates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from kb.models.ranker.weights import Weights

_REGULARIZATION = 0.01  # of the squared distance from the start


@dataclass(frozen=True, slots=True)
class RankedQuery:
    """The candidates of one query: features of shape (n, features), relevance of shape (n,), 0 for not relevant."""

    features: NDArray[np.float32]
    relevance: NDArray[np.float32]


def fit(collections: Sequence[tuple[float, Sequence[RankedQuery]]], start: Weights) -> Weights:
    """Fit weights of shape (features,) to collections of queries, each with its own weight in the loss.

    Minimises the softmax cross-entropy of each query's relevant candidates (ListNet: Cao et al., Learning to rank: from pairwise
    approach to listwise approach, ICML 2007), and keeps near `start`. Queries without a relevant candidate teach nothing.
    """
    kept = [(weight, [query for query in queries if query.relevance.any()]) for weight, queries in collections]
    used = [(weight / len(queries), query) for weight, queries in kept for query in queries]

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        distance = weights - start
        value, gradient = _REGULARIZATION * float(distance @ distance), 2 * _REGULARIZATION * distance
        for weight, query in used:
            scores = query.features @ weights
            scores -= scores.max()
            log_p = scores - np.log(np.exp(scores).sum())
            target = query.relevance / query.relevance.sum()
            value -= weight * float(target @ log_p)
            gradient += weight * (query.features.T @ (np.exp(log_p) - target))
        return value, gradient

    found = minimize(loss, np.asarray(start, dtype=np.float64), jac=True, method="L-BFGS-B")
    return np.asarray(found.x, dtype=np.float32)
