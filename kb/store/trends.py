"""What was published when: the papers of a span of days, by category, and the words of their titles."""

from __future__ import annotations

from datetime import date

import numpy as np

from kb.store.catalogue import Catalogue, Keys


class Trends:
    """Counts over the papers of one open catalogue; withdrawn papers are left out. Last days are not part of a span."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    def published(self, first: date, end: date) -> Keys:
        """Keys of the papers of a span, in order."""
        rows = self._catalogue._read(
            "SELECT key FROM papers WHERE published >= ? AND published < ? AND NOT withdrawn ORDER BY key", [first, end]
        )
        return np.asarray([key for (key,) in rows], dtype=np.int64)

    def by_category(self, first: date, end: date) -> dict[str, int]:
        """Papers of a span by their primary category."""
        rows = self._catalogue._read(
            """SELECT categories[1], count(*) FROM papers
               WHERE published >= ? AND published < ? AND NOT withdrawn AND len(categories) > 0 GROUP BY 1""",
            [first, end],
        )
        return {category: int(n) for category, n in rows}

    def title_words(self, first: date, end: date) -> dict[str, int]:
        """Papers of a span by pairs of neighbouring words in their titles, in small letters."""
        rows = self._catalogue._read(
            r"""SELECT pair, count(*) FROM (
                    SELECT DISTINCT key,
                        unnest(list_transform(range(1, len(words)), lambda i: words[i] || ' ' || words[i + 1])) AS pair
                    FROM (SELECT key, regexp_extract_all(lower(title), '[a-z][a-z0-9-]+') AS words FROM papers
                          WHERE published >= ? AND published < ? AND NOT withdrawn)
                ) GROUP BY pair HAVING count(*) >= 3""",
            [first, end],
        )
        return {pair: int(n) for pair, n in rows}
