"""Names of the map's areas: clusters of its points, each named by the words that set its titles apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kb.insights.map_view import Plot

_CLUSTERS = (9, 40)  # by level: areas of the whole map, and of a part of it
_MIN_POINTS = 30  # per cluster, on average
_SAMPLE = 20_000  # points that are clustered and read, at most; they take a second


@dataclass(frozen=True, slots=True)
class AreaLabel:
    """The name of an area at its middle, in the map's units."""

    name: str
    x: float
    y: float
    level: int
    """0 for the large areas, 1 for the smaller ones that show from near by."""


def label_areas(plot: Plot) -> list[AreaLabel]:
    """Labels of the areas of a map, level by level; none for a map of few points.

    An area is a k-means cluster of coordinates. Its name is the pair of neighbouring title words with the highest class-based
    TF-IDF (Grootendorst 2022, BERTopic): the share of the pair in the cluster times ln(1 + mean pairs a cluster / its papers).
    """
    from sklearn.cluster import MiniBatchKMeans
    from sklearn.feature_extraction.text import CountVectorizer
    from threadpoolctl import threadpool_limits

    rows = np.random.default_rng(0).permutation(len(plot))[:_SAMPLE]
    if len(rows) < 2 * _MIN_POINTS:
        return []
    pairs = CountVectorizer(
        ngram_range=(2, 2), stop_words="english", binary=True, token_pattern=r"(?u)\b[^\W\d_][\w-]+\b", min_df=2
    )
    try:
        counts = pairs.fit_transform([plot.titles[row] for row in rows.tolist()])
    except ValueError:  # no pair occurs twice
        return []
    names = pairs.get_feature_names_out()
    labels: list[AreaLabel] = []
    for level, most in enumerate(_CLUSTERS):
        clusters = min(most, len(rows) // _MIN_POINTS)
        with threadpool_limits(1):  # several threads wait for each other longer than they compute
            found = MiniBatchKMeans(clusters, random_state=0, n_init=1).fit(plot.coordinates[rows])
        terms = np.stack([np.asarray(counts[found.labels_ == c].sum(axis=0)).ravel() for c in range(clusters)])
        weights = _class_tf_idf(terms)
        taken: set[int] = set()
        for cluster in np.argsort(-terms.sum(axis=1), kind="stable").tolist():
            best = next((term for term in np.argsort(-weights[cluster], kind="stable")[:50].tolist() if term not in taken), -1)
            if best >= 0 and weights[cluster, best] > 0:
                taken.add(best)
                x, y = found.cluster_centers_[cluster].tolist()
                labels.append(AreaLabel(str(names[best]), x, y, level))
    return labels


def _class_tf_idf(terms: NDArray[np.int64]) -> NDArray[np.float64]:
    """Class-based TF-IDF of counts, shape (clusters, terms), in the same shape."""
    sizes = np.maximum(terms.sum(axis=1, keepdims=True), 1)
    weights: NDArray[np.float64] = terms / sizes * np.log1p(sizes.mean() / np.maximum(terms.sum(axis=0), 1))
    return weights
