"""Status of followed categories (a quiet one told from a broken one), of scheduled jobs, and of the last runs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum

from ingest.arxiv.announcements import announcements, quiet_reason
from ingest.arxiv.gaps import Gap, covers, find_gaps, followed
from ingest.jobs.configuration import Configuration
from ingest.jobs.schedule import JobHistory
from kb.papers import Skipped
from kb.store import Generation, Harvest, Home, Ledger, Run


class State(StrEnum):
    """State of a followed category."""

    NEVER = "not harvested yet"
    CURRENT = "up to date"
    QUIET = "quiet"
    BEHIND = "behind"
    STOPPED = "stopped in the middle"
    GAPS = "days are missing"


@dataclass(frozen=True, slots=True)
class Followed:
    """Followed category and its state."""

    category: str
    state: State
    why: str
    """Reason, in a sentence."""
    finished: datetime | None
    """End of the last complete run over it, UTC; `None` if there was none."""


@dataclass(frozen=True, slots=True)
class Planned:
    """Scheduled job and its last run."""

    run: str
    next_time: datetime
    outcome: str
    started: str
    """Start of its last run, ISO 8601; empty if there was none."""


@dataclass(frozen=True, slots=True)
class Overview:
    """Followed categories, scheduled jobs and last runs."""

    followed: tuple[Followed, ...]
    planned: tuple[Planned, ...]
    runs: tuple[tuple[Run, tuple[Skipped, ...]], ...]
    """The last 30, newest first, each with the first 50 records that it skipped."""


def overview(home: Home, now: datetime | None = None) -> Overview:
    """Status at a moment (with zone), by default now. Raises StoreError if the configuration file is wrong."""
    now = now or datetime.now(UTC)
    configuration = Configuration.of(home)
    planned = tuple(_planned(home, configuration, now))
    if not home.exists():
        never = (Followed(category, State.NEVER, "Nothing was asked for yet.", None) for category in configuration.categories)
        return Overview(tuple(never), planned, ())
    generation = home.open()
    try:
        ledger = Ledger(generation.catalogue)
        categories = sorted({*configuration.categories, *followed(ledger)})
        standing = tuple(_standing(ledger, category, now.astimezone(UTC).replace(tzinfo=None)) for category in categories)
        return Overview(standing, planned, _runs(generation, ledger))
    finally:
        generation.close()


def _runs(generation: Generation, ledger: Ledger) -> tuple[tuple[Run, tuple[Skipped, ...]], ...]:
    runs = generation.catalogue.runs(30)
    return tuple((run, tuple(ledger.skipped(run.number)) if run.counts.get("skipped") else ()) for run in runs)


def _planned(home: Home, configuration: Configuration, now: datetime) -> list[Planned]:
    if not configuration.jobs:
        return []
    history = JobHistory(home)
    found = []
    for job in configuration.jobs:
        record = history.record(job)
        due = max(now, history.next_run(job, now))
        found.append(Planned(job.run, due.astimezone(), "running" if history.running(job) else record.shown, record.started))
    return found


def _standing(ledger: Ledger, category: str, now: datetime) -> Followed:
    harvests = [h for h in ledger.harvests() if covers(h.source, category)]
    finished = max((h.finished for h in harvests if h.finished), default=None)
    state, why = _state(ledger, category, harvests, finished, now)
    return Followed(category, state, why, finished)


def _state(ledger: Ledger, category: str, harvests: list[Harvest], finished: datetime | None, now: datetime) -> tuple[State, str]:
    if any(harvest.in_progress for harvest in harvests):
        return State.STOPPED, "The last run did not come to its end; the next one goes on where it was."
    if finished is None:
        return State.NEVER, "Nothing was asked for yet."
    if finished - now > timedelta(hours=1):
        return State.BEHIND, "By its clock the last run lies ahead: the clock was wrong. The next run puts it right."
    missed = announcements(finished, now)
    if gaps := find_gaps(ledger, category, now.date()):
        return State.GAPS, _missing(gaps)
    if missed:
        times = "once" if len(missed) == 1 else f"{len(missed)} times"
        return State.BEHIND, f"arXiv has announced papers {times} since the last run."
    if now - finished < timedelta(days=1):
        return State.CURRENT, "Everything that arXiv has announced is here."
    return State.QUIET, f"Nothing new is to be expected: {quiet_reason(finished, now)}."


def _missing(gaps: list[Gap]) -> str:
    first, last, usual = gaps[0].first, gaps[-1].last, max(gap.usual for gap in gaps)
    return f"Working days without papers between {_day(first)} and {_day(last)}, where about {usual:.0f} a day are usual."


def _day(day: date) -> str:
    return f"{day:%-d %B %Y}"
