"""Queries, and retrieval of candidates for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from kb.dense import DenseIndex
from kb.embed import Vectors
from kb.store import Filters, Keys


@dataclass(frozen=True, slots=True)
class Query:
    """What is looked for: a text, papers that are good examples, papers that are bad ones, or all together."""

    text: str = ""
    like: tuple[int, ...] = ()
    """Keys of papers to find the like of; they are not among the results."""
    unlike: tuple[int, ...] = ()
    """Keys of papers to keep away from; they are not among the results either."""
    filters: Filters = field(default_factory=Filters)


@dataclass(frozen=True, slots=True)
class Candidates:
    """Papers that a retriever found, best first: keys and scores, both of shape (n,)."""

    keys: Keys
    scores: Vectors


#: Texts to unit vectors; a query without text never calls it, so that no model is loaded for it.
Encode = Callable[[Sequence[str]], Vectors]

# How much a bad example counts against good ones: Rocchio's usual proportion of γ to β, 0.15 to 0.75
# (Manning, Raghavan, Schütze: Introduction to Information Retrieval, section 9.1.1).
_UNLIKE_WEIGHT = 0.2


def query_vector(query: Query, index: DenseIndex, encode: Encode) -> Vectors:
    """One unit vector for the query, shape (1, d).

    Text and examples count alike, and bad examples are subtracted (Rocchio 1971). Papers that are not embedded yet
    count nothing.
    """
    parts: list[Vectors] = []
    if query.text:
        parts.append(encode([query.text]))
    if len(liked := embedded_only(query.like, index)):
        parts.append(index.vectors(liked))
    if not parts:
        return np.zeros((1, index.dimension), dtype=np.float32)
    vector = np.concatenate(parts).mean(axis=0, keepdims=True)
    if len(disliked := embedded_only(query.unlike, index)):
        vector = vector - _UNLIKE_WEIGHT * index.vectors(disliked).mean(axis=0, keepdims=True)
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-12), dtype=np.float32)


def embedded_only(keys: tuple[int, ...], index: DenseIndex) -> Keys:
    """Those of the keys that the index holds."""
    wanted = np.asarray(keys, dtype=np.int64)
    return wanted[index.rows_of(wanted) >= 0] if len(wanted) else wanted


def retrieve_dense(query: Query, k: int, index: DenseIndex, encode: Encode, allowed: Keys | None) -> Candidates:
    """The k papers nearest to the query by cosine, its own examples left out."""
    own = np.asarray(query.like + query.unlike, dtype=np.int64)
    keys, scores = index.search(query_vector(query, index, encode), k + len(own), allowed)
    kept = ~np.isin(keys[0], own)
    return Candidates(keys[0][kept][:k], scores[0][kept][:k])
