"""Counts of papers by month, category and title words over a span of days."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np

from kb.store.catalogue import Catalogue, Keys


@dataclass(frozen=True, slots=True)
class MonthCount:
    """Papers of a month whose primary category is this one; '' for none."""

    month: date
    """Its first day."""
    category: str
    papers: int
    with_code: int


class MonthlyCounts:
    """Counts over the papers of one open catalogue; withdrawn papers are left out. Last days are not part of a span."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._connection = catalogue.connection

    def published(self, first: date, end: date) -> Keys:
        """Keys of the papers of a span, in order, shape (n,)."""
        rows = self._connection.read(
            "SELECT key FROM papers WHERE published >= ? AND published < ? AND NOT withdrawn ORDER BY key", [first, end]
        )
        return np.asarray([key for (key,) in rows], dtype=np.int64)

    def by_category(self, first: date, end: date) -> dict[str, int]:
        """Papers of a span by their primary category."""
        rows = self._connection.read(
            """SELECT categories[1], count(*) FROM papers
               WHERE published >= ? AND published < ? AND NOT withdrawn AND len(categories) > 0 GROUP BY 1""",
            [first, end],
        )
        return {category: int(n) for category, n in rows}

    def title_words(self, first: date, end: date) -> dict[str, int]:
        """Papers of a span by pairs of neighbouring words in their titles, in small letters."""
        rows = self._connection.read(
            r"""SELECT pair, count(*) FROM (
                    SELECT DISTINCT key,
                        unnest(list_transform(range(1, len(words)), lambda i: words[i] || ' ' || words[i + 1])) AS pair
                    FROM (SELECT key, regexp_extract_all(lower(title), '[a-z][a-z0-9-]+') AS words FROM papers
                          WHERE published >= ? AND published < ? AND NOT withdrawn)
                ) GROUP BY pair HAVING count(*) >= 3""",
            [first, end],
        )
        return {pair: int(n) for pair, n in rows}

    def monthly(self, first: date, end: date) -> list[MonthCount]:
        """Papers of a span by month and primary category, the oldest month first."""
        rows = self._connection.read(
            """SELECT date_trunc('month', published)::DATE AS month, coalesce(categories[1], '') AS category, count(*),
                      count(coded.paper_id)
               FROM papers LEFT JOIN (SELECT DISTINCT paper_id FROM paper_code) AS coded ON coded.paper_id = papers.id
               WHERE published >= ? AND published < ? AND NOT withdrawn GROUP BY ALL ORDER BY month, category""",
            [first, end],
        )
        return [MonthCount(*row) for row in rows]

    def yearly(self) -> dict[int, int]:
        """Papers by year, withdrawn ones included, as filters count them."""
        rows = self._connection.read("SELECT year, count(*) FROM papers WHERE year IS NOT NULL GROUP BY 1")
        return {int(year): int(n) for year, n in rows}

    def months(self) -> list[date]:
        """First days of the months that have papers, the newest first."""
        rows = self._connection.read(
            """SELECT DISTINCT date_trunc('month', published)::DATE AS month FROM papers
               WHERE published IS NOT NULL AND NOT withdrawn ORDER BY month DESC"""
        )
        return [month for (month,) in rows]
