"""The atlas: a place in two dimensions for every paper, near to the papers that are about the same.

    a sample of the vectors → principal axes → k-means landmarks → t-SNE of the landmarks   once: the projection
    a paper's vector → its nearest landmarks → where they pull it                            for each paper, by itself

A paper's place follows from its own text and the projection alone, so a new one moves no old one. The projection is made anew
only where the base has doubled or the model is another, and then begins from the places that there were.
"""

from __future__ import annotations

import io
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

# On macOS torch has to be loaded before faiss, the other order crashes; elsewhere who looks at a map does without its seconds.
if sys.platform == "darwin":
    import torch  # noqa: F401
import faiss
import numpy as np
from numpy.typing import NDArray

from kb.encode.encoder import Vectors
from kb.encode.vector_store import DIGEST, Digests, VectorStore, digests
from kb.errors import StoreError
from kb.files import replace_file
from kb.progress import NoProgress, Progress
from kb.store import Draft, Generation, Keys

ATLAS_FILE = "atlas.npz"
#: Places, float32 of shape (n, 2); the unit is that of t-SNE's kernel, a map is some tens of them wide.
Places = NDArray[np.float32]

_LANDMARKS = 3000
_SAMPLE = 60_000  # vectors that the axes and the landmarks are fitted on
_AXES = 50  # principal axes; more cost time and change the map little
_GROWN = 2.0  # times the papers that the projection was fitted on, from which on it is fitted anew
_PULLING = 15  # landmarks that pull at a paper
_NEIGHBOURS = 5.0  # how many of them count, as the perplexity of their weights
_STEPS, _STRIDE = 10, 0.5  # of a paper's descent; the longest step in distances between neighbouring landmarks
_GRID = 256  # points a side, at which the push of the landmarks is known
_BLOCK = 20_000  # papers placed at a time


@dataclass(frozen=True, slots=True)
class Projection:
    """Takes vectors to their places."""

    fingerprint: str
    """Of the model whose vectors these are."""
    fitted_on: int
    """Papers that there were."""
    mean: Vectors
    """Shape (d,)."""
    axes: Vectors
    """Shape (d, p)."""
    landmarks: Vectors
    """Shape (m, p)."""
    anchors: Places
    """The landmarks' places, shape (m, 2)."""

    @classmethod
    def fit(cls, vectors: Vectors, papers: int, fingerprint: str, before: Projection | None = None) -> Projection:
        """The projection of a sample of unit vectors, shape (n, d); begins from the places that `before` gives them."""
        mean = vectors.mean(axis=0)
        centred = vectors - mean
        _, directions = np.linalg.eigh(centred.T @ centred)
        axes = np.ascontiguousarray(directions[:, ::-1][:, :_AXES])
        # The sign of an axis is arbitrary; its largest part is made positive, so that equal vectors give equal maps.
        axes *= np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
        points = np.ascontiguousarray(centred @ axes)
        landmarks = points if len(points) <= _LANDMARKS else _centroids(points)
        start = Placer(before).place(landmarks @ axes.T + mean) if before else None
        return cls(fingerprint, papers, mean, axes, landmarks, _embed(landmarks, start))


class Placer:
    """Gives papers their places by a projection."""

    def __init__(self, projection: Projection) -> None:
        self._projection = projection
        self._landmarks = faiss.IndexFlatL2(projection.landmarks.shape[1])
        self._landmarks.add(projection.landmarks)
        self._few = len(projection.anchors) <= _PULLING
        if not self._few:
            self._push = _Push(projection.anchors)

    def place(self, vectors: Vectors) -> Places:
        """The places of these vectors, shape (n, d): each by itself, whatever the others are."""
        projection = self._projection
        points = np.ascontiguousarray((vectors - projection.mean) @ projection.axes)
        distances, nearest = self._landmarks.search(points, 1 if self._few else _PULLING)
        anchors = projection.anchors[nearest]
        return anchors[:, 0] if self._few else _descend(_pulls(distances), anchors, self._push)


