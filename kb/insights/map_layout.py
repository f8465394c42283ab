"""Two-dimensional map of all papers: landmark t-SNE, with out-of-sample placement of each paper.

    sample of the vectors → PCA → k-means landmarks → t-SNE of the landmarks   once: the projection
    a paper's vector → nearest landmarks → gradient descent between them       for each paper

A paper's coordinates depend only on its own text and the projection, so a new paper moves no old one. The projection is refitted
only when the number of papers has doubled or the model has changed, and then starts from the previous coordinates.
"""

from __future__ import annotations

import io
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

# On macOS importing faiss before torch crashes; elsewhere the import of torch is saved.
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

MAP_FILE = "atlas.npz"
#: Map coordinates: float32, shape (n, 2), in units of t-SNE's kernel width; a map is some tens of units wide.
Coordinates = NDArray[np.float32]

_LANDMARKS = 3000
_FIT_SAMPLE = 60_000  # vectors for fitting PCA and k-means
_PCA_COMPONENTS = 50  # more cost time and change the map little
_REFIT_GROWTH = 2.0  # refit when the number of papers has grown by this factor
_NEAREST_LANDMARKS = 15  # landmarks that attract a paper
_PERPLEXITY = 5.0  # of the attraction weights: the effective number of landmarks
_DESCENT_STEPS, _MAX_STEP = 10, 0.5  # gradient descent of a paper; step length in median landmark spacings
_GRID_SIZE = 256  # points per side of the repulsion grid
_BATCH = 20_000  # papers per batch


@dataclass(frozen=True, slots=True)
class Projection:
    """Fitted parameters of the projection from vectors to map coordinates."""

    fingerprint: str
    """Fingerprint of the encoder."""
    fitted_on: int
    """Number of papers when it was fitted."""
    mean: Vectors
    """Mean vector, shape (d,)."""
    axes: Vectors
    """Principal axes, shape (d, p)."""
    landmarks: Vectors
    """Landmarks in PCA space, shape (m, p)."""
    anchors: Coordinates
    """Map coordinates of the landmarks, shape (m, 2)."""

    @classmethod
    def fit(cls, vectors: Vectors, papers: int, fingerprint: str, before: Projection | None = None) -> Projection:
        """Fit a projection to a sample of unit vectors, shape (n, d); `before` gives the initial coordinates."""
        mean = vectors.mean(axis=0)
        centred = vectors - mean
        _, directions = np.linalg.eigh(centred.T @ centred)
        axes = np.ascontiguousarray(directions[:, ::-1][:, :_PCA_COMPONENTS])
        # The sign of an axis is arbitrary: make its largest component positive, so that equal vectors give equal maps.
        axes *= np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
        points = np.ascontiguousarray(centred @ axes)
        landmarks = points if len(points) <= _LANDMARKS else _centroids(points)
        start = Projector(before).project(landmarks @ axes.T + mean) if before else None
        return cls(fingerprint, papers, mean, axes, landmarks, _tsne(landmarks, start))


class Projector:
    """Computes map coordinates of vectors with a fitted projection."""

    def __init__(self, projection: Projection) -> None:
        self._projection = projection
        self._landmarks = faiss.IndexFlatL2(projection.landmarks.shape[1])
        self._landmarks.add(projection.landmarks)
        self._is_small = len(projection.anchors) <= _NEAREST_LANDMARKS
        if not self._is_small:
            self._repulsion = _RepulsionField(projection.anchors)

    def project(self, vectors: Vectors) -> Coordinates:
        """Map coordinates, shape (n, 2), of vectors, shape (n, d); each vector is placed independently of the others."""
        projection = self._projection
        points = np.ascontiguousarray((vectors - projection.mean) @ projection.axes)
        distances, nearest = self._landmarks.search(points, 1 if self._is_small else _NEAREST_LANDMARKS)
        anchors = projection.anchors[nearest]
        return anchors[:, 0] if self._is_small else _descend(_attraction_weights(distances), anchors, self._repulsion)


