"""Gap detection: working days on which a followed category has no papers though its neighbouring days have."""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass
from datetime import date, timedelta
from statistics import median

from ingest.arxiv.announcements import working_days
from ingest.arxiv.api import category_query
from ingest.arxiv.oai import category_of
from ingest.arxiv.oai import covers as covers_set
from kb.store import Ledger

_NEIGHBOUR_DAYS = 10  # days with papers, before and after, that say how many are usual
_MIN_USUAL = 5  # papers a day, from which on a day without any is no chance
_ANNOUNCEMENT_DELAY = timedelta(days=5)  # papers are announced one to four days after submission, over a weekend


@dataclass(frozen=True, slots=True)
class Gap:
    """Run of consecutive working days without papers."""

    category: str
    first: date
    last: date
    usual: float
    """Median number of papers on the neighbouring days that have some."""


def find_gaps(ledger: Ledger, category: str, today: date) -> list[Gap]:
    """Find the gaps of a category between the first day that was requested and the day that its harvests have reached.

    Days confirmed as empty by arXiv are no gaps.
    """
    span = followed_span(ledger, category, today)
    if span is None:
        return []
    first, last = span
    counts = ledger.papers_by_day(category, first, last)
    quiet = ledger.quiet_days(category)
    days = working_days(first, last)
    busy = [day for day in days if counts.get(day)]
    gaps: list[Gap] = []
    previous: date | None = None
    for day in days:
        if counts.get(day):
            previous = day
            continue
        at = bisect_left(busy, day)
        around = busy[max(0, at - _NEIGHBOUR_DAYS) : at + _NEIGHBOUR_DAYS]
        usual = median(counts[d] for d in around) if around else 0.0
        if usual >= _MIN_USUAL and day not in quiet:
            # The day after a gap's last, or separated from it by days off only: one gap.
            if gaps and (previous is None or previous < gaps[-1].last):
                gaps[-1] = Gap(category, gaps[-1].first, day, gaps[-1].usual)
            else:
                gaps.append(Gap(category, day, day, usual))
        else:
            previous = day
    return gaps


def followed_span(ledger: Ledger, category: str, today: date) -> tuple[date, date] | None:
    """First and last day that the harvests of a category have published; `None` without a harvest."""
    spans = []
    for harvest in ledger.harvests():
        if harvest.reached is None or not covers(harvest.source, category):
            continue
        first = harvest.began.date() if harvest.began else ledger.first_day(category)
        if first is not None:
            spans.append((first, min(harvest.reached.date(), today) - _ANNOUNCEMENT_DELAY))
    if not spans:
        return None
    return min(first for first, _ in spans), max(last for _, last in spans)


def covers(source: str, category: str) -> bool:
    """True if the harvest of a source (`oai:cs`, `api:cat:cs.CL`) includes every paper of a category."""
    kind, _, rest = source.partition(":")
    if kind == "oai":
        return covers_set(rest, category)
    archive = category.partition(".")[0]
    return kind == "api" and rest in {category_query(category), category_query(archive)}


def followed(ledger: Ledger) -> list[str]:
    """Categories and archives that have a harvest of their own."""
    found: list[str] = []
    for harvest in ledger.harvests():
        kind, _, rest = harvest.source.partition(":")
        if kind == "oai" and category_of(rest):
            found.append(category_of(rest))
        elif query := re.fullmatch(r"cat:([^ ]+)(?: OR cat:\1\.\*)?", rest):
            found.append(query[1])
    return found
