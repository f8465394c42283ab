"""Gap detection: days on which a followed category has no papers though its neighbouring days have."""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from statistics import median

from ingest.arxiv.announcements import is_working_day
from ingest.arxiv.api import category_query
from ingest.arxiv.oai import category_of
from ingest.arxiv.oai import covers as covers_set
from kb.store import Ledger

_COMPARED = timedelta(days=60)
_NEIGHBOUR_DAYS = 10  # days with papers, before and after, that say how many are usual
_MIN_USUAL = 5  # papers a day, from which on a day without any is no chance
_ANNOUNCEMENT_DELAY = timedelta(days=5)  # papers are announced one to four days after submission, over a weekend


@dataclass(frozen=True, slots=True)
class Gap:
    """Run of days without papers; days on which none are usual may lie between them."""

    category: str
    first: date
    last: date
    usual: float
    """Median number of papers on the neighbouring days of the same kind that have some."""


def find_gaps(ledger: Ledger, category: str, today: date) -> list[Gap]:
    """Find the gaps of a category between the first day that was requested and the day that its harvests have reached."""
    span = followed_span(ledger, category, today)
    if span is None:
        return []
    first, last = span
    with_papers = sorted(ledger.papers_by_day(category, first, last).keys() | ledger.quiet_days(category))
    gaps: list[Gap] = []
    for day, usual in missing_days(ledger, category, first, last):
        # One gap, as long as no day with papers lies between.
        if gaps and bisect_left(with_papers, day) == bisect_left(with_papers, gaps[-1].last):
            gaps[-1] = Gap(category, gaps[-1].first, day, gaps[-1].usual)
        else:
            gaps.append(Gap(category, day, day, usual))
    return gaps


def missing_days(ledger: Ledger, category: str, first: date, last: date) -> list[tuple[date, float]]:
    """Days from `first` to `last` without papers, where the neighbouring days have at least five; with their median.

    Working days are compared with working days, weekends and holidays with one another. Days that are empty at arXiv, as
    a second source has confirmed, are not missing.
    """
    counts = ledger.papers_by_day(category, first - _COMPARED, last + _COMPARED)
    quiet = ledger.quiet_days(category)
    busy = {kind: sorted(day for day in counts if is_working_day(day) == kind) for kind in (True, False)}
    found: list[tuple[date, float]] = []
    for n in range((last - first).days + 1):
        day = first + timedelta(days=n)
        if counts.get(day) or day in quiet:
            continue
        like = busy[is_working_day(day)]
        at = bisect_left(like, day)
        around = like[max(0, at - _NEIGHBOUR_DAYS) : at + _NEIGHBOUR_DAYS]
        if around and (usual := median(counts[d] for d in around)) >= _MIN_USUAL:
            found.append((day, usual))
    return found


def doubt(ledger: Ledger, category: str, first: datetime, last: datetime) -> tuple[str, bool]:
    """Reason to disbelieve that a category has no papers submitted between two moments, and whether it is a proof.

    The reason is empty if there is none.
    """
    days = first.date() + timedelta(days=first.time() > time()), last.date() - timedelta(days=1)
    if days[0] > days[1]:
        return "", False
    if held := sum(ledger.papers_by_day(category, *days).values()):
        return f"{held:,} papers of these days are here", True
    settled = min(days[1], utc_today() - _ANNOUNCEMENT_DELAY)
    missing = missing_days(ledger, category, days[0], settled)
    if not missing or confirmed_by_oai(ledger, category, settled):
        return "", False
    return f"about {missing[0][1]:.0f} papers a day are usual", False


def confirmed_by_oai(ledger: Ledger, category: str, day: date) -> bool:
    """True if OAI-PMH has brought the category to its end well after this day: what is not here then, arXiv does not have."""
    needed = datetime.combine(day, time()) + _ANNOUNCEMENT_DELAY
    harvests = (h for h in ledger.harvests() if h.source.startswith("oai:") and covers(h.source, category))
    return any(
        h.finished is not None and h.finished >= needed and not h.in_progress and (h.began is None or h.began.date() <= day)
        for h in harvests
    )


def utc_today() -> date:
    """Today's date in UTC."""
    return datetime.now(UTC).date()


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
