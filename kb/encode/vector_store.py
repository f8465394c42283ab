"""Vectors on disk, keyed by the digest of the embedded text: each model embeds a text once.

The files lie beside the generations. A segment is a pair of arrays, written once under a new name; a killed job loses at most the
segment that it was computing.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kb.encode.encoder import Encoder, Vectors
from kb.errors import StoreError
from kb.files import replacing
from kb.papers import TEXT_RECIPE

#: MD5 of each text, 16 bytes; shape (n,).
Digests = NDArray[np.void]
DIGEST = np.dtype("V16")
#: A paper in an index: its key, and the digest of its indexed text.
ENTRY = np.dtype([("key", np.int64), ("digest", DIGEST)])
_BLOCK_ROWS = 1 << 15  # rows compared at a time: they fit into the processor's cache
# Segments are named by their number and the CRC-32 of their content; those of earlier versions have a random name.
_CHECKED_NAME = re.compile(r"\d{6,}-crc(?P<checksum>[0-9a-f]{8})")


def digests(hexadecimal: list[str]) -> Digests:
    """Hexadecimal digests, 32 characters each, as an array of shape (n,). Raises ValueError if one is not hexadecimal."""
    return np.frombuffer(bytes.fromhex("".join(hexadecimal)), dtype=DIGEST)


def entries(keys: NDArray[np.int64], digests: Digests) -> NDArray[np.void]:
    """Keys and digests, both of shape (n,), as one array of ENTRY, shape (n,)."""
    rows = np.empty(len(keys), dtype=ENTRY)
    rows["key"], rows["digest"] = keys, digests
    return rows


def differences(ours: NDArray[np.void], theirs: NDArray[np.void]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Masks of the entries that only one side has, shapes (n,) and (m,); both sides are arrays of ENTRY ordered by key."""
    only_ours, only_theirs = np.ones(len(ours), dtype=bool), np.ones(len(theirs), dtype=bool)
    keys = np.ascontiguousarray(theirs["key"])
    for start in range(0, len(ours), _BLOCK_ROWS):
        block = ours[start : start + _BLOCK_ROWS]
        wanted = np.ascontiguousarray(block["key"])
        first, last = np.searchsorted(keys, wanted[[0, -1]]).tolist()
        near = theirs[first : last + 1]
        if len(near):
            at = np.minimum(np.searchsorted(keys[first : last + 1], wanted), len(near) - 1)
            # As three integers a row: numpy compares those much faster than records.
            one, other = (rows.view(np.int64).reshape(-1, 3) for rows in (block, near))
            same = (one == other[at]).all(axis=1)
            only_ours[start : start + len(block)] = ~same
            only_theirs[first + at[same]] = False
    return only_ours, only_theirs


def _hashes(values: Digests) -> NDArray[np.uint64]:
    """A 64-bit hash of each digest, which unlike the digest can be sorted; shape (n,)."""
    halves = np.ascontiguousarray(values).view(np.uint64).reshape(-1, 2)
    return np.asarray(halves[:, 0] ^ (halves[:, 1] * np.uint64(0x9E3779B97F4A7C15)), dtype=np.uint64)


