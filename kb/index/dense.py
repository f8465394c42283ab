"""The dense index: cosines over unit vectors, exact for a small knowledge base, by way of compressed codes for a large one.

In files beside each other, none of which is ever written to in place, so that generations share what did not change:

    dense.faiss           papers compared one by one: all of them, or the recent ones of many
    dense.documents.npy   key and text digest of every paper, with which an update compares
    dense.codes.faiss, dense.vectors.npy, dense.keys.npy, dense.gone.npy   the others (kb.codes), once there are many
"""

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

from kb.encode.encoder import Vectors
from kb.encode.vector_store import ENTRY, Digests, differences, entries
from kb.errors import StoreError
from kb.index.ivfpq import Compressed, Take, best, marked, one_thread
from kb.store import Keys

DENSE_FILE = "dense.faiss"
DENSE_FILES = "dense."
"""How the names of all its files begin."""
_DOCUMENTS = ".documents.npy"
_EXACT = 20_000  # papers that are compared one by one: a few milliseconds
#: Cosine from which on two papers count as one and the same text, and are no evidence for each other.
NEAR_DUPLICATE = 0.95


class DenseIndex:
    """Vectors by paper key; similarity is the cosine. Safe to share between threads."""

    def __init__(self, recent: faiss.Index, compressed: Compressed | None = None) -> None:
        self._recent = recent
        self._compressed = compressed
        self._recent_keys: Keys = np.asarray(faiss.vector_to_array(recent.id_map), dtype=np.int64)

    @classmethod
    def build(cls, keys: Keys, vectors: Vectors) -> DenseIndex:
        """An exact index of these rows: keys of shape (n,), ascending, and vectors of shape (n, d)."""
        index = faiss.IndexIDMap2(faiss.IndexFlatIP(vectors.shape[1]))
        index.add_with_ids(np.ascontiguousarray(vectors), keys)
        return cls(index)

    @classmethod
    def read(cls, path: Path) -> DenseIndex:
        """Raises StoreError where the file is not an index."""
        try:
            compressed = Compressed.read(path) if path.with_suffix(".codes.faiss").is_file() else None
            return cls(faiss.read_index(str(path)), compressed)
        except (RuntimeError, OSError, ValueError) as error:
            raise StoreError(
                f"{path} is no readable index. Run `kb index`: it is built again from the stored vectors."
            ) from error

    def write(self, path: Path) -> None:
        """Writes the papers that are compared one by one under a temporary name first; the file is whole or not there."""
        temporary = path.with_suffix(".tmp")
        try:
            faiss.write_index(self._recent, str(temporary))
        except RuntimeError as error:
            raise StoreError(f"{path} cannot be written. Make room, and run `kb index` again.") from error
        os.replace(temporary, path)

    @classmethod
    def update(cls, path: Path, keys: Keys, digests: Digests, vectors: Take, dimension: int) -> None:
        """Makes the index at `path` hold exactly these papers: keys, ascending, and digests of their texts, both of shape (n,).

        Only vectors of what is new or differs are asked for, by row. Where there are more of them than are compared one
        by one, they are compressed with the others; where the others are worn, or not there, all are. An index that cannot
        be read is built anew.
        """
        wanted = entries(keys, digests)
        documents = path.with_suffix(_DOCUMENTS)
        try:
            index, present = cls.read(path), np.load(documents, mmap_mode="r")
        except (StoreError, OSError, ValueError):  # none is there, or none that can be read
            for left in path.parent.glob(f"{DENSE_FILES}*"):
                left.unlink()
            index, present = cls.build(keys[:0], np.empty((0, dimension), dtype=np.float32)), np.empty(0, dtype=ENTRY)
        gone, come = differences(present, wanted)
        stale, missing = present["key"][gone], np.flatnonzero(come)
        if path.is_file() and not len(stale) and not len(missing):
            return
        kept = index._recent_keys[~np.isin(index._recent_keys, stale)]
        recent = np.union1d(kept, keys[missing])

        def taken(rows: Keys) -> Vectors:
            return vectors(np.searchsorted(keys, recent[rows]))

        compressed = index._compressed and index._compressed.without(stale)
        if len(recent) > _EXACT and dimension % 4 == 0:
            if compressed is None or compressed.worn:
                Compressed.build(path, keys, vectors, dimension)
            else:
                compressed.extend(path, recent, taken)
            recent = recent[:0]
        elif compressed is not None:
            compressed.write_gone(path)
        cls.build(recent, taken(np.arange(len(recent)))).write(path)
        temporary = documents.with_suffix(".tmp")
        with temporary.open("wb") as file:
            np.save(file, wanted)
        temporary.replace(documents)

    def __len__(self) -> int:
        return len(self._recent_keys) + (len(self._compressed.keys) if self._compressed else 0)

    @property
    def dimension(self) -> int:
        return int(self._recent.d)

    def keys(self) -> Keys:
        """The key of every paper, ascending."""
        return np.union1d(self._recent_keys, self._compressed.keys) if self._compressed else self._recent_keys

    def search(self, queries: Vectors, k: int, allowed: Keys | None = None) -> tuple[Keys, Vectors]:
        """The k nearest of each query, best first: keys and cosines, shape (queries, at most k); of equals the lower key first.

        `allowed` restricts the search to these keys, inside the scan, so that k come back whenever k exist.
        """
        k = min(k, len(self) if allowed is None else len(allowed))
        if k == 0 or not len(self):
            return np.empty((len(queries), 0), dtype=np.int64), np.empty((len(queries), 0), dtype=np.float32)
        with one_thread():
            found = [self._nearest(query, k, allowed) for query in np.ascontiguousarray(queries)]
        shortest = min(len(keys) for keys, _ in found)
        return np.stack([keys[:shortest] for keys, _ in found]), np.stack([cosines[:shortest] for _, cosines in found])

    def _nearest(self, query: Vectors, k: int, allowed: Keys | None) -> tuple[Keys, Vectors]:
        """The k nearest of one query, or all that are allowed."""
        keys, cosines = self._nearest_recent(query, k, allowed)
        if self._compressed is None:
            return keys, cosines
        others = self._compressed.search(query, k, allowed)
        return best(np.concatenate([keys, others[0]]), np.concatenate([cosines, others[1]]), k)

    def _nearest_recent(self, query: Vectors, k: int, allowed: Keys | None) -> tuple[Keys, Vectors]:
        """The k nearest, or all that are allowed, of those that are compared one by one."""
        parameters = None
        if allowed is not None:
            bits = np.packbits(marked(allowed), bitorder="little")
            selector = faiss.IDSelectorBitmap(bits)
            parameters = faiss.SearchParameters(sel=selector)
        asked = k + 1
        while True:
            cosines, keys = self._recent.search(query[None], asked, params=parameters)
            found = keys[0] >= 0  # FAISS pads with −1 where there are fewer
            # Of equals at the end FAISS keeps any: all of them are asked for.
            if not found.all() or cosines[0, k - 1] > cosines[0, -1]:
                return best(keys[0, found], cosines[0, found], k)
            asked *= 2

    def vectors(self, keys: Keys) -> Vectors:
        """The stored vectors of these keys, shape (n, d). Raises KeyError for one that is not in the index."""
        if not len(keys):
            return np.empty((0, self.dimension), dtype=np.float32)
        rows = self.rows_of(keys)
        if (rows < 0).any():
            raise KeyError(int(keys[rows < 0][0]))
        count = len(self._recent_keys)
        out = np.empty((len(keys), self.dimension), dtype=np.float32)
        recent = rows < count
        if recent.any():
            out[recent] = faiss.downcast_index(self._recent.index).reconstruct_batch(rows[recent])
        if self._compressed and not recent.all():
            out[~recent] = self._compressed.vectors(rows[~recent] - count)
        return out

    def rows_of(self, keys: Keys) -> NDArray[np.int64]:
        """A number for each key under which its vector is stored, −1 where it is not in the index."""
        known = self._recent_keys
        rows = np.full(len(keys), -1, dtype=np.int64)
        if len(known):
            at = np.minimum(np.searchsorted(known, keys), len(known) - 1)
            rows = np.where(known[at] == keys, at, -1).astype(np.int64)
        if self._compressed:
            others = self._compressed.rows_of(keys)
            rows = np.where(others >= 0, others + len(known), rows)
        return rows
