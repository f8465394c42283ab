"""The training corpus: texts, vectors, and shards within which papers are evidence for each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kb.encode.encoder import Vectors
from kb.errors import QueryError
from kb.index.dense import DenseIndex
from kb.models.marge.pairs import Rows
from kb.papers import embedding_text
from kb.store import Catalogue

_MIN_PAPERS = 200  # fewer are too few to train and to measure with
_HELD_OUT_SHARE = 0.05  # of the papers are kept from training
_MAX_HELD_OUT = 2000


@dataclass(frozen=True, slots=True)
class Corpus:
    """Papers by row."""

    texts: list[str]
    """Title and abstract of each of n papers."""
    vectors: Vectors
    """The encoder's unit vectors, shape (n, d)."""
    shards: list[Rows]
    """Rows of each shard of the training papers, each of shape (papers of the shard,)."""
    held_out: Rows
    """Rows of the papers that are kept for measuring, shape (held out,)."""


def read_corpus(catalogue: Catalogue, index: DenseIndex) -> Corpus:
    """Read the papers that have an abstract and a vector; a shard is a primary category in a quarter.

    Raises QueryError if there are fewer than 200.
    """
    papers = catalogue.abstracts()
    keys = np.asarray([paper.key for paper in papers], dtype=np.int64)
    embedded = index.rows_of(keys) >= 0
    papers = [papers[row] for row in np.flatnonzero(embedded).tolist()]
    if len(papers) < _MIN_PAPERS:
        raise QueryError(
            f"Only {len(papers)} papers have an abstract and are embedded; training needs {_MIN_PAPERS}. Ingest more."
        )
    random = np.random.default_rng(0)
    held_out = np.sort(random.permutation(len(papers))[: min(_MAX_HELD_OUT, int(len(papers) * _HELD_OUT_SHARE))])
    excluded = set(held_out.tolist())
    shards: dict[tuple[str, int, int], list[int]] = {}
    for row, paper in enumerate(papers):
        if row not in excluded:
            shards.setdefault((paper.category, paper.year, paper.quarter), []).append(row)
    return Corpus(
        [embedding_text(paper.title, paper.abstract) for paper in papers],
        index.vectors(keys[embedded]),
        [np.asarray(shard, dtype=np.int64) for _, shard in sorted(shards.items())],
        held_out.astype(np.int64),
    )
