"""The papers that a model is trained on: texts, vectors, and shards within which they are evidence for each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kb.encode.encoder import Vectors
from kb.errors import QueryError
from kb.index.dense import DenseIndex
from kb.models.marge.pairs import Rows
from kb.papers import embedding_text
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


def read_corpus(catalogue: Catalogue, index: DenseIndex) -> Corpus:
    """The papers with an abstract and a vector; shards are primary category × quarter.

    Raises QueryError where there are too few.
    """
    papers = catalogue.abstracts()
    keys = np.asarray([paper.key for paper in papers], dtype=np.int64)
    embedded = index.rows_of(keys) >= 0
    papers = [papers[row] for row in np.flatnonzero(embedded).tolist()]
    if len(papers) < _LEAST:
        raise QueryError(f"Only {len(papers)} papers have an abstract and are embedded; training needs {_LEAST}. Ingest more.")
    random = np.random.default_rng(0)
    held_out = np.sort(random.permutation(len(papers))[: min(_MOST_HELD_OUT, int(len(papers) * _HELD_OUT))])
    kept_back = set(held_out.tolist())
    shards: dict[tuple[str, int, int], list[int]] = {}
    for row, paper in enumerate(papers):
        if row not in kept_back:
            shards.setdefault((paper.category, paper.year, paper.quarter), []).append(row)
    return Corpus(
        [embedding_text(paper.title, paper.abstract) for paper in papers],
        index.vectors(keys[embedded]),
        [np.asarray(shard, dtype=np.int64) for _, shard in sorted(shards.items())],
        held_out.astype(np.int64),
    )
