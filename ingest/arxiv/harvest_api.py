"""Harvest arXiv's Atom API into the catalogue: queries since the last run, papers by id, missing days."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, time, timedelta

from ingest.arxiv.api import FIRST_DAY, ArxivApi, category_query
from ingest.arxiv.gaps import find_gaps
from ingest.arxiv.harvest_run import HarvestRun, harvest_lock, open_ledger, utc_now
from ingest.report import Report
from kb.errors import SourceError
from kb.identifiers import ArxivId
from kb.papers import Paper
from kb.progress import Progress
from kb.store import Harvest, Home

# A paper shows up days after its submission, later still where moderators look twice; it keeps its date of submission.
_OVERLAP = timedelta(days=14)
_RESUME = "Run the same command again: it goes on from what is published."


def harvest_query(home: Home, api: ArxivApi, query: str, category: str, since: date | None, progress: Progress) -> Report:
    """Fetch the papers of a query submitted since the last run; the first time since the day `since`, or all.

    `category` is the one that the query stands for, empty for any other query. A source that cannot be read to the end is
    reported in `Report.failure`; what came before is published. Raises BusyError if the source is being harvested.
    """
    source = f"api:{query}"
    with harvest_lock(home, source):
        run = HarvestRun(home, "arxiv", source, api.session, _RESUME, marks_withdrawn=False)
        known = run.before
        last = utc_now().replace(second=0, microsecond=0)
        asked = datetime.combine(since, time()) if since else None
        if known.reached is not None and known.reached > last:
            # By a clock that was ahead, and was set back since: what was asked for then is asked for again.
            asked = min(asked or known.began, known.began) if known.began else None
            known = Harvest(source, finished=known.finished)
        older = known.began is not None and asked is not None and asked < known.began
        if known.reached is None or older:
            known = Harvest(source, began=asked, finished=known.finished)
            first, began = asked or FIRST_DAY, asked
        else:
            first, began = known.reached - _OVERLAP, known.began
        if known.in_progress and known.asked_from:
            first = known.asked_from
        run.report.span = f"{first:%Y-%m-%d}..{last:%Y-%m-%d}"
        harvest = replace(known, began=began, in_progress=True)
        progress.start(query, int((last - first) / timedelta(minutes=1)), "minutes of submissions")
        try:
            position = first
            for end, papers, unreadable in api.windows(query, first, last):
                _report_unreadable(run.report, unreadable)
                reached = max(known.reached or end, end)
                harvest = replace(harvest, reached=reached, asked_from=end)
                if papers:
                    run.publish(papers, harvest)
                progress.advance(int((end - position) / timedelta(minutes=1)))
                position = end
        except SourceError as error:
            return run.fail(error)
        return run.end(harvest, category)


def fetch_ids(home: Home, api: ArxivApi, identifiers: Sequence[ArxivId], progress: Progress, source: str = "api:ids") -> Report:
    """Fetch papers by id, in their latest versions; ids that arXiv does not know are reported."""
    run = HarvestRun(home, "arxiv", source, api.session, _RESUME, marks_withdrawn=False)
    progress.start("Papers by id", len(identifiers), "papers")
    try:
        for papers, unknown in api.by_id(identifiers):
            for identifier in unknown:
                run.report.skip("arXiv", 0, f"arXiv gives no paper for {identifier.identifier}")
            run.publish(papers)
            progress.advance(len(papers) + len(unknown))
    except SourceError as error:
        return run.fail(error)
    return run.end(None)


def fetch_missing(home: Home, api: ArxivApi, progress: Progress) -> Report:
    """Fetch the metadata of papers that only notes mention."""
    with open_ledger(home) as ledger:
        known = ledger.known_by_notes()
    return fetch_ids(home, api, [ArxivId.parse(name) for name in known], progress, "api:missing")


def fill_gaps(home: Home, api: ArxivApi, category: str, since: date | None, progress: Progress) -> Report:
    """Fetch the days of a category that lack papers; days that are empty at arXiv too are remembered.

    Raises QueryError for what is no category.
    """
    query = category_query(category)
    today = utc_now().date()
    with open_ledger(home) as ledger:
        gaps = [gap for gap in find_gaps(ledger, category, today) if since is None or gap.last >= since]
    run = HarvestRun(home, "repair", f"api:{query}", api.session, _RESUME, marks_withdrawn=False)
    progress.start(f"Gaps of {category}", len(gaps), "gaps")
    if gaps:
        run.report.span = f"{gaps[0].first}..{gaps[-1].last}"
    try:
        for gap in gaps:
            first, last = (datetime.combine(d, time()) for d in (gap.first, gap.last + timedelta(days=1)))
            filled: list[Paper] = []
            for _, papers, unreadable in api.windows(query, first, last):
                _report_unreadable(run.report, unreadable)
                filled += papers
            days = {gap.first + timedelta(days=n) for n in range((gap.last - gap.first).days + 1)}
            still = days - {paper.published for paper in filled if paper.published}
            run.report.count("days filled", len(days) - len(still))
            run.report.count("days without papers at arXiv", len(still))
            run.publish(filled, quiet=[(category, day) for day in sorted(still)])
            progress.advance(1)
    except SourceError as error:
        return run.fail(error)
    return run.end(None)


def _report_unreadable(report: Report, unreadable: Sequence[str]) -> None:
    for name in unreadable:
        report.skip("arXiv", 0, f"the entry for {name} lacks a date or has no identifier that can exist")
