"""The papers that a model is trained on: texts, vectors, and shards within which they are evidence for each other."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from kb.dense import DenseIndex
from kb.embed import Vectors
from kb.errors import QueryError
from kb.marge.pairs import Rows
from kb.papers import Paper, embedding_text
from kb.store import Catalogue

_LEAST = 200  # papers below which there is too little to learn from and to measure with
_HELD_OUT = 0.05  # share of the papers that training never sees, and at most so many:
_MOST_HELD_OUT = 2000


@dataclass(frozen=True, slots=True)
class Corpus:
    """Texts and their unit vectors by row; row numbers of the shards, and of the papers that are kept for measuring."""

    texts: list[str]
    vectors: Vectors
    shards: list[Rows]
    held_out: Rows


def read_corpus(catalogue: Catalogue, index: DenseIndex, left_out: Collection[int] = ()) -> Corpus:
    """The papers with an abstract and a vector, but those of the keys `left_out`; shards are primary category × quarter.

    Raises QueryError where there are too few.
    """
    keys = np.setdiff1d(index.keys(), np.asarray(list(left_out), dtype=np.int64))
    papers = [(key, paper) for key, paper in sorted(catalogue.papers(keys.tolist()).items()) if paper.abstract]
    if len(papers) < _LEAST:
        raise QueryError(f"Only {len(papers)} papers have an abstract and are embedded; training needs {_LEAST}. Ingest more.")
    vectors = index.vectors(np.asarray([key for key, _ in papers], dtype=np.int64))
    random = np.random.default_rng(0)
    held_out = np.sort(random.permutation(len(papers))[: min(_MOST_HELD_OUT, int(len(papers) * _HELD_OUT))])
    kept_back = set(held_out.tolist())
    shards: dict[tuple[str, int, int], list[int]] = {}
    for row, (_, paper) in enumerate(papers):
        if row not in kept_back:
            shards.setdefault(_shard(paper), []).append(row)
    return Corpus(
        [embedding_text(paper.title, paper.abstract) for _, paper in papers],
        vectors,
        [np.asarray(shard, dtype=np.int64) for _, shard in sorted(shards.items())],
        held_out.astype(np.int64),
    )


def _shard(paper: Paper) -> tuple[str, int, int]:
    quarter = (paper.published.month + 2) // 3 if paper.published else 0
    return (paper.categories[0] if paper.categories else "", paper.year or 0, quarter)