class VectorStore:
    """The vectors of one model over one text recipe."""

    def __init__(self, folder: Path, encoder_fingerprint: str, dimension: int) -> None:
        """Open the vectors of a model below `folder`; there may be none yet. Raises StoreError if a segment is damaged."""
        self.folder = self.folder_of(folder, encoder_fingerprint)
        self.dimension = dimension
        self._digests: Digests = np.empty(0, dtype=DIGEST)
        self._hashes = np.empty(0, dtype=np.uint64)
        self._order = np.empty(0, dtype=np.int64)
        self._segments: list[tuple[int, NDArray[np.float16]]] = []
        if self.folder.is_dir():
            self._open()

    @staticmethod
    def folder_of(folder: Path, encoder_fingerprint: str) -> Path:
        """Folder of a model's vectors below `folder`."""
        recipe = TEXT_RECIPE.replace(" ", "").replace("/", "-")
        return folder / f"{encoder_fingerprint[:16]}-{recipe}"

    @classmethod
    def for_encoder(cls, folder: Path, encoder: Encoder) -> VectorStore:
        """Open the vectors of an encoder below `folder`. Raises StoreError if a segment is damaged."""
        return cls(folder, encoder.fingerprint, encoder.dimension)

    def _open(self) -> None:
        parts: list[Digests] = []
        start = 0
        for path in sorted(self.folder.glob("*.digests.npy")):
            part, vectors = _segment(path, self.dimension)
            parts.append(part)
            self._segments.append((start, vectors))
            start += len(part)
        self._digests = np.concatenate(parts) if parts else self._digests

    def __len__(self) -> int:
        return len(self._digests)

    def find(self, wanted: Digests) -> NDArray[np.int64]:
        """Position of the vector of each digest, −1 for a text without one; both of shape (n,)."""
        if not len(self._digests):
            return np.full(len(wanted), -1, dtype=np.int64)
        if len(self._order) != len(self._digests):
            self._hashes = _hashes(self._digests)
            self._order = np.argsort(self._hashes, kind="stable")
        at = np.searchsorted(self._hashes, _hashes(wanted), sorter=self._order)
        at[at == len(self._order)] = 0
        positions = self._order[at]
        # If two digests share a hash (once in 10^19), the second counts as not embedded, never as the first.
        return np.where(self._digests[positions] == wanted, positions, -1).astype(np.int64)

    def take(self, positions: NDArray[np.int64]) -> Vectors:
        """Vectors at positions of shape (n,): float32, unit length, shape (n, d)."""
        out = np.empty((len(positions), self.dimension), dtype=np.float32)
        for start, vectors in self._segments:
            inside = np.flatnonzero((positions >= start) & (positions < start + len(vectors)))
            out[inside] = vectors[positions[inside] - start]
        # float16 rounding changes the lengths: normalise again, so that inner products are cosines.
        np.divide(out, np.linalg.norm(out, axis=1, keepdims=True), out=out)
        return out

    def add(self, new: Digests, vectors: Vectors) -> None:
        """Write a segment: digests, shape (n,), and vectors, shape (n, d). Raises StoreError if it cannot be written."""
        narrow = vectors.astype(np.float16)
        names = np.ascontiguousarray(new).view(np.uint8).reshape(-1, 16)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            # Names sort in the order of writing; two jobs at once use the same name only for the same vectors.
            number = len(list(self.folder.glob("*.digests.npy")))
            stem = f"{number:06d}-crc{_checksum(names, narrow):08x}"
            # The digests are written last: a segment without them is ignored.
            for kind, array in (("vectors", narrow), ("digests", names)):
                _write(self.folder / f"{stem}.{kind}.npy", array)
        except OSError as error:
            raise StoreError(
                f"{self.folder} cannot be written ({error.strerror or error}). Make room, or check its permissions, and run "
                "`kb index` again: what was embedded before stays."
            ) from error
        self._segments.append((len(self._digests), narrow))
        self._digests = np.concatenate([self._digests, new])


def damaged_segments(folder: Path, dimension: int) -> Iterator[tuple[Path, str]]:
    """Yield the digests file of every damaged segment in a model's folder, and what is wrong with it."""
    for path in sorted(folder.glob("*.digests.npy")):
        try:
            part, vectors = _segment(path, dimension)
        except StoreError as error:
            yield path, str(error)
            continue
        name = _CHECKED_NAME.match(path.name)
        if name and _checksum(part.view(np.uint8).reshape(-1, 16), vectors) != int(name["checksum"], 16):
            yield path, "its content is not what was written"
        elif not np.isfinite(vectors).all() or (np.abs(np.linalg.norm(vectors.astype(np.float32), axis=1) - 1) > 0.01).any():
            yield path, "not all of its vectors are of unit length"


def vectors_file(digests_file: Path) -> Path:
    """Path of the vectors that belong to a segment's digests file."""
    return digests_file.with_name(digests_file.name.replace(".digests.", ".vectors."))


def _segment(path: Path, dimension: int) -> tuple[Digests, NDArray[np.float16]]:
    """Digests, shape (n,), and vectors, shape (n, d), of a segment. Raises StoreError if they are damaged or do not fit."""
    vectors_path = vectors_file(path)
    try:
        part = np.load(path).view(DIGEST).reshape(-1)
        vectors = np.load(vectors_path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise StoreError(
            f"{vectors_path.name} or {path.name} in {path.parent} is damaged ({error}). Run `kb doctor --repair`: what they "
            "held is embedded again."
        ) from error
    if vectors.shape != (len(part), dimension) or vectors.dtype != np.float16:
        raise StoreError(f"{vectors_path} does not fit {path.name}. Run `kb doctor --repair`: it is embedded again.")
    return part, vectors


def _checksum(names: NDArray[np.uint8], vectors: NDArray[np.float16]) -> int:
    return zlib.crc32(np.ascontiguousarray(vectors).data, zlib.crc32(np.ascontiguousarray(names).data))


def _write(target: Path, array: NDArray[np.generic]) -> None:
    with replacing(target) as temporary, temporary.open("wb") as file:
        np.save(file, array)
