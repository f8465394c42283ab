"""Harvest arXiv's OAI-PMH into the catalogue: records changed since the last run, verified against the identifiers.

ListRecords is followed by ListIdentifiers, thousands to a page. A record that is listed and did not come, or came only with
an older datestamp, is requested by its day: so a record that a page left out is noticed.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, time, timedelta

from ingest.arxiv.harvest_run import HarvestRun, harvest_lock, open_ledger, utc_now
from ingest.arxiv.oai import FIRST_DAY, ArxivOai, Page, TokenExpiredError, category_of
from ingest.report import Report
from kb.errors import SourceError
from kb.progress import Progress
from kb.store import Harvest, Home

# Pages, of up to 3,500 records each, between two publications: a minute or two of requests.
_PAGES_PER_PUBLICATION = 20
_OVERLAP = timedelta(days=1)
# Two verifications after the records: no two faults, however they fall, hide a record from all three lists.
_VERIFICATIONS = 2
_RESUME = "Run the same command again: it goes on from what is published."


def harvest_set(home: Home, oai: ArxivOai, set_name: str, since: date | None, progress: Progress) -> Report:
    """Fetch the records of a set (empty: all of arXiv) changed since the last run; the first time since `since`, or all.

    A source that cannot be read to the end is reported in `Report.failure`; what came before is published.
    Raises BusyError if the set is being harvested.
    """
    source = f"oai:{set_name}"
    with harvest_lock(home, source):
        run = HarvestRun(home, "oai", source, oai.session, _RESUME, marks_withdrawn=True)
        known = run.before
        asked = datetime.combine(since, time()) if since else None
        older = known.began is not None and asked is not None and asked < known.began
        if known.reached is None or older:
            known = Harvest(source, finished=known.finished)
            first, began = asked, asked
        else:
            first, began = known.reached - _OVERLAP, known.began
        token = ""
        if known.in_progress:
            first = known.asked_from
            token = known.token if known.expires is None or known.expires > utc_now() else ""
        harvest = replace(known, began=began, asked_from=first, in_progress=True, token="", expires=None)
        run.report.span = f"{first.date() if first else FIRST_DAY}..{utc_now():%Y-%m-%d}"
        progress.start(f"Records of {set_name or 'arXiv'}", 0, "records")
        try:
            harvest = _fetch_records(run, oai, set_name, harvest, token, progress)
            for _ in range(_VERIFICATIONS):
                _verify(run, oai, set_name, harvest.asked_from, progress)
        except SourceError as error:
            return run.fail(error)
        return run.end(harvest, category_of(set_name))


def repair_set(home: Home, oai: ArxivOai, set_name: str, since: date | None, progress: Progress) -> Report:
    """Compare the identifiers of a set, all or those since a day, with what came, and fetch the rest.

    Raises BusyError if the set is being harvested.
    """
    source = f"oai:{set_name}"
    with harvest_lock(home, source):
        run = HarvestRun(home, "repair", source, oai.session, _RESUME, marks_withdrawn=True)
        first = datetime.combine(since, time()) if since else run.before.began
        run.report.span = f"{first.date() if first else FIRST_DAY}..{utc_now():%Y-%m-%d}"
        progress.start(f"Identifiers of {set_name or 'arXiv'}", 0, "records")
        try:
            _verify(run, oai, set_name, first, progress)
        except SourceError as error:
            return run.fail(error)
        return run.end(None)


def _fetch_records(run: HarvestRun, oai: ArxivOai, set_name: str, harvest: Harvest, token: str, progress: Progress) -> Harvest:
    """Fetch every page of ListRecords and publish piece by piece; returns how far the harvest then is.

    Raises SourceError if the list cannot be read to its end.
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
                return harvest
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
        for skipped in page.skipped:
            if skipped not in run.report.skipped:  # a record asked for twice
                run.report.skip(skipped.source, skipped.line, skipped.reason)
    run.publish(
        [paper for page in pages for paper in page.papers],
        harvest,
        stamps=[(h.paper_id, h.datestamp) for page in pages for h in page.headers],
        deleted=[(h.paper_id, h.datestamp) for page in pages for h in page.headers if h.deleted],
    )


def _verify(run: HarvestRun, oai: ArxivOai, set_name: str, first: datetime | None, progress: Progress) -> None:
    """Fetch every record that ListIdentifiers has and that did not come.

    Raises SourceError if some do not come even then.
    """
    missing = _unreceived(run, oai, set_name, first, progress)
    if not missing:
        return
    run.report.count("asked for again", len(missing))
    for day in sorted(set(missing.values())):
        page = oai.records(set_name, day, day)
        pages = [page]
        while page.token:
            page = oai.more("ListRecords", page.token)
            pages.append(page)
        for page in pages:
            for header in page.headers:
                if missing.get(header.paper_id, date.max) <= header.datestamp:
                    del missing[header.paper_id]
        _publish(run, pages, None)
    # What cannot be read was reported; what did not come, or was changed once more since, is left.
    unread = " ".join(skipped.reason for skipped in run.report.skipped)
    left = [name for name in missing if name.removeprefix("arxiv:") not in unread]
    if left:
        raise SourceError(f"arXiv lists {len(left):,} records, such as {left[0]}, that it does not give.")


def _unreceived(run: HarvestRun, oai: ArxivOai, set_name: str, first: datetime | None, progress: Progress) -> dict[str, date]:
    """Ids that are listed with a later datestamp than came, and that datestamp. Raises SourceError."""
    missing: dict[str, date] = {}
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
        with open_ledger(run.home) as ledger:
            missing |= dict(ledger.not_received((h.paper_id, h.datestamp) for h in page.headers))
        progress.advance(len(page.headers))
        token = page.token
        if not token:
            return missing
