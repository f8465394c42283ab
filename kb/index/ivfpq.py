"""IVF-PQ candidates, re-scored exactly from float16 vectors on disk.

Inverted lists and product quantisation: Jégou, Douze and Schmid 2011 (doi:10.1109/TPAMI.2010.57). Scanning 4-bit codes in SIMD
registers: André, Kermarrec and Le Scouarnec 2015 (doi:10.14778/2856318.2856324).
"""

from __future__ import annotations

import ctypes
import os
import sys
import weakref
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from kb.encode.encoder import Vectors
from kb.errors import StoreError
from kb.files import replacing
from kb.store import Keys

Rows = NDArray[np.int64]
#: Returns the vectors of some rows, shape (n, d); called chunk by chunk, so that only a chunk is in memory.
VectorSource = Callable[[Rows], Vectors]

_CHUNK_ROWS = 32_768  # vectors in memory at a time
_TRAINING_VECTORS_PER_LIST = 40  # k-means sample
_MAX_SCANNED_ROWS = 2_000  # at most so many rows are scored exhaustively, which is faster than IVF-PQ
_MAX_MAPPED_BYTES = 1 << 29  # a larger vector file is read row by row
# Lists that are probed, at least and at most. Recall@10 over 30,000 vectors: 0.978 with 32 lists, 0.994 with 64; over 3 million
# vectors 128 lists reach what 512 do.
_NPROBE_RANGE = (64, 128)
_CANDIDATES_PER_RESULT = 8
_MIN_CANDIDATES = 1000  # for any k; recall over 3 million vectors: 0.93 with 200, 0.997 with 1,000


