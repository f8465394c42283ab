"""Harvest arXiv's OAI-PMH into the catalogue: records changed since the last run, verified against the identifiers.

ListRecords is followed by ListIdentifiers, thousands to a page. A record that is listed and did not come, or came only with
an older datestamp, is requested by its day, then by its identifier: so a record that a page left out is noticed, and one
that the service cannot give keeps no other away.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta

from ingest.arxiv.harvest_run import HarvestRun, check_since, harvest_lock, open_ledger, utc_now
from ingest.arxiv.http import PageError
from ingest.arxiv.oai import FIRST_DAY, ArxivOai, NoRecordError, Page, TokenExpiredError, category_of
from ingest.report import Report
from kb.errors import SourceError
from kb.progress import Progress
from kb.store import Harvest, Home, Pending

# Pages, of up to 3,500 records each, between two publications: a minute or two of requests.
_PAGES_PER_PUBLICATION = 20
_OVERLAP = timedelta(days=1)
# A record can appear days late under an old datestamp; the lists of identifiers, which are short, look back for it.
_VERIFIED_OVERLAP = timedelta(days=14)
_RANGE = 2000  # records of consecutive days that are requested together
_MAX_LOST = 20  # records that the service cannot give one by one; with more of them it is unwell
_MAX_DEPARTED = 500  # papers that a list can lack; with more of them the list is at fault
_SINGLE_RECORDS = 200  # fetched one by one between two publications
_NARROWING_ATTEMPTS = 3  # at a request that looks for a record at fault
# Two verifications after the records: no two faults, however they fall, hide a record from all three lists.
_VERIFICATIONS = 2
_RESUME = "Run the same command again: it goes on from what is published."


def harvest_set(home: Home, oai: ArxivOai, set_name: str, since: date | None, progress: Progress) -> Report:
    """Fetch the records of a set (empty: all of arXiv) changed since the last run; the first time since `since`, or all.

    A source that cannot be read to the end is reported in `Report.failure`; what came before is published.
    Raises BusyError if the set is being harvested, and QueryError if `since` lies in the future.
    """
    check_since(since)
    source = f"oai:{set_name}"
    with harvest_lock(home, source):
        run = HarvestRun(home, "oai", source, oai.session, _RESUME, marks_withdrawn=True)
        known = run.before
        asked = datetime.combine(max(since, FIRST_DAY), time()) if since else None
        older = known.began is not None and asked is not None and asked < known.began
        if known.reached is None or older:
            known = Harvest(source, finished=known.finished)
            first, began = asked, asked
        else:
            first, began = known.reached - _VERIFIED_OVERLAP, known.began
        token = ""
        if known.in_progress:
            first = known.asked_from
            token = known.token if known.expires is None or known.expires > utc_now() else ""
        harvest = replace(known, began=began, asked_from=first, in_progress=True, token="", expires=None)
        run.report.span = f"{first.date() if first else FIRST_DAY}..{utc_now():%Y-%m-%d}"
        progress.start(f"Records of {set_name or 'arXiv'}", 0, "records")
        try:
            harvest, failure = _fetch_records(run, oai, set_name, harvest, token, progress)
            for _ in range(_VERIFICATIONS):
                try:
                    listed = _verify(run, oai, set_name, harvest.asked_from, progress)
                except SourceError:
                    if failure is not None:  # the first fault says more than those that followed
                        raise failure from None
                    raise
                harvest = _advanced(harvest, listed.latest, Page())
        except SourceError as error:
            return run.fail(error)
        return run.end(harvest, category_of(set_name))


def repair_set(home: Home, oai: ArxivOai, set_name: str, since: date | None, progress: Progress) -> Report:
    """Compare the identifiers of a set, all or those since a day, with what came, and fetch the rest.

    Papers that came with the set and are no longer listed in it are fetched as well, since their categories have changed.
    Raises BusyError if the set is being harvested, and QueryError if `since` lies in the future.
    """
    check_since(since)
    source = f"oai:{set_name}"
    with harvest_lock(home, source):
        run = HarvestRun(home, "repair", source, oai.session, _RESUME, marks_withdrawn=True)
        first = datetime.combine(max(since, FIRST_DAY), time()) if since else run.before.began
        run.report.span = f"{first.date() if first else FIRST_DAY}..{utc_now():%Y-%m-%d}"
        progress.start(f"Identifiers of {set_name or 'arXiv'}", 0, "records")
        try:
            listed = _verify(run, oai, set_name, first, progress, keep=True)
            _fetch_departed(run, oai, category_of(set_name), first, listed)
        except SourceError as error:
            return run.fail(error)
        return run.end(None)


def _fetch_records(
    run: HarvestRun, oai: ArxivOai, set_name: str, harvest: Harvest, token: str, progress: Progress
) -> tuple[Harvest, PageError | None]:
    """Fetch the pages of ListRecords and publish piece by piece; returns how far the harvest then is.

    A page that the service cannot give ends the list, and is returned as a failure: what it holds is found by the
    identifiers. Raises SourceError if the list cannot be read to its end otherwise.
    """
    piece: list[Page] = []
    # Where to begin anew without a token: records come in the order of their change.
    position = harvest.asked_from.date() if harvest.asked_from else None
    if harvest.reached:
        position = max(position or FIRST_DAY, (harvest.reached - _OVERLAP).date())
    expired = 0
    try:
        while True:
            try:
                page = oai.more("ListRecords", token) if token else oai.records(set_name, position)
            except TokenExpiredError:
                expired += 1
                if expired > 2 or not token:
                    raise
                token = ""
                continue
            except PageError as failure:
                return replace(harvest, token="", expires=None), failure
            if token and page.token == token:
                raise SourceError("arXiv's OAI-PMH gives the same resumption token again and again.")
            reached = max((h.datestamp for h in page.headers), default=position)
            if reached != position:
                expired, position = 0, reached
            piece.append(page)
            progress.advance(len(page.headers))
            token = page.token
            harvest = _advanced(harvest, position, page)
            if len(piece) >= _PAGES_PER_PUBLICATION:
                _publish(run, piece, harvest)
                piece = []
            if not token:
                return harvest, None
    finally:
        # Whether the source fails or the user stops it: what came before stays.
        if piece:
            _publish(run, piece, harvest)


def _advanced(harvest: Harvest, position: date | None, page: Page) -> Harvest:
    reached = harvest.reached
    if position is not None:
        # A datestamp in the future must not make the next run begin there.
        moment = min(datetime.combine(position, time()), utc_now())
        reached = max(reached, moment) if reached else moment
    return replace(harvest, reached=reached, token=page.token, expires=page.expires)


def _publish(run: HarvestRun, pages: list[Page], harvest: Harvest | None) -> None:
    for page in pages:
        run.unreadable |= {name for name, _ in page.unreadable}
        run.unreadable -= {header.paper_id for header in page.headers}
        for skipped in page.skipped:
            if skipped not in run.report.skipped:  # a record requested twice
                run.report.skip(skipped.source, skipped.line, skipped.reason)
    run.publish(
        [paper for page in pages for paper in page.papers],
        harvest,
        stamps=[(h.paper_id, h.datestamp) for page in pages for h in page.headers],
        deleted=[(h.paper_id, h.datestamp) for page in pages for h in page.headers if h.deleted],
    )


@dataclass(slots=True)
class _Listing:
    """What ListIdentifiers says of a set."""

    identifiers: set[str] = field(default_factory=set)
    """All of them; empty unless they are asked for."""
    days: dict[date, int] = field(default_factory=dict)
    """Number of records by datestamp."""
    missing: dict[str, date] = field(default_factory=dict)
    """Ids that are listed with a later datestamp than came, and that datestamp."""
    latest: date | None = None


def _verify(
    run: HarvestRun, oai: ArxivOai, set_name: str, first: datetime | None, progress: Progress, keep: bool = False
) -> _Listing:
    """Fetch every record that ListIdentifiers has and that did not come, and those that are pending from earlier runs.

    `keep` keeps all identifiers, of which there may be millions.
    A record that the service does not give is reported and stays pending. Raises SourceError if there are many of them.
    """
    listing = _list_identifiers(run, oai, set_name, first, progress, keep)
    missing = listing.missing
    for name in [*(item.paper_id for item in run.pending), *run.unreadable]:
        missing.setdefault(name, FIRST_DAY)
    for name in run.lost:  # once a run is enough
        missing.pop(name, None)
    if not missing:
        return listing
    run.report.count("asked for again", len(missing))
    ranges = _ranges(listing)
    narrowed = False
    while ranges:
        days = ranges.pop(0)
        try:
            with oai.session.attempts(_NARROWING_ATTEMPTS) if narrowed else nullcontext():
                pages = _fetch_days(oai, set_name, days)
        except (PageError, TokenExpiredError):
            narrowed = True
            if len(days) > 1:
                ranges[:0] = [days[: len(days) // 2], days[len(days) // 2 :]]
            continue
        _publish(run, pages, None)
        _tick_off(missing, pages)
    with oai.session.attempts(_NARROWING_ATTEMPTS):
        _fetch_singly(run, oai, missing, progress)
    run.pending = [item for item in run.pending if item.paper_id in run.lost]
    return listing


def _ranges(listing: _Listing) -> list[list[date]]:
    """Consecutive listed days with missing records, some 2,000 records together."""
    wanted = set(listing.missing.values())
    ranges: list[list[date]] = []
    size = 0
    open_range = False
    for day in sorted(listing.days):
        if day not in wanted:
            open_range = False
            continue
        if not open_range or size + listing.days[day] > _RANGE:
            ranges.append([])
            size = 0
        ranges[-1].append(day)
        size += listing.days[day]
        open_range = True
    return ranges


def _fetch_days(oai: ArxivOai, set_name: str, days: list[date]) -> list[Page]:
    """All pages of ListRecords from the first of these days to the last. Raises SourceError."""
    pages = [oai.records(set_name, days[0], days[-1])]
    while pages[-1].token:
        pages.append(oai.more("ListRecords", pages[-1].token))
    return pages


def _tick_off(missing: dict[str, date], pages: list[Page]) -> None:
    """Remove the records that came, with the datestamp that is listed or a later one."""
    for page in pages:
        for header in page.headers:
            if missing.get(header.paper_id, date.max) <= header.datestamp:
                del missing[header.paper_id]


def _fetch_singly(run: HarvestRun, oai: ArxivOai, missing: dict[str, date], progress: Progress) -> None:
    """Fetch the missing records one by one, and report those that the service does not give.

    Raises SourceError if there are more than a few of them; what came before is published.
    """
    pages: list[Page] = []
    for name in list(missing):
        try:
            page = oai.record(name)
            reason = page.unreadable[0][1] if page.unreadable else f"arXiv lists {name}, and gives an older state of it"
            pages.append(page)
            _tick_off(missing, [page])
        except (PageError, NoRecordError) as error:
            reason = f"arXiv lists {name}, and does not give it: {error}".rstrip(".")
        if name in missing:
            run.lost.add(name)
            if len(run.lost) > _MAX_LOST:
                _publish(run, pages, None)
                raise SourceError(f"arXiv lists records, such as {name}, that it does not give: more than {_MAX_LOST}.")
            run.lose(Pending(name), reason)
        if len(pages) >= _SINGLE_RECORDS:
            _publish(run, pages, None)
            pages = []
        progress.advance(1)
    if pages:
        _publish(run, pages, None)


def _fetch_departed(run: HarvestRun, oai: ArxivOai, category: str, first: datetime | None, listing: _Listing) -> None:
    """Fetch the papers that came with a set and are no longer listed in it. Raises SourceError if they are too many."""
    if not category or not run.home.exists():
        return
    with open_ledger(run.home) as ledger:
        held = ledger.held(category, first.date() if first else FIRST_DAY)
    departed = [name for name in held if name not in listing.identifiers]
    if len(departed) > _MAX_DEPARTED:
        raise SourceError(f"arXiv's list of {category} lacks {len(departed):,} papers that came with it: it is cut short.")
    pages: list[Page] = []
    for name in departed:
        try:
            pages.append(oai.record(name))
        except NoRecordError:
            run.report.skip("arXiv", 0, f"arXiv has no record of {name} any more")
    run.report.count("no longer in the set", len(departed))
    if pages:
        _publish(run, pages, None)


def _list_identifiers(
    run: HarvestRun, oai: ArxivOai, set_name: str, first: datetime | None, progress: Progress, keep: bool
) -> _Listing:
    """Read ListIdentifiers to its end. Raises SourceError."""
    listing = _Listing()
    position = first.date() if first else None
    token = ""
    expired = 0
    while True:
        try:
            page = oai.more("ListIdentifiers", token) if token else oai.identifiers(set_name, position)
        except TokenExpiredError:
            expired += 1
            if expired > 2 or not token:
                raise
            token = ""
            continue
        reached = max((h.datestamp for h in page.headers), default=position)
        if reached != position:
            expired, position = 0, reached
        for header in page.headers:
            listing.days[header.datestamp] = listing.days.get(header.datestamp, 0) + 1
        if keep:
            listing.identifiers |= {header.paper_id for header in page.headers}
        stamps = [(header.paper_id, header.datestamp) for header in page.headers]
        if run.home.exists():
            with open_ledger(run.home) as ledger:
                stamps = ledger.not_received(stamps)
        listing.missing |= dict(stamps)
        progress.advance(len(page.headers))
        token = page.token
        if not token:
            listing.latest = max(listing.days, default=None)
            return listing
