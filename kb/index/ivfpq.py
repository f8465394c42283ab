"""Many vectors: candidates by product codes in inverted lists, judged by the vectors themselves, which stay on disk.

Jégou, Douze and Schmid 2011 for codes and lists; André, Kermarrec and Le Scouarnec 2015 for scanning them in registers.
"""

from __future__ import annotations

import ctypes
import os
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

from kb.encode.encoder import Vectors
from kb.errors import StoreError
from kb.store import Keys

Rows = NDArray[np.int64]
#: The vectors of some rows, shape (n, d): so that no more of them are in memory than are worked on.
Take = Callable[[Rows], Vectors]

_CHUNK = 32_768  # vectors in memory at a time
_TRAINING = 40  # vectors a list that its centre is learned from
_SCANNED = 2_000  # rows that are compared one by one sooner than looked for in the lists
_MAPPED = 1 << 29  # bytes of vectors that may be in memory
# Lists at least, and at most: of 30,000 vectors 32 found 0.978 of the nearest ten, 64 found 0.994; of 3 million 128 found as many
# as four times that.
_LOOKED_INTO = (64, 128)
_REFINED = 8  # candidates a result
_FEWEST = 1000  # candidates, however few results are asked for: at 3 million vectors 200 gave a recall of 0.93, these 0.997