class IvfPqIndex:
    """Rows of vectors with the keys of their papers. Safe to share between threads.

    Rows are appended and marked as deleted, never changed.
    """

    def __init__(self, ivf: faiss.IndexIVF, vectors: _StoredVectors, keys: Keys, deleted: NDArray[np.bool_]) -> None:
        self._ivf = ivf
        self._vectors = vectors
        self._all_keys = keys
        self._deleted = deleted
        self._highest = int(keys.max(initial=0))
        live = np.flatnonzero(~deleted)
        self._rows = live[np.argsort(keys[live], kind="stable")]
        #: Keys of the rows that are not deleted, ascending, shape (n,).
        self.keys: Keys = keys[self._rows]
        self._live = np.packbits(~deleted, bitorder="little") if deleted.any() else None

    @classmethod
    def read(cls, path: Path) -> IvfPqIndex:
        """Open the files beside `path`. Raises RuntimeError, OSError or ValueError if they are damaged."""
        ivf = faiss.read_index(str(path.with_suffix(".codes.faiss")), faiss.IO_FLAG_MMAP_IFC)
        vectors = np.load(path.with_suffix(".vectors.npy"), mmap_mode="r")
        # An index of an earlier version has none.
        checksums = np.load(path.with_suffix(".checksums.npy")) if path.with_suffix(".checksums.npy").is_file() else None
        keys = np.load(path.with_suffix(".keys.npy"))
        deleted = np.unpackbits(np.load(path.with_suffix(".gone.npy")), count=len(keys), bitorder="little").astype(bool)
        if not ivf.ntotal == len(vectors) == len(keys) or (checksums is not None and len(checksums) != len(keys)):
            raise ValueError(f"{ivf.ntotal} codes, {len(vectors)} vectors and {len(keys)} keys")
        return cls(ivf, _StoredVectors(vectors, checksums), keys, deleted)

    @staticmethod
    def build(path: Path, keys: Keys, vectors: VectorSource, dimension: int) -> None:
        """Write the files beside `path` for these rows: keys of shape (n,), ascending.

        Raises StoreError if they cannot be written.
        """
        _write_vectors(path, np.empty((0, dimension), dtype=np.float16), len(keys), vectors)
        stored = np.load(path.with_suffix(".vectors.npy"), mmap_mode="r")
        lists = nlist_for(len(keys))
        ivf = faiss.index_factory(dimension, f"IVF{lists},PQ{dimension // 4}x4fs", faiss.METRIC_INNER_PRODUCT)
        ivf.cp.niter = 10
        # Rows are in the order of their dates: a random sample represents all of them.
        sample = np.random.default_rng(0).choice(len(keys), min(len(keys), _TRAINING_VECTORS_PER_LIST * lists), replace=False)
        with one_thread():
            ivf.train(stored[np.sort(sample)].astype(np.float32))
        _write_codes(path, ivf, stored)
        _write_array(path.with_suffix(".keys.npy"), keys)
        _write_deleted(path, np.zeros(len(keys), dtype=bool))

    def extend(self, path: Path, keys: Keys, vectors: VectorSource) -> None:
        """Append rows: keys of shape (n,). The files beside `path` are replaced; lists and existing codes do not change.

        Raises StoreError if they cannot be written.
        """
        _write_vectors(path, self._vectors.file, len(keys), vectors)
        ivf = faiss.read_index(str(path.with_suffix(".codes.faiss")))
        _write_codes(path, ivf, np.load(path.with_suffix(".vectors.npy"), mmap_mode="r"))
        _write_array(path.with_suffix(".keys.npy"), np.concatenate([self._all_keys, keys]))
        _write_deleted(path, np.concatenate([self._deleted, np.zeros(len(keys), dtype=bool)]))

    def with_deleted(self, keys: Keys) -> IvfPqIndex:
        """The same index with the rows of keys of shape (n,) marked as deleted."""
        rows = self.rows_of(keys)
        deleted = self._deleted.copy()
        deleted[rows[rows >= 0]] = True
        return IvfPqIndex(self._ivf, self._vectors, self._all_keys, deleted)

    def write_deleted(self, path: Path) -> None:
        """Write which rows are deleted; the other files stay as they are."""
        _write_deleted(path, self._deleted)

    @property
    def needs_rebuild(self) -> bool:
        """True if a quarter of the rows is deleted, or there are 16 times as many rows as the lists were trained for."""
        return len(self.keys) < 0.75 * len(self._deleted) or nlist_for(len(self._deleted)) >= 4 * int(self._ivf.nlist)

    def rows_of(self, keys: Keys) -> Rows:
        """Row of each key, −1 for a key that has none; both of shape (n,)."""
        if not len(self.keys):
            return np.full(len(keys), -1, dtype=np.int64)
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[at] == keys, self._rows[at], -1)

    def vectors(self, rows: Rows) -> Vectors:
        """Unit vectors of rows of shape (n,): float32, shape (n, d). Raises StoreError if the file cannot be read."""
        found = self._vectors.take(rows)
        return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True), dtype=np.float32)

    def search(self, query: Vectors, k: int, allowed: Keys | None) -> tuple[Keys, Vectors]:
        """Return the k nearest papers of one query, shape (d,), best first: keys and cosines, both of shape (at most k,).

        `allowed`: keys of shape (m,) to which the search is restricted. Few rows are scored exhaustively; all rows are, if the
        probed lists hold fewer than k. Raises StoreError if the vectors cannot be read.
        """
        rows, bits = self._rows, self._live
        if allowed is not None and len(allowed) <= _MAX_SCANNED_ROWS:
            rows = self.rows_of(allowed)
            rows = rows[rows >= 0]
        elif allowed is not None:
            permitted = key_mask(allowed, self._highest)[self._all_keys] & ~self._deleted
            rows, bits = np.flatnonzero(permitted), np.packbits(permitted, bitorder="little")
        k = min(k, len(rows))
        candidates = rows
        if len(rows) > _MAX_SCANNED_ROWS:
            selector = None if bits is None else faiss.IDSelectorBitmap(bits)
            lists = int(self._ivf.nlist)
            # If one row in ten is allowed, ten times as many lists hold as many candidates.
            nprobe = sorted((*_NPROBE_RANGE, lists // 8))[1] * len(self._rows) // len(rows)
            parameters = faiss.SearchParametersIVF(nprobe=min(nprobe, lists), sel=selector)
            found = self._ivf.search(query[None], max(_CANDIDATES_PER_RESULT * k, _MIN_CANDIDATES), params=parameters)[1][0]
            found = found[found >= 0]
            candidates = found if len(found) >= k else rows
        cosines = np.empty(len(candidates), dtype=np.float32)
        for start in range(0, len(candidates), _CHUNK_ROWS):
            vectors = self._vectors.take(candidates[start : start + _CHUNK_ROWS])
            # float16 rounding changes the lengths. Dividing the products is much cheaper than normalising the vectors.
            cosines[start : start + _CHUNK_ROWS] = (vectors @ query) / np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
        return top_k(self._all_keys[candidates], cosines, k)


class _StoredVectors:
    """Vectors in a file, shape (n, d): memory-mapped if the file is small, else read row by row.

    Reading a row of a mapped file maps the pages around it, 2 MB and more: over 3 million vectors one search adds 1.2 GB to the
    resident memory, ten searches the whole file.
    """

    def __init__(self, vectors: np.memmap[Any, np.dtype[np.float16]], checksums: NDArray[np.uint32] | None) -> None:
        """Take the mapped file, shape (n, d), and the CRC-32 of every row, shape (n,), or None if they are not known."""
        self.file = vectors
        self._checksums = checksums
        self._unverified = np.full(len(vectors), checksums is not None)
        self._descriptor = -1
        if isinstance(vectors, np.memmap) and vectors.nbytes > _MAX_MAPPED_BYTES and sys.platform != "win32":
            self._descriptor = os.open(str(vectors.filename), os.O_RDONLY)
            weakref.finalize(self, os.close, self._descriptor)
            self._first = int(vectors.offset)
            # PyDLL keeps the GIL: the call takes a microsecond, while getting the GIL back takes milliseconds if other threads
            # search as well.
            self._pread = ctypes.PyDLL(None).pread
            self._pread.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int64)
            self._pread.restype = ctypes.c_ssize_t

    def take(self, rows: Rows) -> Vectors:
        """Vectors of rows of shape (n,), as stored: float32, shape (n, d). A row is verified when it is first read.

        Raises StoreError if the file cannot be read or a row is damaged.
        """
        found = self.file[rows] if self._descriptor < 0 else self._read(rows)
        new = np.flatnonzero(self._unverified[rows])
        if self._checksums is not None and len(new):
            if (row_checksums(found[new]) != self._checksums[rows[new]]).any():
                raise StoreError(
                    f"{self.file.filename} is damaged: its content is not what was written. Run `kb index`: it builds the "
                    "indexes again, nothing stored is lost."
                )
            self._unverified[rows[new]] = False
        return float16_to_float32(found)

    def _read(self, rows: Rows) -> NDArray[np.float16]:
        found = np.empty((len(rows), self.file.shape[1]), dtype=np.float16)
        size, address = found.strides[0], found.ctypes.data
        for place in (self._first + size * rows).tolist():
            if self._pread(self._descriptor, address, size, place) != size:
                raise StoreError("The file of vectors cannot be read. Run `kb doctor`: it says what is wrong with it.")
            address += size
        return found


def row_checksums(vectors: NDArray[np.float16]) -> NDArray[np.uint32]:
    """CRC-32 of every row of vectors of shape (n, d); shape (n,)."""
    return np.fromiter(map(zlib.crc32, np.ascontiguousarray(vectors)), dtype=np.uint32, count=len(vectors))


def float16_to_float32(halves: NDArray[np.float16]) -> Vectors:
    """Convert finite float16 numbers to float32 by shifting their bits, in a third of the time of `astype`; same shape."""
    bits = halves.view(np.int16).astype(np.int32)
    bits <<= 13
    bits &= ~0x70000000  # the sign bit, extended into the exponent
    numbers = bits.view(np.float32)
    numbers *= np.float32(2.0**112)  # exponent biases: 15 and 127
    return numbers


@contextmanager
def one_thread() -> Iterator[None]:
    """Run FAISS on one thread: OpenMP busy-waiting costs more than it saves."""
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)


