"""Harvest run: publishes papers piece by piece, each piece together with how far the harvest has come.

A killed run leaves what its last piece published; the next run goes on from there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

from ingest.arxiv.announcements import announcements, quiet_reason
from ingest.arxiv.gaps import covers
from ingest.arxiv.http import ArxivSession
from ingest.code.extract import merge_and_link
from ingest.report import Report
from kb.errors import QueryError, SourceError
from kb.index.build import build_indexes
from kb.locks import holding
from kb.papers import Paper
from kb.store import Harvest, Home, Ledger, Pending, Run, StagedPapers

_DRAFT_WAIT = 600  # seconds for another job's publishing, which takes seconds
_REFERENCE_PERIOD = timedelta(days=56)  # period over which papers per announcement are averaged
_RUNS = 100  # the last ones, among which are those of the days since an announcement
_MIN_USUAL = 5  # papers an announcement brings on average, above which one without any is no chance: under 1 in 100


def utc_now() -> datetime:
    """Current time, UTC without zone."""
    return datetime.now(UTC).replace(tzinfo=None)


class HarvestRun:
    """One run over one source, and its record in the catalogue.

    `resume` is the sentence that says how to go on after a failure; `marks_withdrawn` is False for a source without a flag
    for withdrawn papers.
    """

    def __init__(self, home: Home, job: str, source: str, session: ArxivSession, resume: str, marks_withdrawn: bool) -> None:
        self.report = Report(source)
        self.before, self.pending = _read_progress(home, source)
        """Progress of the harvest when the run began; and the records to be asked for again, as the run leaves them."""
        self.lost: set[str] = set()
        """Ids of records that the source did not give in this run."""
        self.unreadable: set[str] = set()
        """Ids of records that came only in a form that cannot be read, so far."""
        self.started = utc_now()
        self.home = home
        self._job = job
        self._session = session
        self._resume = resume
        self._marks_withdrawn = marks_withdrawn
        self._number = 0
        self._reported: list[Pending] = []
        self._received = 0
        self._news = 0  # records that are new from this source, even if another brought them first

    def publish(
        self,
        papers: Sequence[Paper],
        harvest: Harvest | None = None,
        stamps: Sequence[tuple[str, date]] = (),
        deleted: Sequence[tuple[str, date]] = (),
        quiet: Sequence[tuple[str, date]] = (),
        outcome: str = "partial",
    ) -> None:
        """Publish papers, the progress of the harvest and the record of the run in one generation.

        `stamps`: (paper id, OAI datestamp) of every record that came. `deleted`: those that the source deleted. `quiet`:
        (category, day) of days that are empty at arXiv. Raises BusyError if another job keeps the draft for ten minutes.
        """
        report = self.report
        report.requests, report.retries = self._session.counts.requests, self._session.counts.retries
        with self.home.draft(wait=_DRAFT_WAIT) as draft:
            ledger = Ledger(draft.catalogue)
            if papers:
                staged = StagedPapers(draft.catalogue)
                staged.begin()
                staged.stage(papers, self._marks_withdrawn)
                changes, links = merge_and_link(draft.catalogue)
                for name in ("new", "changed", "unchanged"):
                    report.count(name, getattr(changes, name))
                self._received += len(papers)
                self._news += changes.new + changes.changed + self._since_last_run(papers, stamps)
                report.count("code links", links)
                draft.catalogue.notes.settle()
            for identifier, day in deleted:
                withdrawn = ledger.withdraw([identifier], day, "The record was deleted by its source.")
                report.count("deleted", withdrawn)
                self._news += withdrawn
            self._news += len(ledger.not_received(stamps))
            ledger.record_datestamps(stamps)
            ledger.keep_pending(report.source, self.pending)
            for category, day in quiet:
                ledger.confirm_quiet(category, [day])
            if harvest is not None:
                ledger.save_harvest(harvest)
            message = report.failure or report.message
            if outcome == "partial" and not message:
                message = f"The run did not come to its end. {self._resume}"
            run = Run(
                self._job, report.source, self.started, utc_now(), outcome, report.counts, message, self._number, report.span,
                report.requests, report.retries,
            )  # fmt: skip
            number = draft.catalogue.record_run(run, report.skipped)
            build_indexes(draft)
            draft.publish()
        # Only now: a piece that was not published has left no record to be replaced.
        self._number = number

    def lose(self, item: Pending, reason: str) -> None:
        """Report a record that the source has and does not give readably; the next run asks for it again."""
        if item in self._reported:
            return
        self._reported.append(item)
        self.report.skip("arXiv", 0, f"{reason}; the next run asks for it again")
        if item not in self.pending:
            self.pending.append(item)

    def end(self, harvest: Harvest | None, category: str = "") -> Report:
        """Record a run that got all it requested; it still fails if announcements were due and nothing came.

        `category` is the one whose papers the calendar expects; without one, nothing is expected.
        """
        silence = (
            self._missed_announcements(category, harvest.began) if harvest is not None and category and not self._news else ""
        )
        if silence:
            self.report.failure = silence
            self.publish((), outcome="failed")
            return self.report
        if harvest is not None:
            harvest = replace(harvest, finished=self.started, in_progress=False, token="", expires=None, asked_from=None)
        if not self._news and self.before.finished and not self.report.message:
            self.report.message = f"Nothing is new: {self._quiet_because()}."
        self.publish((), harvest, outcome="done" if self.report.complete else "partial")
        return self.report

    def fail(self, error: SourceError) -> Report:
        """Record a run that could not read its source to the end; what was published stays."""
        self.report.failure = f"{error} {self._resume}"
        self.publish((), outcome="partial" if self._number else "failed")
        return self.report

    def _since_last_run(self, papers: Sequence[Paper], stamps: Sequence[tuple[str, date]]) -> int:
        """Number of records from after the last run of this source, though another source may have brought them first."""
        last = self.before
        changed = sum(1 for _, day in stamps if last.reached and day > last.reached.date())
        if stamps:
            return changed
        return sum(1 for paper in papers if last.finished and paper.published and paper.published >= last.finished.date())

    def _quiet_because(self) -> str:
        assert self.before.finished is not None
        if announcements(self.before.finished, self.started):
            return "announcements were made, but this source has few papers"
        return quiet_reason(self.before.finished, self.started)

    def _missed_announcements(self, category: str, began: datetime | None) -> str:
        """Error message if papers were due and none came; empty otherwise."""
        before = self.before
        if before.finished is None:
            if before.reached is None and not self._received and (began is None or announcements(began, self.started)):
                return f"Nothing came for {category}, which was never harvested before. Check that arXiv has such a category."
            return ""
        generation = self.home.open()
        try:
            runs = generation.catalogue.runs(_RUNS)
        finally:
            generation.close()
        # What another harvest of the category has brought since shows that arXiv is not late; that it merely ended does not.
        brought = [r.finished for r in runs if covers(r.source, category) and (r.counts.get("new") or r.counts.get("changed"))]
        expected = announcements(max([before.finished, *brought]), self.started)
        if not expected:
            return ""
        usual = papers_an_announcement(self.home, category, before.finished)
        if usual < _MIN_USUAL:
            return ""
        return (
            f"Nothing new came for {category} since {before.finished:%Y-%m-%d %H:%M} UTC, though arXiv should have announced "
            f"papers {len(expected)} times since, with about {usual:.0f} each time. "
            f"arXiv is late or its feed is stale. {self._resume}"
        )


def _read_progress(home: Home, source: str) -> tuple[Harvest, list[Pending]]:
    """Progress of the harvest of a source and its pending records, as published."""
    if not home.exists():
        return Harvest(source), []
    with open_ledger(home) as ledger:
        return ledger.harvest(source), ledger.pending(source)


def check_since(since: date | None) -> None:
    """Raise QueryError if the day lies in the future."""
    if since is not None and since > utc_now().date():
        raise QueryError(f"--since {since} lies in the future.")


@contextmanager
def open_ledger(home: Home) -> Iterator[Ledger]:
    """Ledger of the current generation, for reading."""
    generation = home.open()
    try:
        yield Ledger(generation.catalogue)
    finally:
        generation.close()


def papers_an_announcement(home: Home, category: str, until: datetime) -> float:
    """Mean number of papers of a category per announcement, over the 56 days before `until`."""
    if not home.exists():
        return 0.0
    with open_ledger(home) as ledger:
        days = ledger.papers_by_day(category, (until - _REFERENCE_PERIOD).date(), until.date())
    return sum(days.values()) / max(1, len(announcements(until - _REFERENCE_PERIOD, until)))


@contextmanager
def harvest_lock(home: Home, source: str) -> Iterator[None]:
    """Lock against a second harvest of the same source into the same knowledge base. Raises BusyError if it is held."""
    name = "".join(c if c.isalnum() else "_" for c in source)[:100]
    busy = f"Another job is harvesting {source}. Wait for it; this one changed nothing."
    with holding(home.path / "harvests" / f"{name}.lock", busy):
        yield