class Compressed:
    """Vectors in rows, each with its paper's key. Rows are added and marked as gone, never changed. Safe to share."""

    def __init__(self, codes: faiss.IndexIVF, vectors: NDArray[np.float16], keys: Keys, gone: NDArray[np.bool_]) -> None:
        self._codes = codes
        self._vectors = vectors
        self._stored = _StoredVectors(vectors)
        self._all_keys = keys
        self._gone = gone
        self._highest = int(keys.max(initial=0))
        live = np.flatnonzero(~gone)
        self._rows = live[np.argsort(keys[live], kind="stable")]
        #: Keys of the rows that are not gone, ascending.
        self.keys: Keys = keys[self._rows]
        self._live = np.packbits(~gone, bitorder="little") if gone.any() else None

    @classmethod
    def read(cls, path: Path) -> Compressed:
        """Opens the files beside `path`; raises RuntimeError, OSError or ValueError where they are damaged."""
        codes = faiss.read_index(str(path.with_suffix(".codes.faiss")), faiss.IO_FLAG_MMAP_IFC)
        vectors = np.load(path.with_suffix(".vectors.npy"), mmap_mode="r")
        keys = np.load(path.with_suffix(".keys.npy"))
        gone = np.unpackbits(np.load(path.with_suffix(".gone.npy")), count=len(keys), bitorder="little").astype(bool)
        if not codes.ntotal == len(vectors) == len(keys):
            raise ValueError(f"{codes.ntotal} codes, {len(vectors)} vectors and {len(keys)} keys")
        return cls(codes, vectors, keys, gone)

    @staticmethod
    def build(path: Path, keys: Keys, vectors: Take, dimension: int) -> None:
        """Writes the files beside `path` for these rows: keys of shape (n,), ascending."""
        _write_vectors(path, np.empty((0, dimension), dtype=np.float16), len(keys), vectors)
        stored = np.load(path.with_suffix(".vectors.npy"), mmap_mode="r")
        lists = lists_for(len(keys))
        codes = faiss.index_factory(dimension, f"IVF{lists},PQ{dimension // 4}x4fs", faiss.METRIC_INNER_PRODUCT)
        codes.cp.niter = 10
        # Enough for every list; the order of the rows is that of dates, so that a sample has to be drawn.
        sample = np.random.default_rng(0).choice(len(keys), min(len(keys), _TRAINING * lists), replace=False)
        with one_thread():  # training is thousands of short steps
            codes.train(stored[np.sort(sample)].astype(np.float32))
        _write_codes(path, codes, stored)
        _write_array(path.with_suffix(".keys.npy"), keys)
        _write_gone(path, np.zeros(len(keys), dtype=bool))

    def extend(self, path: Path, keys: Keys, vectors: Take) -> None:
        """Writes the files beside `path` anew, with these rows behind those that are there; lists and codes stay as they are."""
        # The files that are open are replaced, not written to.
        _write_vectors(path, self._vectors, len(keys), vectors)
        codes = faiss.read_index(str(path.with_suffix(".codes.faiss")))
        _write_codes(path, codes, np.load(path.with_suffix(".vectors.npy"), mmap_mode="r"))
        _write_array(path.with_suffix(".keys.npy"), np.concatenate([self._all_keys, keys]))
        _write_gone(path, np.concatenate([self._gone, np.zeros(len(keys), dtype=bool)]))

    def without(self, keys: Keys) -> Compressed:
        """The same with the rows of these keys gone."""
        rows = self.rows_of(keys)
        gone = self._gone.copy()
        gone[rows[rows >= 0]] = True
        return Compressed(self._codes, self._vectors, self._all_keys, gone)

    def write_gone(self, path: Path) -> None:
        """Writes which rows are gone; nothing else of what is there ever changes."""
        _write_gone(path, self._gone)

    @property
    def worn(self) -> bool:
        """Whether building anew pays: a quarter is gone, or there are sixteen times as many as the lists were made for."""
        return len(self.keys) < 0.75 * len(self._gone) or lists_for(len(self._gone)) >= 4 * int(self._codes.nlist)

    def rows_of(self, keys: Keys) -> Rows:
        """Row of each key, −1 where it has none."""
        if not len(self.keys):
            return np.full(len(keys), -1, dtype=np.int64)
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[at] == keys, self._rows[at], -1)

    def vectors(self, rows: Rows) -> Vectors:
        """Vectors of rows, float32 of unit length, shape (n, d)."""
        found = self._stored.take(rows)
        return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True), dtype=np.float32)

    def search(self, query: Vectors, k: int, allowed: Keys | None) -> tuple[Keys, Vectors]:
        """The k nearest of one query, shape (d,), best first, of equals the lower key: keys and cosines, shape (at most k,).

        Where few are allowed they are all compared; where the lists looked into hold fewer than k, so are all rows.
        """
        rows, bits = self._rows, self._live
        if allowed is not None and len(allowed) <= _SCANNED:
            rows = self.rows_of(allowed)
            rows = rows[rows >= 0]
        elif allowed is not None:
            permitted = marked(allowed, self._highest)[self._all_keys] & ~self._gone
            rows, bits = np.flatnonzero(permitted), np.packbits(permitted, bitorder="little")
        k = min(k, len(rows))
        candidates = rows
        if len(rows) > _SCANNED:
            selector = None if bits is None else faiss.IDSelectorBitmap(bits)
            lists = int(self._codes.nlist)
            # Where one in ten is allowed, the nearest of them lie ten times as far around.
            looked_into = sorted((*_LOOKED_INTO, lists // 8))[1] * len(self._rows) // len(rows)
            parameters = faiss.SearchParametersIVF(nprobe=min(looked_into, lists), sel=selector)
            found = self._codes.search(query[None], max(_REFINED * k, _FEWEST), params=parameters)[1][0]
            found = found[found >= 0]
            candidates = found if len(found) >= k else rows
        cosines = np.empty(len(candidates), dtype=np.float32)
        for start in range(0, len(candidates), _CHUNK):
            vectors = self._stored.take(candidates[start : start + _CHUNK])
            # Of unit length but for their rounding. To scale products costs nothing; to scale vectors, more than all the rest.
            cosines[start : start + _CHUNK] = (vectors @ query) / np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
        return best(self._all_keys[candidates], cosines, k)


class _StoredVectors:
    """Vectors in a file, shape (n, d): mapped into memory where they are few, else read row by row.

    A row of a mapped file brings the pages into the process that the system holds with it, two megabytes and more: one search
    among three million vectors 1.2 GB, ten searches all of them.
    """

    def __init__(self, vectors: NDArray[np.float16]) -> None:
        self._vectors = vectors
        self._descriptor = -1
        if isinstance(vectors, np.memmap) and vectors.nbytes > _MAPPED and sys.platform != "win32":
            self._descriptor = os.open(str(vectors.filename), os.O_RDONLY)
            weakref.finalize(self, os.close, self._descriptor)
            self._first = int(vectors.offset)
            # With PyDLL a call keeps the interpreter's lock. It takes a microsecond; to get the lock back, where other threads
            # search as well, takes milliseconds.
            self._pread = ctypes.PyDLL(None).pread
            self._pread.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int64)
            self._pread.restype = ctypes.c_ssize_t

    def take(self, rows: Rows) -> Vectors:
        """These rows, shape (n, d). Raises StoreError where the file cannot be read."""
        if self._descriptor < 0:
            return single(self._vectors[rows])
        found = np.empty((len(rows), self._vectors.shape[1]), dtype=np.float16)
        size, address = found.strides[0], found.ctypes.data
        for place in (self._first + size * rows).tolist():
            if self._pread(self._descriptor, address, size, place) != size:
                raise StoreError("The file of vectors cannot be read. Run `kb doctor`: it says what is wrong with it.")
            address += size
        return single(found)


def single(halves: NDArray[np.float16]) -> Vectors:
    """The same finite numbers in single precision: by shifting their bits, which takes a third of the time of `astype`."""
    bits = halves.view(np.int16).astype(np.int32)
    bits <<= 13
    bits &= ~0x70000000  # what the sign, which the wider integer repeats, has put into the exponent
    numbers = bits.view(np.float32)
    numbers *= np.float32(2.0**112)  # the exponents of both count from elsewhere: 15, and 127
    return numbers


@contextmanager
def one_thread() -> Iterator[None]:
    """FAISS with the calling thread alone: several wait for each other at every step, and do so by counting in circles."""
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)


