"""Facet counts of a result list."""

from __future__ import annotations

from kb.papers import CodeLink, Paper
from kb.search.facet_counts import count_facets
from kb.search.searcher import Hit


def hit(number: int, categories: str, year: int | None, code: bool = False) -> Hit:
    paper = Paper(f"arxiv:2301.{number:05d}", "T", categories=tuple(categories.split()), year=year)
    return Hit(number, paper, 1.0, {}, (CodeLink("https://github.com/a/b", "abstract"),) if code else (), ())


def test_papers_count_in_each_category_once() -> None:
    hits = [hit(1, "cs.CL cs.LG", 2023, code=True), hit(2, "cs.LG cs.LG", 2021), hit(3, "cs.CV cs.CL", None), hit(4, "", 2023)]
    counts = count_facets(hits)
    assert counts.categories == (("cs.CL", 2), ("cs.LG", 2), ("cs.CV", 1))
    assert counts.years == ((2023, 2), (2021, 1))
    assert counts.code == 1


def test_no_hits() -> None:
    counts = count_facets([])
    assert (counts.categories, counts.years, counts.code) == ((), (), 0)
