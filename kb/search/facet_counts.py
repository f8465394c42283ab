"""Facet counts of a result list: papers by category, by year, and with code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from kb.search.searcher import Hit


@dataclass(frozen=True, slots=True)
class FacetCounts:
    """Numbers of papers of a result list."""

    categories: tuple[tuple[str, int], ...]
    """Papers by category, the most frequent first; a paper counts in each of its categories."""
    years: tuple[tuple[int, int], ...]
    """Papers by year, the latest first."""
    code: int
    """Papers with a repository."""


def count_facets(hits: Sequence[Hit]) -> FacetCounts:
    """Count the facets of a result list."""
    categories = Counter(category for hit in hits for category in dict.fromkeys(hit.paper.categories))
    years = Counter(hit.paper.year for hit in hits if hit.paper.year is not None)
    return FacetCounts(
        tuple(sorted(categories.items(), key=lambda row: (-row[1], row[0]))),
        tuple(sorted(years.items(), reverse=True)),
        sum(1 for hit in hits if hit.code),
    )
