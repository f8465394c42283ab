"""The dense index: exact inner products over unit vectors, by FAISS."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# On macOS torch has to be loaded before faiss, the other order crashes; elsewhere a search does without its seconds.
if sys.platform == "darwin":
    import torch  # noqa: F401
import faiss
import numpy as np
from numpy.typing import NDArray

from kb.embed import Vectors
from kb.errors import StoreError
from kb.store import Keys

DENSE_FILE = "dense.faiss"
#: Cosine from which on two papers count as one and the same text, and are no evidence for each other.
NEAR_DUPLICATE = 0.95


class DenseIndex:
    """Vectors by paper key; similarity is the cosine."""

    def __init__(self, index: faiss.Index) -> None:
        self._index = index

    @classmethod
    def build(cls, keys: Keys, vectors: Vectors) -> DenseIndex:
        """An index of these rows: keys of shape (n,), vectors of shape (n, d)."""
        index = faiss.IndexIDMap2(faiss.IndexFlatIP(vectors.shape[1]))
        index.add_with_ids(np.ascontiguousarray(vectors), keys)
        return cls(index)

    @classmethod
    def read(cls, path: Path) -> DenseIndex:
        """Raises StoreError where the file is not an index."""
        try:
            return cls(faiss.read_index(str(path)))
        except RuntimeError as error:
            raise StoreError(
                f"{path} is no readable index. Run `kb index`: it is built again from the stored vectors."
            ) from error

    def write(self, path: Path) -> None:
        """Writes the index under a temporary name first; the file is whole or not there.

        Raises StoreError where the disk is full.
        """
        temporary = path.with_suffix(".tmp")
        try:
            faiss.write_index(self._index, str(temporary))
        except RuntimeError as error:
            raise StoreError(f"{path} cannot be written. Make room, and run `kb index` again.") from error
        os.replace(temporary, path)

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def dimension(self) -> int:
        return int(self._index.d)

    def keys(self) -> Keys:
        """The paper key of every row."""
        return np.asarray(faiss.vector_to_array(self._index.id_map), dtype=np.int64)

    def search(self, queries: Vectors, k: int, allowed: Keys | None = None) -> tuple[Keys, Vectors]:
        """The k nearest of each query, best first: keys and cosines, shape (queries, at most k).

        `allowed` restricts the search to these keys, inside the scan, so that k come back whenever k exist.
        """
        k = min(k, len(self) if allowed is None else len(allowed))
        if k == 0 or not len(self):
            return np.empty((len(queries), 0), dtype=np.int64), np.empty((len(queries), 0), dtype=np.float32)
        parameters = None
        if allowed is not None:
            bits = np.zeros(int(allowed.max()) // 8 + 1, dtype=np.uint8)
            np.bitwise_or.at(bits, allowed >> 3, (1 << (allowed & 7)).astype(np.uint8))
            selector = faiss.IDSelectorBitmap(bits)
            parameters = faiss.SearchParameters(sel=selector)
        scores, keys = self._index.search(np.ascontiguousarray(queries), k, params=parameters)
        if len(queries) == 1:  # fewer than k of the allowed ones are in the index: FAISS pads with −1
            found = keys[0] >= 0
            keys, scores = keys[:, found], scores[:, found]
        return keys, scores

    def vectors(self, keys: Keys) -> Vectors:
        """The stored vectors of these keys, shape (n, d). Raises KeyError for one that is not in the index."""
        if not len(keys):
            return np.empty((0, self.dimension), dtype=np.float32)
        rows = self.rows_of(keys)
        if (rows < 0).any():
            raise KeyError(int(keys[rows < 0][0]))
        flat = faiss.downcast_index(self._index.index)
        return np.asarray(flat.reconstruct_batch(rows), dtype=np.float32)

    def rows_of(self, keys: Keys) -> NDArray[np.int64]:
        """Row of each key, −1 where it is not in the index. Rows are in the order of keys."""
        known = self.keys()
        rows = np.searchsorted(known, keys)
        rows[rows == len(known)] = 0
        return np.where(known[rows] == keys, rows, -1).astype(np.int64) if len(known) else np.full(len(keys), -1, dtype=np.int64)
