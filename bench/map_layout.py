"""Neighbourhood preservation of the map, beside the first two principal components, and the time of its layout."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.rows import Row
from kb.encode.encoder import Vectors
from kb.index.dense import DenseIndex
from kb.insights.map_layout import Coordinates, Projection, Projector
from kb.store import Home

_QUERIES = 500  # papers whose neighbours are compared
_SAMPLE = 60_000


def measure(homes: Sequence[Path]) -> list[Row]:
    """Lay out a new map of each of these indexed knowledge bases."""
    return [_row(Home(home)) for home in homes]


def _row(home: Home) -> Row:
    generation = home.open()
    try:
        index = DenseIndex.open(generation)
    finally:
        generation.close()
    keys = index.keys()
    vectors = index.vectors(keys)
    rng = np.random.default_rng(0)
    began = time.perf_counter()
    sample = vectors[np.sort(rng.choice(len(vectors), min(_SAMPLE, len(vectors)), replace=False))]
    projection = Projection.fit(sample, len(vectors), "bench")
    drawn = time.perf_counter()
    coordinates = Projector(projection).project(vectors)
    ended = time.perf_counter()
    queries = rng.choice(len(vectors), _QUERIES, replace=False)
    ours = _preserved(vectors, coordinates, queries)
    plain = _preserved(vectors, (vectors - projection.mean) @ projection.axes[:, :2], queries)
    return Row(
        f"the map of {len(vectors):,} papers (drawn in {drawn - began:.0f} s, placed in {ended - drawn:.0f} s): "
        "of a paper's ten nearest, the share among the nearest 1 % on the map",
        f"{ours:.3f}",
        f"the first two principal axes: {plain:.3f}",
        f"{ours / plain:.1f} ×",
    )


def _preserved(vectors: Vectors, coordinates: Coordinates, queries: NDArray[np.int64]) -> float:
    """Share of the ten nearest by cosine that are among the nearest 1 % on the map, the mean over these rows."""
    shares = []
    for row in queries.tolist():
        cosines = vectors @ vectors[row]
        cosines[row] = -2.0
        nearest = np.argpartition(-cosines, 10)[:10]
        distances = ((coordinates - coordinates[row]) ** 2).sum(axis=1)
        limit = np.partition(distances, len(coordinates) // 100)[len(coordinates) // 100]
        shares.append(float((distances[nearest] <= limit).mean()))
    return float(np.mean(shares))
