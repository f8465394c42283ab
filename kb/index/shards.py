"""The dense index of many papers in shards: parts of the papers, each an index by itself, searched as one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kb.cluster import Cluster
from kb.encode.encoder import Vectors
from kb.encode.vector_store import Digests
from kb.index.dense import DENSE_FILE, DenseIndex
from kb.index.ivfpq import Take, best
from kb.store import Keys


class ShardedIndex:
    """Indexes of disjoint sets of papers. Without a cluster they are searched one after the other, in this process."""

    def __init__(self, paths: Sequence[Path], cluster: Cluster | None = None) -> None:
        """Opens the indexes at these paths; of a cluster, in a process each, on any machine that has the files.

        Raises StoreError where one is not an index; on a cluster, the first search does.
        """
        self._indexes = [] if cluster else [DenseIndex.read(path) for path in paths]
        self._kept = cluster.keep(DenseIndex.read, paths) if cluster else None

    def search(self, queries: Vectors, k: int, allowed: Keys | None = None) -> tuple[Keys, Vectors]:
        """As DenseIndex.search: each shard gives its k nearest, among which are the k nearest of all."""
        if self._kept is not None:
            found = self._kept.ask(DenseIndex.search, queries, k, allowed)
        else:
            found = [index.search(queries, k, allowed) for index in self._indexes]
        keys = np.concatenate([some for some, _ in found], axis=1)
        cosines = np.concatenate([some for _, some in found], axis=1)
        merged = [best(*row, k) for row in zip(keys, cosines, strict=True)]
        return np.stack([row for row, _ in merged]), np.stack([row for _, row in merged])


def write_shards(folder: Path, count: int, keys: Keys, digests: Digests, vectors: Take, dimension: int) -> list[Path]:
    """Writes the index of these papers, as DenseIndex.update would, in so many shards of consecutive keys; their paths."""
    paths = []
    for number, rows in enumerate(np.array_split(np.arange(len(keys)), count)):
        path = folder / f"{number:04d}" / DENSE_FILE
        path.parent.mkdir(parents=True, exist_ok=True)

        def taken(some: Keys, rows: Keys = rows) -> Vectors:
            return vectors(rows[some])

        DenseIndex.update(path, keys[rows], digests[rows], taken, dimension)
        paths.append(path)
    return paths
