"""A dense index split into shards, which are searched as one, in this process or on a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kb.cluster import Cluster
from kb.encode.encoder import Vectors
from kb.encode.vector_store import Digests
from kb.index.dense import DENSE_FILE, DenseIndex
from kb.index.ivfpq import VectorSource, top_k
from kb.store import Keys


class ShardedIndex:
    """Dense indexes of disjoint sets of papers. Without a cluster they are searched one after the other."""

    def __init__(self, paths: Sequence[Path], cluster: Cluster | None = None) -> None:
        """Open the indexes at these paths; on a cluster each in a process of its own, on any machine that has the files.

        Raises StoreError if one is not an index; on a cluster the first search raises it.
        """
        self._indexes = [] if cluster else [DenseIndex.read(path) for path in paths]
        self._actors = cluster.actors(DenseIndex.read, paths) if cluster else None

    def search(self, queries: Vectors, k: int, allowed: Keys | None = None) -> tuple[Keys, Vectors]:
        """See `DenseIndex.search`: the k nearest of all are among the k nearest of each shard."""
        if self._actors is not None:
            found = self._actors.call(DenseIndex.search, queries, k, allowed)
        else:
            found = [index.search(queries, k, allowed) for index in self._indexes]
        keys = np.concatenate([some for some, _ in found], axis=1)
        cosines = np.concatenate([some for _, some in found], axis=1)
        merged = [top_k(*row, k) for row in zip(keys, cosines, strict=True)]
        return np.stack([row for row, _ in merged]), np.stack([row for _, row in merged])


def write_shards(folder: Path, count: int, keys: Keys, digests: Digests, vectors: VectorSource, dimension: int) -> list[Path]:
    """Write the index of these papers as `count` shards of consecutive keys; return their paths.

    Keys, ascending, and digests are of shape (n,). Raises StoreError if a shard cannot be written.
    """
    paths = []
    for number, rows in enumerate(np.array_split(np.arange(len(keys)), count)):
        path = folder / f"{number:04d}" / DENSE_FILE
        path.parent.mkdir(parents=True, exist_ok=True)

        def taken(some: Keys, rows: Keys = rows) -> Vectors:
            return vectors(rows[some])

        DenseIndex.update(path, keys[rows], digests[rows], taken, dimension)
        paths.append(path)
    return paths
