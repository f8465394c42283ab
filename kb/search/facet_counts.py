"""What an answer consists of: how many of its papers there are of each category and year, and with code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from kb.search.searcher import Hit


@dataclass(frozen=True, slots=True)
class Spread:
    """Numbers of papers."""

    categories: tuple[tuple[str, int], ...]
    """By category, the most frequent first; a paper counts in each of its categories."""
    years: tuple[tuple[int, int], ...]
    """By year, the latest first."""
    code: int
    """Papers with a repository."""


def spread_of(hits: Sequence[Hit]) -> Spread:
    """Counts over an answer."""
    categories = Counter(category for hit in hits for category in dict.fromkeys(hit.paper.categories))
    years = Counter(hit.paper.year for hit in hits if hit.paper.year is not None)
    return Spread(
        tuple(sorted(categories.items(), key=lambda row: (-row[1], row[0]))),
        tuple(sorted(years.items(), reverse=True)),
        sum(1 for hit in hits if hit.code),
    )