@dataclass(frozen=True, slots=True)
class MapLayout:
    """Map coordinates of a generation's papers, in the order of their keys."""

    projection: Projection
    keys: Keys
    digests: Digests
    """Digests of the texts that were placed, shape (n,)."""
    coordinates: Coordinates
    """Shape (n, 2)."""

    @classmethod
    def of(cls, generation: Generation) -> MapLayout | None:
        """Read the map of a generation; `None` if it has none yet. Raises StoreError if the file is damaged."""
        if MAP_FILE not in generation.manifest.files:
            return None
        return cls.read(generation.file(MAP_FILE))

    @classmethod
    def read(cls, path: Path) -> MapLayout:
        """Read a map file. Raises StoreError if it is damaged or no map."""
        try:
            with np.load(path, allow_pickle=False) as file:
                stored = {name: file[name] for name in file.files}
            projection = Projection(str(stored["fingerprint"]), int(stored["fitted_on"]), *(stored[name] for name in _ARRAYS))
            return cls(projection, stored["keys"], stored["digests"].view(DIGEST).reshape(-1), stored["places"])
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise StoreError(f"{path} is no readable map ({error}). Run `kb index`: it is drawn again.") from error

    def write(self, path: Path) -> None:
        """Write the file atomically: to a temporary name, then renamed."""
        arrays = {name: getattr(self.projection, name) for name in ("fingerprint", "fitted_on", *_ARRAYS)}
        data = io.BytesIO()
        np.savez(data, **arrays, keys=self.keys, digests=self.digests.view(np.uint8).reshape(-1, 16), places=self.coordinates)
        replace_file(path, data.getvalue())


_ARRAYS = ("mean", "axes", "landmarks", "anchors")


def update_map(draft: Draft, progress: Progress | None = None) -> None:
    """Compute coordinates for the draft's embedded papers that are new or whose text has changed."""
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
    before = _previous_layout(draft, manifest.model_fingerprint)
    if before is None or len(keys) > _REFIT_GROWTH * before.projection.fitted_on:
        projection = _fit(store, positions, manifest.model_fingerprint, before, progress)
        coordinates, missing = np.empty((len(keys), 2), dtype=np.float32), np.arange(len(keys))
    else:
        projection = before.projection
        coordinates, missing = _reused(before, keys, texts)
        if not len(missing) and np.array_equal(keys, before.keys):
            return
    progress.start("Placing papers on the map", len(missing), "papers")
    projector = Projector(projection)
    for at in range(0, len(missing), _BATCH):
        block = missing[at : at + _BATCH]
        coordinates[block] = projector.project(store.take(positions[block]))
        progress.advance(len(block))
    MapLayout(projection, keys, texts, coordinates).write(draft.folder / MAP_FILE)


def _previous_layout(draft: Draft, fingerprint: str) -> MapLayout | None:
    """The previous generation's map, if it is undamaged and of this model."""
    try:
        layout = MapLayout.read(draft.folder / MAP_FILE)
    except StoreError:
        return None
    return layout if layout.projection.fingerprint == fingerprint else None


def _fit(
    store: VectorStore, positions: NDArray[np.int64], fingerprint: str, before: MapLayout | None, progress: Progress
) -> Projection:
    progress.start("Drawing the map", 1, "map")
    sample = positions
    if len(sample) > _FIT_SAMPLE:
        sample = np.sort(np.random.default_rng(0).choice(positions, _FIT_SAMPLE, replace=False))
    projection = Projection.fit(store.take(sample), len(positions), fingerprint, before.projection if before else None)
    progress.advance(1)
    return projection


def _reused(before: MapLayout, keys: Keys, texts: Digests) -> tuple[Coordinates, NDArray[np.int64]]:
    """Coordinates kept from `before`, shape (n, 2), and the row numbers that need new ones."""
    rows = np.searchsorted(before.keys, keys)
    rows[rows == len(before.keys)] = 0
    same = (before.keys[rows] == keys) & (before.digests[rows] == texts)
    return before.coordinates[rows], np.flatnonzero(~same)


def _centroids(points: Vectors) -> Vectors:
    """k-means centroids of points, shape (n, p), with a fixed seed; shape (m, p)."""
    kmeans = faiss.Kmeans(
        points.shape[1], _LANDMARKS, niter=10, seed=1, min_points_per_centroid=1, max_points_per_centroid=_FIT_SAMPLE
    )
    kmeans.train(points)
    return np.asarray(kmeans.centroids, dtype=np.float32)


def _tsne(landmarks: Vectors, start: Coordinates | None) -> Coordinates:
    """t-SNE of the landmarks (van der Maaten and Hinton 2008), shape (m, 2); of few landmarks, two principal components."""
    # Imported here because it takes a second and most runs only place papers on an existing map.
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    flat = landmarks[:, :2]
    if len(landmarks) <= 3 * _PERPLEXITY:
        return flat
    begin = flat if start is None else start
    # t-SNE needs a small initial spread, so that clusters can still pass through each other.
    begin = 1e-4 * (begin - begin.mean(axis=0)) / max(float(begin[:, 0].std()), 1e-9)
    perplexity = min(30.0, (len(landmarks) - 1) / 3)
    # One thread: the steps are so short that OpenMP threads busy-wait, up to 60 times longer on a loaded machine.
    with threadpool_limits(1, "openmp"):
        coordinates = TSNE(perplexity=perplexity, init=begin, max_iter=500, random_state=0).fit_transform(landmarks)
    coordinates = np.asarray(coordinates - coordinates.mean(axis=0), dtype=np.float32)
    return coordinates if start is None else _procrustes(coordinates, start)


