"""Names of the map's areas: pairs of words that set an area's titles apart."""

from __future__ import annotations

import numpy as np

from kb.insights.map_labels import label_areas
from kb.insights.map_view import Plot

TOPICS = ("Graph neural networks", "Speech recognition systems", "Image diffusion models")


def plot(n: int) -> Plot:
    """N papers on each topic, every topic in a place of its own."""
    rng = np.random.default_rng(0)
    titles = [f"{topic} for task{i % 7}" for topic in TOPICS for i in range(n)]
    places = np.concatenate([rng.normal(size=(n, 2)) * 0.1 + 10 * c for c in range(len(TOPICS))]).astype(np.float32)
    rows = len(titles)
    return Plot(np.arange(rows), [f"arxiv:{i}" for i in range(rows)], titles, np.zeros(rows, np.int32), [""] * rows, places,
                np.zeros(rows, np.uint8))  # fmt: skip


def test_an_area_is_called_by_what_sets_it_apart() -> None:
    labels = [label for label in label_areas(plot(30)) if label.level == 0]
    near = {round(label.x / 10): label.name for label in labels}
    assert set(near) == {0, 1, 2}
    for place, words in enumerate(({"graph neural", "neural networks"}, {"speech recognition", "recognition systems"},
                                   {"image diffusion", "diffusion models"})):  # fmt: skip
        assert near[place] in words
        label = next(label for label in labels if label.name == near[place])
        assert abs(label.x - 10 * place) < 0.5 and abs(label.y - 10 * place) < 0.5


def test_no_two_areas_of_a_level_have_one_name() -> None:
    labels = label_areas(plot(200))
    for level in (0, 1):
        names = [label.name for label in labels if label.level == level]
        assert len(names) == len(set(names)) > 0


def test_a_small_map_and_titles_without_words_have_none() -> None:
    assert label_areas(plot(10)) == []
    few = plot(30)
    assert label_areas(Plot(few.keys, few.ids, ["1"] * len(few), few.years, few.categories, few.coordinates, few.groups)) == []
