"""A run against the far side: what it brings is published piece by piece, each piece with how far the run has come.

A run that is killed leaves what the last piece published, and the next run goes on from there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

from ingest.arxiv.announcements import announcements, why_quiet
from ingest.arxiv.http import FarSide
from ingest.code.extract import merge_and_link
from ingest.report import Report
from kb.errors import SourceError
from kb.index.build import build_indexes
from kb.locks import holding
from kb.papers import Paper
from kb.store import Harvest, Home, Intake, Ledger, Run

_WAIT = 600  # seconds for another job's publishing, which takes seconds
_COMPARED = timedelta(days=56)  # the time whose announcements say how many papers one brings
_SURELY = 5  # papers an announcement brings on average, above which one without any is no chance: under 1 in 100


def now() -> datetime:
    """The time, UTC, without zone."""
    return datetime.now(UTC).replace(tzinfo=None)


class HarvestRun:
    """One run over one source, and its record.

    Raises BusyError where another process harvests the same source for the same knowledge base.
    """

    def __init__(self, home: Home, job: str, source: str, far_side: FarSide, resume: str, marks_withdrawn: bool) -> None:
        self.report = Report(source)
        self.before = read_harvest(home, source)
        """How far the harvest had come when the run began."""
        self.started = now()
        self.home = home
        self._job = job
        self._far_side = far_side
        self._resume = resume
        self._marks_withdrawn = marks_withdrawn
        self._number = 0
        self._came = 0
        self._fresh = 0  # records that this source did not bring before, whether or not another did

    def publish(
        self,
        papers: Sequence[Paper],
        harvest: Harvest | None = None,
        stamps: Sequence[tuple[str, date]] = (),
        deleted: Sequence[tuple[str, date]] = (),
        quiet: Sequence[tuple[str, date]] = (),
        outcome: str = "partial",
    ) -> None:
        """Publishes a piece: papers, how far the harvest has come, and the record of the run so far."""
        report = self.report
        report.requests, report.retries = self._far_side.traffic.requests, self._far_side.traffic.retries
        with self.home.draft(wait=_WAIT) as draft:
            ledger = Ledger(draft.catalogue)
            if papers:
                intake = Intake(draft.catalogue)
                intake.begin()
                intake.stage(papers, self._marks_withdrawn)
                changes, links = merge_and_link(draft.catalogue)
                for name in ("new", "changed", "unchanged"):
                    report.count(name, getattr(changes, name))
                self._came += len(papers)
                self._fresh += changes.new + changes.changed + self._since_last_run(papers, stamps)
                report.count("code links", links)
                draft.catalogue.notes.settle()
            for identifier, day in deleted:
                withdrawn = ledger.withdraw([identifier], day, "The record was deleted by its source.")
                report.count("deleted", withdrawn)
                self._fresh += withdrawn
            self._fresh += len(ledger.outdated(stamps))
            ledger.stamp(stamps)
            for category, day in quiet:
                ledger.confirm_quiet(category, [day])
            if harvest is not None:
                ledger.keep(harvest)
            message = report.failure or report.message
            if outcome == "partial" and not message:
                message = f"The run did not come to its end. {self._resume}"
            run = Run(
                self._job, report.source, self.started, now(), outcome, report.counts, message, self._number, report.span,
                report.requests, report.retries,
            )  # fmt: skip
            number = draft.catalogue.record_run(run, report.skipped)
            build_indexes(draft)
            draft.publish()
        # Only now: a piece that was not published has left no record to be replaced.
        self._number = number

    def end(self, harvest: Harvest | None, category: str = "") -> Report:
        """Records the end of a run that got all it asked for, and tells a quiet day from a silent far side.

        `category` is what the calendar speaks for; without one, nothing is expected.
        """
        silence = self._silence(category, harvest.began) if harvest is not None and category and not self._fresh else ""
        if silence:
            self.report.failure = silence
            self.publish((), outcome="failed")
            return self.report
        if harvest is not None:
            harvest = replace(harvest, finished=self.started, in_progress=False, token="", expires=None, asked_from=None)
        if not self._fresh and self.before.finished and not self.report.message:
            self.report.message = f"Nothing is new: {self._quiet_because()}."
        self.publish((), harvest, outcome="done" if self.report.complete else "partial")
        return self.report

    def fail(self, error: SourceError) -> Report:
        """Records that the far side could not be read to the end; what was published stays."""
        self.report.failure = f"{error} {self._resume}"
        self.publish((), outcome="partial" if self._number else "failed")
        return self.report

    def _since_last_run(self, papers: Sequence[Paper], stamps: Sequence[tuple[str, date]]) -> int:
        """Records from after what this source had reached, though another source may have brought them here first."""
        last = self.before
        changed = sum(1 for _, day in stamps if last.reached and day > last.reached.date())
        if stamps:
            return changed
        return sum(1 for paper in papers if last.finished and paper.published and paper.published >= last.finished.date())

    def _quiet_because(self) -> str:
        assert self.before.finished is not None
        if announcements(self.before.finished, self.started):
            return "announcements were made, but this source has few papers"
        return why_quiet(self.before.finished, self.started)

    def _silence(self, category: str, began: datetime | None) -> str:
        """Why it is an error that nothing came; empty where nothing had to."""
        before = self.before
        if before.finished is None:
            if before.reached is None and not self._came and (began is None or announcements(began, self.started)):
                return f"Nothing came for {category}, which was never harvested before. Check that arXiv has such a category."
            return ""
        expected = announcements(before.finished, self.started)
        if not expected:
            return ""
        usual = papers_an_announcement(self.home, category, before.finished)
        if usual < _SURELY:
            return ""
        return (
            f"Nothing new came for {category} since {before.finished:%Y-%m-%d %H:%M} UTC, though arXiv should have announced "
            f"papers {len(expected)} times since, with about {usual:.0f} each time. "
            f"arXiv is late or its feed is stale. {self._resume}"
        )


def read_harvest(home: Home, source: str) -> Harvest:
    """How far the harvest of a source has come, in the generation that is served."""
    if not home.exists():
        return Harvest(source)
    with open_ledger(home) as ledger:
        return ledger.harvest(source)


@contextmanager
def open_ledger(home: Home) -> Iterator[Ledger]:
    """The ledger of the generation that is served, for reading."""
    generation = home.open()
    try:
        yield Ledger(generation.catalogue)
    finally:
        generation.close()


def papers_an_announcement(home: Home, category: str, until: datetime) -> float:
    """How many papers of a category an announcement has brought of late, on average."""
    if not home.exists():
        return 0.0
    with open_ledger(home) as ledger:
        days = ledger.papers_by_day(category, (until - _COMPARED).date(), until.date())
    return sum(days.values()) / max(1, len(announcements(until - _COMPARED, until)))


@contextmanager
def alone(home: Home, source: str) -> Iterator[None]:
    """Keeps every other process of this knowledge base from harvesting the same source."""
    name = "".join(c if c.isalnum() else "_" for c in source)[:100]
    busy = f"Another job is harvesting {source}. Wait for it; this one changed nothing."
    with holding(home.path / "harvests" / f"{name}.lock", busy):
        yield
