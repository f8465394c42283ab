"""What the map shows: papers, their coordinates and colour groups."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kb.insights.map_layout import Coordinates, MapLayout
from kb.store import Keys
from kb.store.columns import PaperColumns
from kb.text.latex import to_unicode

GROUPS = 10  # colours that can be told apart; the last is for all other papers


@dataclass(frozen=True, slots=True)
class Area:
    """A rectangle in map coordinates."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, slots=True)
class Plot:
    """Papers on the map, column by column: n papers, each with coordinates and one group."""

    keys: Keys
    ids: Sequence[str]
    titles: Sequence[str]
    """Without LaTeX, on one line."""
    years: NDArray[np.int32]
    """Shape (n,); 0 if unknown."""
    categories: Sequence[str]
    coordinates: Coordinates
    """Shape (n, 2)."""
    groups: NDArray[np.uint8]
    """Index of each paper's group in `names`, shape (n,)."""
    names: tuple[str, ...] = ("",)
    rest: bool = True
    """True if the last group holds all papers of no other group."""
    dimmed: bool = False
    """Whether the last group is of papers that are not asked for."""

    @classmethod
    def of(cls, layout: MapLayout, columns: PaperColumns) -> Plot:
        """All papers that have coordinates, in one group; papers deleted since the map was drawn are left out."""
        keys, rows, placed = np.intersect1d(columns.keys, layout.keys, assume_unique=True, return_indices=True)
        chosen = rows.tolist()
        return cls(
            keys,
            [columns.ids[row] for row in chosen],
            [_plain(columns.titles[row]) for row in chosen],
            columns.years[rows],
            [columns.categories[row] for row in chosen],
            layout.coordinates[placed],
            np.zeros(len(keys), dtype=np.uint8),
        )

    def __len__(self) -> int:
        return len(self.keys)

    def highlighting(self, identifiers: Set[str]) -> Plot:
        """The same plot with all papers but these, by canonical id, in a last group that is dimmed."""
        found = np.asarray([identifier in identifiers for identifier in self.ids], dtype=bool)
        groups = np.where(found, self.groups, np.uint8(len(self.names))).astype(np.uint8)
        return replace(self, groups=groups, names=(*self.names, "not among these"), dimmed=True)

    def within(self, area: Area) -> Plot:
        """The plot of the papers in an area, its edges included; without those that are dimmed."""
        x, y = self.coordinates.T
        inside = (x >= area.left) & (x <= area.right) & (y >= area.top) & (y <= area.bottom)
        return self._rows(np.flatnonzero(inside & (self.groups < len(self.names) - self.dimmed)))

    def by_category(self) -> Plot:
        """Group by primary category: the largest first, the rest as one group."""
        return self._grouped(self.categories, [name for name, _ in Counter(self.categories).most_common() if name])

    def by_year(self) -> Plot:
        """Group by year: the latest first; earlier and unknown years as one group."""
        years = [str(year) if year else "" for year in self.years.tolist()]
        return self._grouped(years, sorted(set(years) - {""}, reverse=True), "earlier")

    def by_list(self, lists: Mapping[str, Set[str]]) -> Plot:
        """Group by reading list, given as name → canonical ids; a paper on several lists counts to the first of them."""
        list_of = {identifier: name for name, identifiers in reversed(list(lists.items())) for identifier in identifiers}
        return self._grouped([list_of.get(identifier, "") for identifier in self.ids], list(lists), "on no list")

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
            coordinates=self.coordinates[rows],
            groups=self.groups[rows],
        )


def _plain(title: str) -> str:
    """The title in Unicode; titles without LaTeX skip the converter, which is 100 times slower."""
    return " ".join((to_unicode(title) if "$" in title or "\\" in title else title).split())
