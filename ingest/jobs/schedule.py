"""Scheduler of the jobs in the configuration file; each runs as a process of its own.

A record of each job's last run lies in `schedule/` in the knowledge base's folder. So a restart forgets nothing: a job
whose time came while no scheduler was running is run once when one is. A job that failed or was killed is run again after
5, 10, 20, … minutes until its next time, so that a short outage costs no day.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

from ingest.jobs.configuration import Configuration, Job
from kb.errors import StoreError
from kb.files import make_private, replace_file
from kb.jobs.background import program
from kb.locks import holding, is_held
from kb.store import Home

_POLL_SECONDS = 20  # seconds between two checks; short, since a laptop may have slept
_FIRST_PAUSE = timedelta(minutes=5)  # before a failed job is tried again; doubled each time
_WRONG_USE = 2  # exit code of a command that fails the same way each time
_MAX_CLOCK_SKEW = timedelta(hours=1)  # a start further ahead was recorded by a clock that was wrong


@dataclass(frozen=True, slots=True)
class JobRecord:
    """Record of a job's last run. Times are ISO 8601 with zone, empty if there is none yet."""

    seen: str
    """When the job was first found in the configuration; no time before that counts as missed."""
    started: str = ""
    finished: str = ""
    """End of the last run; empty while it runs, and if it was killed."""
    exit_code: int = 0
    failures: int = 0
    """Starts since the last regular time without a success, the present one included."""

    @property
    def unfinished(self) -> bool:
        """True while a run has not ended, and if it was killed."""
        return bool(self.started) and not self.finished

    @property
    def shown(self) -> str:
        """Last outcome in words."""
        if not self.started:
            return "not run yet"
        if self.unfinished:
            return f"running, or killed, since {self.started[:16]}"
        return "done" if self.exit_code == 0 else f"failed with exit code {self.exit_code}"


class JobHistory:
    """Records of the jobs' runs, and a lock for each job."""

    def __init__(self, home: Home) -> None:
        self._folder = home.path / "schedule"
        make_private(self._folder)

    def record(self, job: Job) -> JobRecord:
        """Record of a job; a new job is recorded as seen now. Raises StoreError if the file is damaged."""
        path = self._path(job)
        try:
            return JobRecord(**json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            record = JobRecord(seen=_now())
            self._write(job, record)
            return record
        except (ValueError, TypeError) as error:
            raise StoreError(f"{path} is damaged ({error}). Delete it: the job is then taken for a new one.") from error

    def next_run(self, job: Job, moment: datetime) -> datetime:
        """When the job is to run next; `moment` or earlier if it is due.

        That is its first time after the last start, or after it was first seen, and earlier after a failure. If the last
        start lies ahead of `moment`, the clock was set back after it: the job is due.
        """
        known = self.record(job)
        last = datetime.fromisoformat(known.started or known.seen)
        if last - moment > _MAX_CLOCK_SKEW:
            return moment
        regular = job.next_time(last)
        if not (known.failures or known.unfinished) or known.exit_code == _WRONG_USE:
            return regular
        pause: timedelta = _FIRST_PAUSE * 2 ** (min(max(known.failures, 1), 16) - 1)
        return min(regular, datetime.fromisoformat(known.finished or known.started) + pause)

    def due(self, job: Job, moment: datetime) -> bool:
        """True if the job is to run now."""
        return self.next_run(job, moment) <= moment

    def run(self, job: Job, command: Callable[[Sequence[str]], int]) -> int:
        """Run a job through `command` and record its exit code. Raises BusyError if any process is running it."""
        with holding(self._path(job).with_suffix(".lock"), f"`kb {job.run}` is running already."):
            record = self._started(job)
            self._write(job, record)
            code = command(job.arguments)
            self._write(job, replace(record, finished=_now(), exit_code=code, failures=record.failures if code else 0))
            return code

    def record_crash(self, job: Job, code: int) -> None:
        """Record the end of a run that was killed before it could."""
        known = self.record(job)
        # Where it got to note its start, that has counted as a failure until it ends.
        record = known if known.unfinished else self._started(job)
        self._write(job, replace(record, finished=_now(), exit_code=code, failures=record.failures if code else 0))

    def _started(self, job: Job) -> JobRecord:
        """Record of a job that starts now; it counts as failed until it ends otherwise."""
        known, now = self.record(job), datetime.fromisoformat(_now())
        regular = not known.started or job.next_time(datetime.fromisoformat(known.started)) <= now
        failures = 1 if regular else known.failures + 1
        return replace(known, started=now.isoformat(timespec="microseconds"), finished="", exit_code=0, failures=failures)

    def running(self, job: Job) -> bool:
        """True if any process is running the job."""
        return is_held(self._path(job).with_suffix(".lock"))

    def _path(self, job: Job) -> Path:
        digest = sha256(job.run.encode()).hexdigest()[:16]
        return self._folder / f"{digest}.json"

    def _write(self, job: Job, record: JobRecord) -> None:
        replace_file(self._path(job), json.dumps(asdict(record), indent=1) + "\n")


def run_due(home: Home) -> list[tuple[Job, int]]:
    """Run the jobs that are due, one after another; returns them with their exit codes.

    A job that another process is running is skipped. Raises StoreError if the configuration is wrong.
    """
    history = JobHistory(home)
    done: list[tuple[Job, int]] = []
    for job in Configuration.of(home).jobs:
        if history.running(job) or not history.due(job, datetime.now(UTC)):
            continue
        code = subprocess.run(program(home, "schedule", "run", "--job", job.run), check=False).returncode
        if not history.running(job) and history.due(job, datetime.now(UTC)):
            history.record_crash(job, code)  # killed, or broken before it began: not to be started again at once
        done.append((job, code))
    return done


def run_scheduler(home: Home, on_end: Callable[[Job, int], None]) -> None:
    """Run the jobs at their times until stopped; the configuration is read anew every 20 seconds.

    `on_end` gets each job that ended and its exit code. Raises BusyError if another scheduler serves this knowledge base,
    StoreError if the configuration is wrong.
    """
    Configuration.of(home)  # a wrong file is reported at once
    with holding(home.path / "schedule.lock", f"A scheduler is running for {home.path} already."):
        while True:
            for job, code in run_due(home):
                on_end(job, code)
            time.sleep(_POLL_SECONDS)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
