"""From arXiv's API into the catalogue: categories and queries since the last time, papers by id, and gaps filled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, time, timedelta

from ingest.arxiv.api import FIRST_DAY, ArxivApi, category_query
from ingest.arxiv.gaps import find_gaps
from ingest.arxiv.harvest_run import HarvestRun, alone, now, open_ledger
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
    """The papers of a query that were submitted since the last run, or, the first time, since a day or ever.

    `category` is the one that the query stands for, empty for any other query. The report tells of a far side that could
    not be read to the end; what came before is published.
    """
    source = f"api:{query}"
    with alone(home, source):
        run = HarvestRun(home, "arxiv", source, api.far_side, _RESUME, marks_withdrawn=False)
        known = run.before
        last = now().replace(second=0, microsecond=0)
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
    """The papers of these ids, in their latest versions; ids that arXiv does not know are reported."""
    run = HarvestRun(home, "arxiv", source, api.far_side, _RESUME, marks_withdrawn=False)
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
    """The metadata of the papers that only notes tell of."""
    with open_ledger(home) as ledger:
        known = ledger.known_by_notes()
    return fetch_ids(home, api, [ArxivId.parse(name) for name in known], progress, "api:missing")


def fill_gaps(home: Home, api: ArxivApi, category: str, since: date | None, progress: Progress) -> Report:
    """Asks again for the days of a category that lack papers; days for which arXiv has none are remembered as such."""
    query = category_query(category)
    today = now().date()
    with open_ledger(home) as ledger:
        gaps = [gap for gap in find_gaps(ledger, category, today) if since is None or gap.last >= since]
    run = HarvestRun(home, "repair", f"api:{query}", api.far_side, _RESUME, marks_withdrawn=False)
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
