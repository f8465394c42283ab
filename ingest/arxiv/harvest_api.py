"""Harvest arXiv's Atom API into the catalogue: queries since the last run, papers by id, missing days."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, time, timedelta

from ingest.arxiv.api import FIRST_DAY, ArxivApi, Window, category_query, is_identifier
from ingest.arxiv.gaps import confirmed_by_oai, doubt, find_gaps
from ingest.arxiv.harvest_run import HarvestRun, check_since, harvest_lock, open_ledger, utc_now
from ingest.report import Report
from kb.errors import SourceError
from kb.identifiers import ArxivId
from kb.papers import Paper
from kb.progress import Progress
from kb.store import Harvest, Home, Pending

# A paper shows up days after its submission, later still where moderators look twice; it keeps its date of submission.
_OVERLAP = timedelta(days=14)
_ONLY_NEW = (
    "The API finds papers by their submission: of those older than 14 days, revisions, withdrawals and new categories come by "
    "`kb ingest oai`, or by `kb ingest arxiv --refresh`."
)
_RESUME = "Run the same command again: it goes on from what is published."


def harvest_query(home: Home, api: ArxivApi, query: str, category: str, since: date | None, progress: Progress) -> Report:
    """Fetch the papers of a query submitted since the last run; the first time since the day `since`, or all.

    `category` is the one that the query stands for, empty for any other query. A source that cannot be read to the end is
    reported in `Report.failure`; what came before is published. Raises BusyError if the source is being harvested, and
    QueryError if `since` lies in the future.
    """
    check_since(since)
    source = f"api:{query}"
    with harvest_lock(home, source):
        run = HarvestRun(home, "arxiv", source, api.session, _RESUME, marks_withdrawn=False)
        known = run.before
        last = utc_now().replace(second=0, microsecond=0)
        asked = max(datetime.combine(since, time()), FIRST_DAY) if since else None
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
            _ask_pending(run, api, query)
            for window in api.windows(query, first, last):
                _check_window(run, api, category, window)
                reached = max(known.reached or window.last, window.last)
                harvest = replace(harvest, reached=reached, asked_from=window.last)
                if window.papers:
                    run.publish(window.papers, harvest)
                progress.advance(int((window.last - window.first) / timedelta(minutes=1)))
        except SourceError as error:
            return run.fail(error)
        if category and run.before.finished is None and not run.report.message:
            run.report.message = _ONLY_NEW
        return run.end(harvest, category)


def _check_window(run: HarvestRun, api: ArxivApi, category: str, window: Window) -> None:
    """Report what of a window cannot be read. Raises SourceError if it is empty and a second source speaks against that."""
    for name in window.unreadable:
        if is_identifier(name):
            run.lose(Pending(name), f"the entry for {name} lacks a date or a title")
        else:
            run.report.skip("arXiv", 0, f"the entry for {name} has no identifier that can exist")
    for entry in window.lost:
        reason = f"an entry submitted between {entry.first:%Y-%m-%d %H:%M} and {entry.last:%Y-%m-%d %H:%M} cannot be given"
        run.lose(Pending("", entry.first, entry.last), reason)
    if window.papers or window.unreadable or window.lost or not category or not run.home.exists():
        return
    with open_ledger(run.home) as ledger:
        reason, proven = doubt(ledger, category, window.first, window.last)
    if reason and (proven or not api.count_of_days(window.first, window.last)):
        raise SourceError(
            f"arXiv says that {category} has no papers submitted from {window.first:%Y-%m-%d} to {window.last:%Y-%m-%d}, "
            f"though {reason}. It is unwell."
        )


def _ask_pending(run: HarvestRun, api: ArxivApi, query: str) -> None:
    """Ask again for what earlier runs did not get. Raises SourceError; all of it is then pending as before."""
    asked, run.pending = run.pending, []
    papers: list[Paper] = []
    try:
        for found, unknown in api.by_id([ArxivId.parse(item.paper_id) for item in asked if item.paper_id]):
            papers += found
            for identifier in unknown:
                run.lose(Pending(identifier.paper_id), f"arXiv gives no paper for {identifier.identifier}")
        for item in asked:
            if item.first is not None and item.last is not None:
                for window in api.windows(query, item.first, item.last):
                    papers += window.papers
                    _check_window(run, api, "", window)
    except SourceError:
        run.pending = [*asked, *(item for item in run.pending if item not in asked)]
        raise
    if papers:
        run.publish(papers)


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


def refresh(home: Home, api: ArxivApi, category: str, since: date | None, progress: Progress) -> Report:
    """Fetch by id the papers of a category that are here: their revisions, withdrawals and new categories.

    `since` leaves out those submitted before that day. Raises QueryError for what is no category.
    """
    category_query(category)
    if not home.exists():
        return fetch_ids(home, api, [], progress, f"api:refresh {category}")
    with open_ledger(home) as ledger:
        names = ledger.arxiv_papers(category, since or FIRST_DAY.date())
    return fetch_ids(home, api, [ArxivId.parse(name) for name in names], progress, f"api:refresh {category}")


def fill_gaps(home: Home, api: ArxivApi, category: str, since: date | None, progress: Progress) -> Report:
    """Fetch the days of a category that lack papers; days that are empty at arXiv too are remembered.

    A day counts as empty where OAI-PMH has none either, or where arXiv has papers of other categories for it. Raises
    QueryError for what is no category.
    """
    query = category_query(category)
    today = utc_now().date()
    with open_ledger(home) as ledger:
        gaps = [gap for gap in find_gaps(ledger, category, today) if since is None or gap.last >= since]
    run = HarvestRun(home, "repair", f"api:{query}", api.session, _RESUME, marks_withdrawn=False)
    progress.start(f"Gaps of {category}", len(gaps), "gaps")
    if gaps:
        run.report.span = f"{gaps[0].first}..{gaps[-1].last}"
    doubtful: list[date] = []
    try:
        for gap in gaps:
            first, last = (datetime.combine(d, time()) for d in (gap.first, gap.last + timedelta(days=1)))
            filled: list[Paper] = []
            for window in api.windows(query, first, last):
                _check_window(run, api, "", window)
                filled += window.papers
            days = {gap.first + timedelta(days=n) for n in range((gap.last - gap.first).days + 1)}
            still = sorted(days - {paper.published for paper in filled if paper.published})
            empty = [day for day in still if _is_empty(home, api, category, day)]
            doubtful += [day for day in still if day not in empty]
            run.report.count("days filled", len(days) - len(still))
            run.report.count("days without papers at arXiv", len(empty))
            run.publish(filled, quiet=[(category, day) for day in empty])
            progress.advance(1)
    except SourceError as error:
        return run.fail(error)
    for day in doubtful:
        run.report.skip("arXiv", 0, f"arXiv has no papers at all of {day}, which cannot be; ask again later")
    return run.end(None)


def _is_empty(home: Home, api: ArxivApi, category: str, day: date) -> bool:
    """True if a second source confirms that a day has no papers of a category. Raises SourceError."""
    with open_ledger(home) as ledger:
        if confirmed_by_oai(ledger, category, day):
            return True
    first = datetime.combine(day, time())
    return api.count_of_days(first, first + timedelta(days=1) - timedelta(minutes=1)) > 0