def _procrustes(coordinates: Coordinates, target: Coordinates) -> Coordinates:
    """Rotate and mirror coordinates, shape (m, 2), onto the target (orthogonal Procrustes, Schönemann 1966)."""
    left, _, right = np.linalg.svd(coordinates.T @ (target - target.mean(axis=0)))
    return np.asarray(coordinates @ (left @ right), dtype=np.float32)


# Placing a paper between the landmarks ------------------------------------------------------------------------------------


def _attraction_weights(distances: Vectors) -> Vectors:
    """Gaussian weights of each paper's k nearest landmarks from squared distances; both shape (n, k), rows sum to 1.

    The bandwidth of each row is found by bisection, so that its perplexity is `_PERPLEXITY`, as in t-SNE.
    """
    beyond = distances - distances[:, :1]
    low = np.zeros(len(beyond), dtype=np.float32)
    high = np.full(len(beyond), np.inf, dtype=np.float32)
    sharpness = np.full(len(beyond), 1.0 / max(float(beyond.mean()), 1e-9), dtype=np.float32)
    for _ in range(25):
        weights = np.exp(-beyond * sharpness[:, None])
        total = weights.sum(axis=1)
        entropy = np.log(total) + sharpness * (beyond * weights).sum(axis=1) / total
        wide = entropy > np.log(_PERPLEXITY)
        low, high = np.where(wide, sharpness, low), np.where(wide, high, sharpness)
        sharpness = np.where(np.isinf(high), sharpness * 2, (low + high) / 2)
    weights = np.exp(-beyond * sharpness[:, None])
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float32)


def _descend(weights: Vectors, anchors: NDArray[np.float32], repulsion: _RepulsionField) -> Coordinates:
    """Coordinates, shape (n, 2), by gradient descent on t-SNE's cost with fixed landmarks; anchors have shape (n, k, 2).

    Starts near the nearest landmark: from the centroid of distant landmarks a paper would reach none of them.
    """
    coordinates = 0.7 * anchors[:, 0] + 0.3 * np.einsum("nk,nkd->nd", weights, anchors)
    longest = _MAX_STEP * repulsion.spacing
    for _ in range(_DESCENT_STEPS):
        away = coordinates[:, None] - anchors
        near = weights / (1.0 + np.einsum("nkd,nkd->nk", away, away))
        step = (repulsion.at(coordinates) - np.einsum("nk,nkd->nd", near, away)) / (near.sum(axis=1, keepdims=True) + 1e-9)
        length = np.linalg.norm(step, axis=1, keepdims=True)
        coordinates = coordinates + step * np.minimum(0.7, longest / np.maximum(length, 1e-9))
    return np.asarray(coordinates, dtype=np.float32)


class _RepulsionField:
    """Repulsive gradient of all landmarks, precomputed on a grid."""

    def __init__(self, anchors: Coordinates) -> None:
        index = faiss.IndexFlatL2(2)
        index.add(anchors)
        #: Median distance between a landmark and its nearest neighbour.
        self.spacing = float(np.median(np.sqrt(index.search(anchors, 2)[0][:, 1]))) or 1.0
        self._low, high = anchors.min(axis=0) - 2.0, anchors.max(axis=0) + 2.0
        self._scale = (_GRID_SIZE - 1) / (high - self._low)
        xs, ys = (np.linspace(self._low[i], high[i], _GRID_SIZE, dtype=np.float32) for i in (0, 1))
        self._field = np.empty((_GRID_SIZE, _GRID_SIZE, 2), dtype=np.float32)
        dy = ys[:, None] - anchors[:, 1]
        for i, x in enumerate(xs):
            dx = x - anchors[:, 0]
            kernel = 1.0 / (1.0 + dx * dx + dy * dy)
            total = kernel.sum(axis=1)
            np.square(kernel, out=kernel)
            self._field[i] = np.stack([kernel @ dx, (kernel * dy).sum(axis=1)], axis=1) / total[:, None]

    def at(self, coordinates: Coordinates) -> Coordinates:
        """Repulsive gradient at coordinates, both shape (n, 2), by bilinear interpolation."""
        cell = np.clip((coordinates - self._low) * self._scale, 0, _GRID_SIZE - 1.001)
        corner = cell.astype(np.int64)
        (x, y), (u, v) = corner.T, (cell - corner).astype(np.float32).T[:, :, None]
        field = self._field
        low, high = field[x, y] * (1 - v) + field[x, y + 1] * v, field[x + 1, y] * (1 - v) + field[x + 1, y + 1] * v
        return np.asarray(low * (1 - u) + high * u, dtype=np.float32)
