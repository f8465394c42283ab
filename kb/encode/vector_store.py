"""Vectors on disk, keyed by what was embedded: a text is embedded once, by each model.

Beside the generations, since nothing in it can be half done: a segment is an immutable pair of arrays under
a new name, and a vector is found by the digest of its text. A killed job loses at most the segment it was
computing.
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

#: MD5 of a text as sixteen bytes; shape (n,).
Digests = NDArray[np.void]
DIGEST = np.dtype("V16")
#: A paper in an index: its key, and the digest of the text under which it is there.
ENTRY = np.dtype([("key", np.int64), ("digest", DIGEST)])
_BLOCK = 1 << 15  # rows compared at a time: what the processor's cache holds
# Segments are named after their place and the CRC-32 of what they hold; those of earlier versions have a random name.
_CHECKED_NAME = re.compile(r"\d{6,}-crc(?P<checksum>[0-9a-f]{8})")


def digests(hexadecimal: list[str]) -> Digests:
    """Hexadecimal digests, thirty-two characters each, as an array of shape (n,)."""
    return np.frombuffer(bytes.fromhex("".join(hexadecimal)), dtype=DIGEST)


def entries(keys: NDArray[np.int64], of: Digests) -> NDArray[np.void]:
    """Keys with their digests, both of shape (n,), as rows of ENTRY."""
    rows = np.empty(len(keys), dtype=ENTRY)
    rows["key"], rows["digest"] = keys, of
    return rows


def differences(ours: NDArray[np.void], theirs: NDArray[np.void]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which rows of ENTRY are not, key and digest, among the other's; shapes (n,) and (m,). Both in the order of their keys."""
    only_ours, only_theirs = np.ones(len(ours), dtype=bool), np.ones(len(theirs), dtype=bool)
    keys = np.ascontiguousarray(theirs["key"])
    for start in range(0, len(ours), _BLOCK):
        block = ours[start : start + _BLOCK]
        wanted = np.ascontiguousarray(block["key"])
        first, last = np.searchsorted(keys, wanted[[0, -1]]).tolist()
        near = theirs[first : last + 1]
        if len(near):
            at = np.minimum(np.searchsorted(keys[first : last + 1], wanted), len(near) - 1)
            # Three numbers a row, which numpy compares many times as fast as records.
            one, other = (rows.view(np.int64).reshape(-1, 3) for rows in (block, near))
            same = (one == other[at]).all(axis=1)
            only_ours[start : start + len(block)] = ~same
            only_theirs[first + at[same]] = False
    return only_ours, only_theirs


def _numbers(values: Digests) -> NDArray[np.uint64]:
    """Each digest as a number that numpy can order, its halves mixed; shape (n,)."""
    halves = np.ascontiguousarray(values).view(np.uint64).reshape(-1, 2)
    return np.asarray(halves[:, 0] ^ (halves[:, 1] * np.uint64(0x9E3779B97F4A7C15)), dtype=np.uint64)


class VectorStore:
    """The vectors of one model under one text recipe."""

    def __init__(self, folder: Path, encoder_fingerprint: str, dimension: int) -> None:
        self.folder = self.folder_of(folder, encoder_fingerprint)
        self.dimension = dimension
        self._digests: Digests = np.empty(0, dtype=DIGEST)
        self._numbers = np.empty(0, dtype=np.uint64)
        self._order = np.empty(0, dtype=np.int64)
        self._segments: list[tuple[int, NDArray[np.float16]]] = []
        if self.folder.is_dir():
            self._open()

    @staticmethod
    def folder_of(folder: Path, encoder_fingerprint: str) -> Path:
        """Where the vectors of a model lie."""
        recipe = TEXT_RECIPE.replace(" ", "").replace("/", "-")
        return folder / f"{encoder_fingerprint[:16]}-{recipe}"

    @classmethod
    def of(cls, folder: Path, encoder: Encoder) -> VectorStore:
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
        """Positions of the digests, shape (n,), −1 where a text has no vector yet."""
        if not len(self._digests):
            return np.full(len(wanted), -1, dtype=np.int64)
        if len(self._order) != len(self._digests):
            self._numbers = _numbers(self._digests)
            self._order = np.argsort(self._numbers, kind="stable")
        at = np.searchsorted(self._numbers, _numbers(wanted), sorter=self._order)
        at[at == len(self._order)] = 0
        positions = self._order[at]
        # Of two texts that share a number, once in 10^19, the second counts as not embedded, never as the first.
        return np.where(self._digests[positions] == wanted, positions, -1).astype(np.int64)

    def take(self, positions: NDArray[np.int64]) -> Vectors:
        """The vectors at these positions, float32 of shape (n, d) and of unit length."""
        out = np.empty((len(positions), self.dimension), dtype=np.float32)
        for start, vectors in self._segments:
            inside = np.flatnonzero((positions >= start) & (positions < start + len(vectors)))
            out[inside] = vectors[positions[inside] - start]
        # Stored as float16: scaling to unit length again keeps inner products true cosines.
        np.divide(out, np.linalg.norm(out, axis=1, keepdims=True), out=out)
        return out

    def add(self, new: Digests, vectors: Vectors) -> None:
        """Writes a segment; it is there in full or not at all. Raises StoreError where it cannot be written."""
        narrow = vectors.astype(np.float16)
        names = np.ascontiguousarray(new).view(np.uint8).reshape(-1, 16)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            # Names sort in the order of writing; two jobs at once meet in one name only with the same vectors.
            number = len(list(self.folder.glob("*.digests.npy")))
            stem = f"{number:06d}-crc{_checksum(names, narrow):08x}"
            # The digests go last: a segment without them is not seen.
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
    """The file of digests of every segment below a model's folder that cannot be used, and what is wrong with it."""
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


def vectors_of(digests_file: Path) -> Path:
    """The file of vectors beside a segment's file of digests."""
    return digests_file.with_name(digests_file.name.replace(".digests.", ".vectors."))


def _segment(path: Path, dimension: int) -> tuple[Digests, NDArray[np.float16]]:
    """Digests and vectors of one segment. Raises StoreError where they cannot be read or do not fit."""
    vectors_path = vectors_of(path)
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
