"""A plot: the papers that are on the map, in groups, and those of an area."""

from __future__ import annotations

import numpy as np
import pytest

from kb.insights.map_layout import MapLayout, Projection
from kb.insights.map_view import GROUPS, Area, Plot
from kb.store.columns import PaperColumns

EMPTY = np.empty((0, 2), dtype=np.float32)


def layout(keys: list[int], coordinates: list[tuple[float, float]]) -> MapLayout:
    projection = Projection("model", len(keys), EMPTY, EMPTY, EMPTY, EMPTY)
    return MapLayout(projection, np.asarray(keys), np.zeros(len(keys), dtype="V16"), np.asarray(coordinates, dtype=np.float32))


def columns(*rows: tuple[int, str, int, str]) -> PaperColumns:
    keys, titles, years, categories = zip(*rows, strict=True)
    return PaperColumns(
        np.asarray(keys), [f"arxiv:{key}" for key in keys], list(titles), np.asarray(years, dtype=np.int32), list(categories)
    )


@pytest.fixture
def plot() -> Plot:
    return Plot.of(
        layout([1, 2, 3, 4, 9], [(0, 0), (1, 0), (1, 1), (-1, 2), (5, 5)]),
        columns(
            (1, "One $\\alpha$", 2020, "cs.CL"),
            (2, "Two\nlines", 2021, "cs.CV"),
            (3, "Three", 2021, "cs.CV"),
            (4, "Four", 0, ""),
            (7, "Not placed yet", 2020, "cs.CL"),
        ),
    )


def test_it_holds_the_papers_that_are_in_both(plot: Plot) -> None:
    assert plot.keys.tolist() == [1, 2, 3, 4]
    assert plot.titles == ["One α", "Two lines", "Three", "Four"]
    assert plot.coordinates.tolist() == [[0, 0], [1, 0], [1, 1], [-1, 2]]


def test_groups(plot: Plot) -> None:
    by_category = plot.by_category()
    assert (by_category.names, by_category.groups.tolist(), by_category.rest) == (("cs.CV", "cs.CL", "other"), [1, 0, 0, 2], True)
    by_year = plot.by_year()
    assert (by_year.names, by_year.groups.tolist()) == (("2021", "2020", "earlier"), [1, 0, 0, 2])
    by_list = plot.by_list({"a": {"arxiv:1", "arxiv:2"}, "b": {"arxiv:2", "arxiv:3"}})
    assert (by_list.names, by_list.groups.tolist()) == (("a", "b", "on no list"), [0, 0, 1, 2])


def test_a_highlighted_plot_dims_the_others_and_keeps_all_colours(plot: Plot) -> None:
    found = plot.by_category().highlighting({"arxiv:2", "arxiv:4", "arxiv:77"})
    assert found.names == ("cs.CV", "cs.CL", "other", "not among these")
    assert (found.groups.tolist(), found.rest, found.dimmed) == ([3, 0, 3, 2], True, True)
    assert found.within(Area(-9, -9, 9, 9)).ids == ["arxiv:2", "arxiv:4"]


def test_more_groups_than_colours_go_together() -> None:
    n = GROUPS + 5
    rows = [(i, "x", 2000 + i, f"cs.{i:02d}") for i in range(n)]
    plot = Plot.of(layout(list(range(n)), [(i, i) for i in range(n)]), columns(*rows)).by_year()
    assert plot.names == (*(str(2000 + i) for i in range(n - 1, n - GROUPS, -1)), "earlier")
    assert plot.groups.tolist() == [max(0, min(GROUPS - 1, n - 1 - i)) for i in range(n)]


def test_an_area_holds_its_edges(plot: Plot) -> None:
    assert plot.within(Area(0, 0, 1, 1)).ids == ["arxiv:1", "arxiv:2", "arxiv:3"]
    assert plot.within(Area(0.5, 0.5, 9, 9)).keys.tolist() == [3]
    assert len(plot.within(Area(7, 7, 8, 8))) == 0
