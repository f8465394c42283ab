"""Key, id, title, year and category of every paper as columns, read in one pass."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kb.store.catalogue import Catalogue, Keys


@dataclass(frozen=True, slots=True)
class PaperColumns:
    """All papers by ascending key; every column has one entry a paper."""

    keys: Keys
    ids: list[str]
    titles: list[str]
    years: NDArray[np.int32]
    """0 where it is not known."""
    categories: list[str]
    """The primary one; empty where there is none."""

    @classmethod
    def of(cls, catalogue: Catalogue) -> PaperColumns:
        """Read them from an open catalogue."""
        table = catalogue.connection.read_arrow(
            """SELECT key, id, title, coalesce(year, 0)::INTEGER AS year, coalesce(categories[1], '') AS category
               FROM papers ORDER BY key"""
        )
        return cls(
            table["key"].to_numpy(),
            table["id"].to_pylist(),
            table["title"].to_pylist(),
            table["year"].to_numpy(),
            table["category"].to_pylist(),
        )