@dataclass(frozen=True, slots=True)
class Atlas:
    """The places of a generation's papers, in the order of their keys."""

    projection: Projection
    keys: Keys
    digests: Digests
    """Of the text that each was placed by."""
    places: Places

    @classmethod
    def of(cls, generation: Generation) -> Atlas | None:
        """The atlas of a generation; `None` where it has none yet. Raises StoreError where the file is damaged."""
        if ATLAS_FILE not in generation.manifest.files:
            return None
        return cls.read(generation.file(ATLAS_FILE))

    @classmethod
    def read(cls, path: Path) -> Atlas:
        """Raises StoreError where the file is no atlas."""
        try:
            with np.load(path, allow_pickle=False) as file:
                stored = {name: file[name] for name in file.files}
            projection = Projection(str(stored["fingerprint"]), int(stored["fitted_on"]), *(stored[name] for name in _ARRAYS))
            return cls(projection, stored["keys"], stored["digests"].view(DIGEST).reshape(-1), stored["places"])
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise StoreError(f"{path} is no readable map ({error}). Run `kb index`: it is drawn again.") from error

    def write(self, path: Path) -> None:
        """Writes the file under a temporary name first; it is whole or not there."""
        arrays = {name: getattr(self.projection, name) for name in ("fingerprint", "fitted_on", *_ARRAYS)}
        data = io.BytesIO()
        np.savez(data, **arrays, keys=self.keys, digests=self.digests.view(np.uint8).reshape(-1, 16), places=self.places)
        replace_file(path, data.getvalue())


_ARRAYS = ("mean", "axes", "landmarks", "anchors")


def update_atlas(draft: Draft, progress: Progress | None = None) -> None:
    """Places the draft's embedded papers that have no place yet, or another text than they were placed by."""
    progress = progress or NoProgress()
    manifest = draft.manifest
    if not manifest.embedded:
        return
    store = VectorStore(draft.vectors, manifest.model_fingerprint, manifest.dimension)
    documents = draft.catalogue.documents()
    texts = digests(documents.digests)
    positions = store.find(texts)
    found = positions >= 0
    keys, texts, positions = documents.keys[found], texts[found], positions[found]
    before = _present(draft, manifest.model_fingerprint)
    if before is None or len(keys) > _GROWN * before.projection.fitted_on:
        projection = _fit(store, positions, manifest.model_fingerprint, before, progress)
        places, missing = np.empty((len(keys), 2), dtype=np.float32), np.arange(len(keys))
    else:
        projection = before.projection
        places, missing = _kept(before, keys, texts)
        if not len(missing) and np.array_equal(keys, before.keys):
            return
    progress.start("Placing papers on the map", len(missing), "papers")
    placer = Placer(projection)
    for at in range(0, len(missing), _BLOCK):
        block = missing[at : at + _BLOCK]
        places[block] = placer.place(store.take(positions[block]))
        progress.advance(len(block))
    Atlas(projection, keys, texts, places).write(draft.folder / ATLAS_FILE)


def _present(draft: Draft, fingerprint: str) -> Atlas | None:
    """The atlas taken over from the generation before, if it is whole and of this model."""
    try:
        atlas = Atlas.read(draft.folder / ATLAS_FILE)
    except StoreError:
        return None
    return atlas if atlas.projection.fingerprint == fingerprint else None


def _fit(
    store: VectorStore, positions: NDArray[np.int64], fingerprint: str, before: Atlas | None, progress: Progress
) -> Projection:
    progress.start("Drawing the map", 1, "map")
    sample = positions
    if len(sample) > _SAMPLE:
        sample = np.sort(np.random.default_rng(0).choice(positions, _SAMPLE, replace=False))
    projection = Projection.fit(store.take(sample), len(positions), fingerprint, before.projection if before else None)
    progress.advance(1)
    return projection


def _kept(before: Atlas, keys: Keys, texts: Digests) -> tuple[Places, NDArray[np.int64]]:
    """The places that papers keep, shape (n, 2), and the rows of those that have none."""
    rows = np.searchsorted(before.keys, keys)
    rows[rows == len(before.keys)] = 0
    same = (before.keys[rows] == keys) & (before.digests[rows] == texts)
    return before.places[rows], np.flatnonzero(~same)


def _centroids(points: Vectors) -> Vectors:
    """The landmarks of many points: k-means, always from the same beginning."""
    kmeans = faiss.Kmeans(
        points.shape[1], _LANDMARKS, niter=10, seed=1, min_points_per_centroid=1, max_points_per_centroid=_SAMPLE
    )
    kmeans.train(points)
    return np.asarray(kmeans.centroids, dtype=np.float32)


def _embed(landmarks: Vectors, start: Places | None) -> Places:
    """t-SNE of the landmarks (van der Maaten and Hinton 2008), shape (m, 2); few points lie along their first axes."""
    # Only here: it takes a second, and most runs place papers on a map that is there.
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    flat = landmarks[:, :2]
    if len(landmarks) <= 3 * _NEIGHBOURS:
        return flat
    begin = flat if start is None else start
    # Small, as the method wants it: the parts of the map can then pass through each other.
    begin = 1e-4 * (begin - begin.mean(axis=0)) / max(float(begin[:, 0].std()), 1e-9)
    perplexity = min(30.0, (len(landmarks) - 1) / 3)
    # Its steps are so short that threads wait for each other longer than they work: on a busy machine sixty times as long.
    with threadpool_limits(1, "openmp"):
        places = TSNE(perplexity=perplexity, init=begin, max_iter=500, random_state=0).fit_transform(landmarks)
    places = np.asarray(places - places.mean(axis=0), dtype=np.float32)
    return places if start is None else _aligned(places, start)


