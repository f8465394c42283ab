"""Months beside each other: papers by category, the share with code, the newest month that is whole."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from conftest import record

from ingest.jobs.run import run_snapshot
from kb.insights.trends import OTHER, Month, Rise, by_month, largest_categories, last_whole_month, months_later, rising_words
from kb.store import Generation, Home
from kb.store.monthly import MonthlyCounts


def paper(number: int, day: str, categories: str = "cs.CL", title: str = "A title", comments: str = "") -> dict[str, Any]:
    year, month, number_of_day = day.split("-")
    created = f"Fri, {number_of_day} {date(2000, int(month), 1):%b} {year} 10:00:00 GMT"
    return record(
        number,
        id=f"{year[2:]}{month}.{number + 1:05d}",
        title=f"{title} {number}",
        categories=categories,
        comments=comments,
        versions=[{"version": "v1", "created": created}],
    )


@pytest.fixture
def opened(home: Home, write_snapshot: Callable[..., Path]) -> Callable[..., Generation]:
    def open_with(*papers: dict[str, Any]) -> Generation:
        run_snapshot(home, [write_snapshot(papers)])
        return home.open()

    return open_with


CODE = "Code: https://github.com/example/it"


def test_papers_by_month_and_category(opened: Callable[..., Generation]) -> None:
    generation = opened(
        paper(1, "2024-01-31", "cs.CL cs.LG", comments=CODE),
        paper(2, "2024-01-01", "cs.CV"),
        paper(3, "2024-01-02", "cs.CV"),
        paper(4, "2024-03-01", "cs.AI"),
        paper(5, "2024-03-02", "cs.CL"),
        paper(6, "2024-03-03", "cs.CL", comments="This paper has been withdrawn by the authors"),
        paper(7, "2019-03-03", "cs.RO"),
    )
    assert by_month(generation.catalogue, 3, categories=2) == [
        Month(date(2024, 1, 1), 3, 1, {"cs.CL": 1, "cs.CV": 2, OTHER: 0}),
        Month(date(2024, 2, 1), 0, 0, {"cs.CL": 0, "cs.CV": 0, OTHER: 0}),
        Month(date(2024, 3, 1), 2, 0, {"cs.CL": 1, "cs.CV": 0, OTHER: 1}),
    ]
    assert [month.first for month in by_month(generation.catalogue, 1)] == [date(2024, 3, 1)]
    assert by_month(generation.catalogue, 1000)[0].first == date(2019, 3, 1)
    assert MonthlyCounts(generation.catalogue).months() == [date(2024, 3, 1), date(2024, 1, 1), date(2019, 3, 1)]
    assert largest_categories(MonthlyCounts(generation.catalogue), date(2024, 3, 1), 1) == (Rise("cs.AI", 1, 0.0),)
    generation.close()


@pytest.mark.parametrize(
    ("days", "whole"),
    [
        (["2024-03-24", "2024-02-01"], date(2024, 2, 1)),
        (["2024-03-25", "2024-02-01"], date(2024, 3, 1)),
        (["2024-03-01", "2024-01-01"], date(2024, 3, 1)),  # the month before has none
    ],
)
def test_a_month_that_has_just_begun_is_not_compared(opened: Callable[..., Generation], days: list[str], whole: date) -> None:
    generation = opened(*(paper(n, day) for n, day in enumerate(days)))
    assert last_whole_month(generation.catalogue) == whole
    generation.close()


def test_words_that_rise(opened: Callable[..., Generation]) -> None:
    before = [paper(n, f"2024-0{n % 3 + 1}-05", title="Old news of parsing") for n in range(18)]
    now = [paper(20 + n, "2024-04-05", title="State space models") for n in range(6)]
    generation = opened(*before, *now, *(paper(30 + n, "2024-04-06", title="Old news of parsing") for n in range(6)))
    words = rising_words(MonthlyCounts(generation.catalogue), date(2024, 4, 1))
    # "state space" overlaps with what rises as much, and is not said twice.
    assert words == (Rise("space models", 6, 0.0), Rise("old news", 6, 6.0))
    generation.close()


def test_an_empty_catalogue_has_no_months(home: Home) -> None:
    with home.draft() as draft:
        draft.publish()
    generation = home.open()
    assert by_month(generation.catalogue, 12) == []
    assert last_whole_month(generation.catalogue) is None
    generation.close()


def test_months_later() -> None:
    assert months_later(date(2024, 12, 1), 1) == date(2025, 1, 1)
    assert months_later(date(2024, 1, 1), -1) == date(2023, 12, 1)