def best(keys: Keys, cosines: Vectors, k: int) -> tuple[Keys, Vectors]:
    """The k highest, best first, of equals the lower key first: an order that does not depend on where they were found."""
    order = np.lexsort((keys, -cosines))[:k]
    return keys[order], cosines[order]


def marked(keys: Keys, highest: int = 0) -> NDArray[np.bool_]:
    """A table with True at each of these keys, up to the highest at least. Keys count from one, so that it is small."""
    table = np.zeros(max(highest, int(keys.max(initial=0))) + 1, dtype=bool)
    table[keys] = True
    return table


def lists_for(rows: int) -> int:
    """Inverted lists for so many vectors: about twice the root, a power of two."""
    return 1 << round(float(np.log2(2 * np.sqrt(max(rows, 1)))))


def _write_vectors(path: Path, present: NDArray[np.float16], count: int, vectors: Take) -> None:
    target = path.with_suffix(".vectors.npy")
    temporary = target.with_suffix(".tmp")
    shape = (len(present) + count, present.shape[1])
    written = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float16, shape=shape)
    for start in range(0, len(present), _CHUNK):
        written[start : min(start + _CHUNK, len(present))] = present[start : start + _CHUNK]
    for start in range(0, count, _CHUNK):
        rows = np.arange(start, min(start + _CHUNK, count))
        written[len(present) + start : len(present) + start + len(rows)] = vectors(rows)
    written.flush()
    temporary.replace(target)


def _write_codes(path: Path, codes: faiss.IndexIVF, stored: NDArray[np.float16]) -> None:
    """Adds those of the stored rows that have no code yet, and writes all."""
    for start in range(int(codes.ntotal), len(stored), _CHUNK):
        codes.add(stored[start : start + _CHUNK].astype(np.float32))
    target = path.with_suffix(".codes.faiss")
    temporary = target.with_suffix(".tmp")
    try:
        faiss.write_index(codes, str(temporary))
    except RuntimeError as error:
        raise StoreError(f"{target} cannot be written. Make room, and run `kb index` again.") from error
    temporary.replace(target)


def _write_gone(path: Path, gone: NDArray[np.bool_]) -> None:
    _write_array(path.with_suffix(".gone.npy"), np.packbits(gone, bitorder="little"))


def _write_array(target: Path, array: NDArray[np.generic]) -> None:
    temporary = target.with_suffix(".tmp")
    with temporary.open("wb") as file:
        np.save(file, array)
    temporary.replace(target)