def _aligned(places: Places, target: Places) -> Places:
    """The places turned and mirrored so that they lie nearest to the target (orthogonal Procrustes, Schönemann 1966)."""
    left, _, right = np.linalg.svd(places.T @ (target - target.mean(axis=0)))
    return np.asarray(places @ (left @ right), dtype=np.float32)


# Placing a paper among the landmarks --------------------------------------------------------------------------------------


def _pulls(distances: Vectors) -> Vectors:
    """How much each of a paper's nearest landmarks counts, shape (n, k), rows adding up to 1.

    Gaussian weights of perplexity `_NEIGHBOURS`, the width of each row found by bisection, as in t-SNE.
    """
    beyond = distances - distances[:, :1]
    low = np.zeros(len(beyond), dtype=np.float32)
    high = np.full(len(beyond), np.inf, dtype=np.float32)
    sharpness = np.full(len(beyond), 1.0 / max(float(beyond.mean()), 1e-9), dtype=np.float32)
    for _ in range(25):
        weights = np.exp(-beyond * sharpness[:, None])
        total = weights.sum(axis=1)
        entropy = np.log(total) + sharpness * (beyond * weights).sum(axis=1) / total
        wide = entropy > np.log(_NEIGHBOURS)
        low, high = np.where(wide, sharpness, low), np.where(wide, high, sharpness)
        sharpness = np.where(np.isinf(high), sharpness * 2, (low + high) / 2)
    weights = np.exp(-beyond * sharpness[:, None])
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float32)


def _descend(pulls: Vectors, anchors: NDArray[np.float32], push: _Push) -> Places:
    """Places by descent on t-SNE's cost with the landmarks held where they are; anchors of shape (n, k, 2).

    Begins near the nearest landmark: from the middle of distant ones a paper would not get to any.
    """
    places = 0.7 * anchors[:, 0] + 0.3 * np.einsum("nk,nkd->nd", pulls, anchors)
    longest = _STRIDE * push.spacing
    for _ in range(_STEPS):
        away = places[:, None] - anchors
        near = pulls / (1.0 + np.einsum("nkd,nkd->nk", away, away))
        step = (push.at(places) - np.einsum("nk,nkd->nd", near, away)) / (near.sum(axis=1, keepdims=True) + 1e-9)
        length = np.linalg.norm(step, axis=1, keepdims=True)
        places = places + step * np.minimum(0.7, longest / np.maximum(length, 1e-9))
    return np.asarray(places, dtype=np.float32)


class _Push:
    """The field with which all landmarks push a point away, read from a grid: they stand still, so it is the same for all."""

    def __init__(self, anchors: Places) -> None:
        index = faiss.IndexFlatL2(2)
        index.add(anchors)
        #: Median distance between a landmark and its nearest neighbour.
        self.spacing = float(np.median(np.sqrt(index.search(anchors, 2)[0][:, 1]))) or 1.0
        self._low, high = anchors.min(axis=0) - 2.0, anchors.max(axis=0) + 2.0
        self._scale = (_GRID - 1) / (high - self._low)
        xs, ys = (np.linspace(self._low[i], high[i], _GRID, dtype=np.float32) for i in (0, 1))
        self._field = np.empty((_GRID, _GRID, 2), dtype=np.float32)
        dy = ys[:, None] - anchors[:, 1]
        for i, x in enumerate(xs):
            dx = x - anchors[:, 0]
            kernel = 1.0 / (1.0 + dx * dx + dy * dy)
            total = kernel.sum(axis=1)
            np.square(kernel, out=kernel)
            self._field[i] = np.stack([kernel @ dx, (kernel * dy).sum(axis=1)], axis=1) / total[:, None]

    def at(self, places: Places) -> Places:
        """The push at these places, shape (n, 2), between the points of the grid by its four corners."""
        cell = np.clip((places - self._low) * self._scale, 0, _GRID - 1.001)
        corner = cell.astype(np.int64)
        (x, y), (u, v) = corner.T, (cell - corner).astype(np.float32).T[:, :, None]
        field = self._field
        low, high = field[x, y] * (1 - v) + field[x, y + 1] * v, field[x + 1, y] * (1 - v) + field[x + 1, y + 1] * v
        return np.asarray(low * (1 - u) + high * u, dtype=np.float32)
