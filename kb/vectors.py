"""Vectors on disk, keyed by what was embedded: a text is embedded once, by each model.

Beside the generations, since nothing in it can be half done: a segment is an immutable pair of arrays under
a new name, and a vector is found by the digest of its text. A killed job loses at most the segment it was
computing.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kb.embed import Encoder, Vectors
from kb.errors import StoreError
from kb.papers import TEXT_RECIPE

#: MD5 of a text as sixteen bytes; shape (n,).
Digests = NDArray[np.void]
DIGEST = np.dtype("V16")


def digests(hexadecimal: list[str]) -> Digests:
    """Hexadecimal digests, thirty-two characters each, as an array of shape (n,)."""
    return np.frombuffer(bytes.fromhex("".join(hexadecimal)), dtype=DIGEST)


class VectorStore:
    """The vectors of one model under one text recipe."""

    def __init__(self, folder: Path, encoder_fingerprint: str, dimension: int) -> None:
        recipe = TEXT_RECIPE.replace(" ", "").replace("/", "-")
        self.folder = folder / f"{encoder_fingerprint[:16]}-{recipe}"
        self.dimension = dimension
        self._digests: Digests = np.empty(0, dtype=DIGEST)
        self._segments: list[tuple[int, NDArray[np.float16]]] = []
        if self.folder.is_dir():
            self._open()

    @classmethod
    def of(cls, folder: Path, encoder: Encoder) -> VectorStore:
        return cls(folder, encoder.fingerprint, encoder.dimension)

    def _open(self) -> None:
        parts: list[Digests] = []
        start = 0
        for path in sorted(self.folder.glob("*.digests.npy")):
            vectors_path = path.with_name(path.name.replace(".digests.", ".vectors."))
            try:
                part = np.load(path).view(DIGEST).reshape(-1)
                vectors = np.load(vectors_path, mmap_mode="r")
            except (OSError, ValueError, EOFError) as error:
                raise StoreError(
                    f"{vectors_path.name} in {self.folder} is damaged ({error}). Delete that file and its neighbour "
                    f"{path.name}, then run `kb index`: what they held is embedded again."
                ) from error
            if vectors.shape != (len(part), self.dimension):
                raise StoreError(f"{vectors_path} does not fit {path.name}. Delete both, then run `kb index`.")
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
        known = _sortable(self._digests)
        order = np.argsort(known, kind="stable")
        needles = _sortable(wanted)
        at = np.searchsorted(known[order], needles)
        at[at == len(known)] = 0
        positions = order[at]
        return np.where(known[positions] == needles, positions, -1).astype(np.int64)

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
        """Writes a segment; it is there in full or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        # Names sort in the order of writing; two jobs at once can't meet in one name.
        stem = f"{len(list(self.folder.glob('*.digests.npy'))):06d}-{uuid.uuid4().hex[:8]}"
        narrow = vectors.astype(np.float16)
        # The digests go last: a segment without them is not seen.
        for kind, array in (("vectors", narrow), ("digests", np.ascontiguousarray(new).view(np.uint8).reshape(-1, 16))):
            target = self.folder / f"{stem}.{kind}.npy"
            temporary = target.with_suffix(".tmp")
            with temporary.open("wb") as file:
                np.save(file, array)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        self._segments.append((len(self._digests), narrow))
        self._digests = np.concatenate([self._digests, new])


def _sortable(values: Digests) -> NDArray[np.bytes_]:
    # numpy cannot order raw bytes, and drops trailing zero bytes when it compares strings: a closing byte keeps them.
    rows = np.full((len(values), 17), 1, dtype=np.uint8)
    rows[:, :16] = np.ascontiguousarray(values).view(np.uint8).reshape(-1, 16)
    return rows.view("S17").reshape(-1)