def top_k(keys: Keys, cosines: Vectors, k: int) -> tuple[Keys, Vectors]:
    """The k highest cosines, best first, with their keys; ties by ascending key. All of shape (n,) in, (at most k,) out."""
    order = np.lexsort((keys, -cosines))[:k]
    return keys[order], cosines[order]


def key_mask(keys: Keys, highest: int = 0) -> NDArray[np.bool_]:
    """Boolean array that is True at each of these keys, shape (m,) with m > every key and `highest`."""
    table = np.zeros(max(highest, int(keys.max(initial=0))) + 1, dtype=bool)
    table[keys] = True
    return table


def nlist_for(rows: int) -> int:
    """Number of inverted lists for so many vectors: 2 · √rows, rounded to a power of two."""
    return 1 << round(float(np.log2(2 * np.sqrt(max(rows, 1)))))


def _write_vectors(path: Path, present: NDArray[np.float16], count: int, vectors: VectorSource) -> None:
    """Write the rows that are present, shape (n, d), and `count` further ones, with the checksum of every row."""
    target = path.with_suffix(".vectors.npy")
    shape = (len(present) + count, present.shape[1])
    checksums = np.empty(len(present) + count, dtype=np.uint32)
    with replacing(target) as temporary:
        written = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float16, shape=shape)
        for start in range(0, len(present), _CHUNK_ROWS):
            written[start : min(start + _CHUNK_ROWS, len(present))] = present[start : start + _CHUNK_ROWS]
        for start in range(0, count, _CHUNK_ROWS):
            rows = np.arange(start, min(start + _CHUNK_ROWS, count))
            written[len(present) + start : len(present) + start + len(rows)] = vectors(rows)
        for start in range(0, len(written), _CHUNK_ROWS):
            checksums[start : start + _CHUNK_ROWS] = row_checksums(written[start : start + _CHUNK_ROWS])
        written.flush()
    _write_array(path.with_suffix(".checksums.npy"), checksums)


def _write_codes(path: Path, ivf: faiss.IndexIVF, stored: NDArray[np.float16]) -> None:
    """Add the stored rows that have no code yet, and write all codes."""
    for start in range(int(ivf.ntotal), len(stored), _CHUNK_ROWS):
        ivf.add(stored[start : start + _CHUNK_ROWS].astype(np.float32))
    target = path.with_suffix(".codes.faiss")
    with replacing(target) as temporary:
        try:
            faiss.write_index(ivf, str(temporary))
        except RuntimeError as error:
            raise StoreError(f"{target} cannot be written. Make room, and run `kb index` again.") from error


def _write_deleted(path: Path, deleted: NDArray[np.bool_]) -> None:
    _write_array(path.with_suffix(".gone.npy"), np.packbits(deleted, bitorder="little"))


def _write_array(target: Path, array: NDArray[np.generic]) -> None:
    with replacing(target) as temporary, temporary.open("wb") as file:
        np.save(file, array)
