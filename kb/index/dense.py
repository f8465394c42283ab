"""Dense index: cosine search over unit vectors; a flat index, and an IVF-PQ index beside it in a large knowledge base.

Its files are never written to in place, so that generations share those that did not change:

    dense.faiss           the flat part: all papers, or in a large knowledge base the recent ones
    dense.documents.npy   key and text digest of every paper; an update compares with them
    dense.codes.faiss, dense.keys.npy, dense.gone.npy, dense.vectors.npy, dense.checksums.npy
                          the IVF-PQ part (`kb.index.ivfpq`)
"""

from __future__ import annotations

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
from kb.files import replacing
from kb.index.ivfpq import IvfPqIndex, VectorSource, key_mask, one_thread, top_k
from kb.store import Generation, Keys

DENSE_FILE = "dense.faiss"
DENSE_FILES = "dense."
"""Prefix of the names of all its files."""
_DOCUMENTS = ".documents.npy"
_MAX_FLAT = 20_000  # papers in the flat part: a few milliseconds a search
#: Cosine at which two papers count as copies of the same text, which are not evidence for each other.
NEAR_DUPLICATE = 0.95


class DenseIndex:
    """Cosine search over paper vectors by key. Safe to share between threads."""

    def __init__(self, flat: faiss.Index, ivfpq: IvfPqIndex | None = None) -> None:
        self._flat = flat
        self._ivfpq = ivfpq
        self._flat_keys: Keys = np.asarray(faiss.vector_to_array(flat.id_map), dtype=np.int64)

    @classmethod
    def build(cls, keys: Keys, vectors: Vectors) -> DenseIndex:
        """Build a flat index: keys of shape (n,), ascending, and vectors of shape (n, d)."""
        index = faiss.IndexIDMap2(faiss.IndexFlatIP(vectors.shape[1]))
        index.add_with_ids(np.ascontiguousarray(vectors), keys)
        return cls(index)

    @classmethod
    def open(cls, generation: Generation) -> DenseIndex:
        """Open a generation's index. Raises StoreError if a file is missing or not what was published.

        The file of vectors, the largest by far, is checked row by row when a row is first read.
        """
        for name in generation.manifest.files:
            if name.startswith(DENSE_FILES) and name not in {f"{DENSE_FILES}vectors.npy", f"{DENSE_FILES}documents.npy"}:
                generation.verified_file(name)
        return cls.read(generation.file(DENSE_FILE))

    @classmethod
    def read(cls, path: Path) -> DenseIndex:
        """Open the index at `path`. Raises StoreError if a file of it is missing or not readable."""
        try:
            ivfpq = IvfPqIndex.read(path) if path.with_suffix(".codes.faiss").is_file() else None
            return cls(faiss.read_index(str(path)), ivfpq)
        except (RuntimeError, OSError, ValueError) as error:
            raise StoreError(
                f"{path} is not a readable index. Run `kb index`: it is built again from the stored vectors."
            ) from error

    def write(self, path: Path) -> None:
        """Write the flat part to a temporary file, then rename it. Raises StoreError if it cannot be written."""
        with replacing(path) as temporary:
            try:
                faiss.write_index(self._flat, str(temporary))
            except RuntimeError as error:
                raise StoreError(f"{path} cannot be written. Make room, and run `kb index` again.") from error

    @classmethod
    def update(cls, path: Path, keys: Keys, digests: Digests, vectors: VectorSource, dimension: int) -> None:
        """Make the index at `path` hold exactly these papers: keys, ascending, and digests of their texts, both of shape (n,).

        `vectors` is asked only for rows that are new or differ. When the flat part exceeds its limit, its papers move into the
        IVF-PQ part, which is built if it is missing and rebuilt if it needs to be. An index that cannot be read is rebuilt.
        Raises StoreError if the files cannot be written.
        """
        wanted = entries(keys, digests)
        documents = path.with_suffix(_DOCUMENTS)
        try:
            index, present = cls.read(path), np.load(documents, mmap_mode="r")
        except (StoreError, OSError, ValueError):  # missing or damaged
            for left in path.parent.glob(f"{DENSE_FILES}*"):
                left.unlink()
            index, present = cls.build(keys[:0], np.empty((0, dimension), dtype=np.float32)), np.empty(0, dtype=ENTRY)
        removed, added = differences(present, wanted)
        stale, missing = present["key"][removed], np.flatnonzero(added)
        if path.is_file() and not len(stale) and not len(missing):
            return
        kept = index._flat_keys[~np.isin(index._flat_keys, stale)]
        flat = np.union1d(kept, keys[missing])

        def taken(rows: Keys) -> Vectors:
            return vectors(np.searchsorted(keys, flat[rows]))

        ivfpq = index._ivfpq and index._ivfpq.with_deleted(stale)
        if len(flat) > _MAX_FLAT and dimension % 4 == 0:
            if ivfpq is None or ivfpq.needs_rebuild:
                IvfPqIndex.build(path, keys, vectors, dimension)
            else:
                ivfpq.extend(path, flat, taken)
            flat = flat[:0]
        elif ivfpq is not None:
            ivfpq.write_deleted(path)
        cls.build(flat, taken(np.arange(len(flat)))).write(path)
        with replacing(documents) as temporary, temporary.open("wb") as file:
            np.save(file, wanted)

    def __len__(self) -> int:
        return len(self._flat_keys) + (len(self._ivfpq.keys) if self._ivfpq else 0)

    @property
    def dimension(self) -> int:
        """Numbers in a vector."""
        return int(self._flat.d)

    def keys(self) -> Keys:
        """Keys of all papers, ascending, shape (n,)."""
        return np.union1d(self._flat_keys, self._ivfpq.keys) if self._ivfpq else self._flat_keys

    def search(self, queries: Vectors, k: int, allowed: Keys | None = None) -> tuple[Keys, Vectors]:
        """Return the k nearest papers of each query, best first: keys and cosines, both of shape (q, at most k).

        `queries` are unit vectors of shape (q, d); among equal cosines the lower key comes first. `allowed`, keys of shape (m,),
        filters inside the search: k papers are returned whenever k are allowed.
        """
        k = min(k, len(self) if allowed is None else len(allowed))
        if k == 0 or not len(self):
            return np.empty((len(queries), 0), dtype=np.int64), np.empty((len(queries), 0), dtype=np.float32)
        with one_thread():
            found = [self._nearest(query, k, allowed) for query in np.ascontiguousarray(queries)]
        shortest = min(len(keys) for keys, _ in found)
        return np.stack([keys[:shortest] for keys, _ in found]), np.stack([cosines[:shortest] for _, cosines in found])

    def _nearest(self, query: Vectors, k: int, allowed: Keys | None) -> tuple[Keys, Vectors]:
        """Keys and cosines of the k nearest of one query, shape (d,), or of all that are allowed; both of shape (at most k,)."""
        keys, cosines = self._nearest_flat(query, k, allowed)
        if self._ivfpq is None:
            return keys, cosines
        others = self._ivfpq.search(query, k, allowed)
        return top_k(np.concatenate([keys, others[0]]), np.concatenate([cosines, others[1]]), k)

    def _nearest_flat(self, query: Vectors, k: int, allowed: Keys | None) -> tuple[Keys, Vectors]:
        """As `_nearest`, over the flat part."""
        parameters = None
        if allowed is not None:
            bits = np.packbits(key_mask(allowed), bitorder="little")
            selector = faiss.IDSelectorBitmap(bits)
            parameters = faiss.SearchParameters(sel=selector)
        asked = k + 1
        while True:
            cosines, keys = self._flat.search(query[None], asked, params=parameters)
            found = keys[0] >= 0  # FAISS pads with −1 if there are fewer
            # Among papers tied at place k FAISS keeps any: fetch all of them, so that the lower keys win.
            if not found.all() or cosines[0, k - 1] > cosines[0, -1]:
                return top_k(keys[0, found], cosines[0, found], k)
            asked *= 2

    def vectors(self, keys: Keys) -> Vectors:
        """Stored vectors of keys of shape (n,): unit length, shape (n, d). Raises KeyError if a key is not in the index."""
        if not len(keys):
            return np.empty((0, self.dimension), dtype=np.float32)
        rows = self.rows_of(keys)
        if (rows < 0).any():
            raise KeyError(int(keys[rows < 0][0]))
        count = len(self._flat_keys)
        out = np.empty((len(keys), self.dimension), dtype=np.float32)
        flat = rows < count
        if flat.any():
            out[flat] = faiss.downcast_index(self._flat.index).reconstruct_batch(rows[flat])
        if self._ivfpq and not flat.all():
            out[~flat] = self._ivfpq.vectors(rows[~flat] - count)
        return out

    def rows_of(self, keys: Keys) -> NDArray[np.int64]:
        """Row at which the vector of each key is stored, −1 for a key that is not in the index; both of shape (n,)."""
        known = self._flat_keys
        rows = np.full(len(keys), -1, dtype=np.int64)
        if len(known):
            at = np.minimum(np.searchsorted(known, keys), len(known) - 1)
            rows = np.where(known[at] == keys, at, -1).astype(np.int64)
        if self._ivfpq:
            others = self._ivfpq.rows_of(keys)
            rows = np.where(others >= 0, others + len(known), rows)
        return rows
