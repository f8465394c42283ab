"""A plot: which papers are on the map, where, and which group each belongs to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kb.insights.map_layout import Atlas, Places
from kb.store import Keys
from kb.store.columns import Outlines
from kb.text.latex import to_unicode

GROUPS = 10  # more colours than these cannot be told apart; the last is for all else


@dataclass(frozen=True, slots=True)
class Area:
    """A rectangle of the map, in its units."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, slots=True)
class Plot:
    """Papers with their places, each in one group. Rows of all columns belong together."""

    keys: Keys
    ids: Sequence[str]
    titles: Sequence[str]
    """Without LaTeX, on one line."""
    years: NDArray[np.int32]
    categories: Sequence[str]
    places: Places
    groups: NDArray[np.uint8]
    """Number of each paper's group in `names`."""
    names: tuple[str, ...] = ("",)
    rest: bool = True
    """Whether the last group is of all that belong to no other."""

    @classmethod
    def of(cls, atlas: Atlas, outlines: Outlines) -> Plot:
        """Every paper that has a place, in one group; a paper that is gone since the map was drawn is left out."""
        keys, rows, placed = np.intersect1d(outlines.keys, atlas.keys, assume_unique=True, return_indices=True)
        chosen = rows.tolist()
        return cls(
            keys,
            [outlines.ids[row] for row in chosen],
            [_plain(outlines.titles[row]) for row in chosen],
            outlines.years[rows],
            [outlines.categories[row] for row in chosen],
            atlas.places[placed],
            np.zeros(len(keys), dtype=np.uint8),
        )

    def __len__(self) -> int:
        return len(self.keys)

    def only(self, identifiers: Set[str]) -> Plot:
        """The plot of these papers alone, by canonical id."""
        return self._rows(np.asarray([i for i, identifier in enumerate(self.ids) if identifier in identifiers], dtype=np.int64))

    def within(self, area: Area) -> Plot:
        """The plot of the papers in an area, its edges included."""
        x, y = self.places.T
        return self._rows(np.flatnonzero((x >= area.left) & (x <= area.right) & (y >= area.top) & (y <= area.bottom)))

    def by_category(self) -> Plot:
        """Grouped by primary category: the largest, the largest first, and all other ones."""
        return self._grouped(self.categories, [name for name, _ in Counter(self.categories).most_common() if name])

    def by_year(self) -> Plot:
        """Grouped by year: the last ones, the last first, and all that is earlier or of no known year."""
        years = [str(year) if year else "" for year in self.years.tolist()]
        return self._grouped(years, sorted(set(years) - {""}, reverse=True), "earlier")

    def by_list(self, lists: Mapping[str, Set[str]]) -> Plot:
        """Grouped by reading list, given as name and ids; a paper of several belongs to the first, most belong to none."""
        of = {identifier: name for name, identifiers in reversed(list(lists.items())) for identifier in identifiers}
        return self._grouped([of.get(identifier, "") for identifier in self.ids], list(lists), "on no list")

    def _grouped(self, values: Sequence[str], names: Sequence[str], rest: str = "other") -> Plot:
        shown = names if len(names) < GROUPS else names[: GROUPS - 1]
        number = {name: i for i, name in enumerate(shown)}
        groups = np.asarray([number.get(value, len(shown)) for value in values], dtype=np.uint8)
        left = bool((groups == len(shown)).any())
        return replace(self, groups=groups, names=(*shown, rest) if left else tuple(shown), rest=left)

    def _rows(self, rows: NDArray[np.int64]) -> Plot:
        chosen = rows.tolist()
        return replace(
            self,
            keys=self.keys[rows],
            ids=[self.ids[row] for row in chosen],
            titles=[self.titles[row] for row in chosen],
            years=self.years[rows],
            categories=[self.categories[row] for row in chosen],
            places=self.places[rows],
            groups=self.groups[rows],
        )


def _plain(title: str) -> str:
    """The title as it reads; reading LaTeX costs a hundred times as much as seeing that there is none."""
    return " ".join((to_unicode(title) if "$" in title or "\\" in title else title).split())
