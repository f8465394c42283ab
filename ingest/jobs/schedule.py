"""The schedule: runs the jobs of the configuration file when their time has come, each as a process of its own.

What is known of each job's runs lies in `schedule/` in the knowledge base's folder, so that a restart forgets nothing: a
job whose time came while nothing was running, or that was killed, is run once as soon as something is.
"""

from __future__ import annotations

import json
import logging
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

from apscheduler.schedulers.blocking import BlockingScheduler

from ingest.jobs.configuration import Configuration, Job
from kb.errors import StoreError
from kb.files import replace_file
from kb.jobs.background import program
from kb.locks import holding, is_held
from kb.store import Home

_TICK = 20  # seconds between two looks at the clock: a laptop that slept is soon noticed
_SKEW = timedelta(hours=1)  # a start that lies further ahead was noted by a clock that was wrong


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is known of a job's runs. Times are ISO 8601 with zone, empty where there is none yet."""

    seen: str
    """When the job was first found in the configuration: before that, it missed nothing."""
    started: str = ""
    finished: str = ""
    """Of the last run; empty until it has come to its end, and where it was killed."""
    exit_code: int = 0

    @property
    def unfinished(self) -> bool:
        """Whether the last run did not come to its end, or not yet."""
        return bool(self.started) and not self.finished

    @property
    def shown(self) -> str:
        """The last outcome in words."""
        if not self.started:
            return "not run yet"
        if self.unfinished:
            return f"running, or killed, since {self.started[:16]}"
        return "done" if self.exit_code == 0 else f"failed with exit code {self.exit_code}"


class Diary:
    """Keeps what is known of the jobs' runs, and keeps a job from running twice at once."""

    def __init__(self, home: Home) -> None:
        self._folder = home.path / "schedule"
        self._folder.mkdir(parents=True, exist_ok=True)

    def outcome(self, job: Job) -> Outcome:
        """What is known of a job; a job never seen before is noted as seen now."""
        path = self._path(job)
        try:
            return Outcome(**json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            outcome = Outcome(seen=_now())
            self._write(job, outcome)
            return outcome
        except (ValueError, TypeError) as error:
            raise StoreError(f"{path} is damaged ({error}). Delete it: the job is then taken for a new one.") from error

    def due(self, job: Job, moment: datetime) -> bool:
        """Whether a time of the job has come since its last start, or since it was first seen; or it was killed.

        A start that lies ahead of the moment tells nothing, since the clock was set back after it: the job is then due.
        """
        known = self.outcome(job)
        last = datetime.fromisoformat(known.started or known.seen)
        return known.unfinished or last - moment > _SKEW or job.next_time(last) <= moment

    def run(self, job: Job, command: Callable[[Sequence[str]], int]) -> int:
        """Runs a job and notes its outcome. Raises BusyError where it is running already, in any process."""
        with holding(self._path(job).with_suffix(".lock"), f"`kb {job.run}` is running already."):
            outcome = replace(self.outcome(job), started=_now(), finished="")
            self._write(job, outcome)
            code = command(job.arguments)
            self._write(job, replace(outcome, finished=_now(), exit_code=code))
            return code

    def note_loss(self, job: Job, code: int) -> None:
        """Notes the end of a run that could not note it itself."""
        self._write(job, replace(self.outcome(job), started=_now(), finished=_now(), exit_code=code))

    def running(self, job: Job) -> bool:
        """Whether any process is running the job now."""
        return is_held(self._path(job).with_suffix(".lock"))

    def _path(self, job: Job) -> Path:
        digest = sha256(job.run.encode()).hexdigest()[:16]
        return self._folder / f"{digest}.json"

    def _write(self, job: Job, outcome: Outcome) -> None:
        replace_file(self._path(job), json.dumps(asdict(outcome), indent=1) + "\n")


def run_due(home: Home) -> list[tuple[Job, int]]:
    """Runs, one after another, the jobs whose time has come; returns them with their exit codes.

    A job that another process is running is left to it.
    """
    diary = Diary(home)
    done: list[tuple[Job, int]] = []
    for job in Configuration.of(home).jobs:
        if diary.running(job) or not diary.due(job, datetime.now(UTC)):
            continue
        code = subprocess.run(program(home, "schedule", "run", "--job", job.run), check=False).returncode
        if not diary.running(job) and diary.due(job, datetime.now(UTC)):
            diary.note_loss(job, code)  # killed, or broken before it began: not to be started again at once
        done.append((job, code))
    return done


def serve(home: Home, told: Callable[[Job, int], None]) -> None:
    """Runs the jobs at their times until it is stopped; the configuration is read anew each time.

    `told` gets each job that ended and its exit code. Raises BusyError where another scheduler serves this knowledge base.
    """
    Configuration.of(home)  # a bad file is told at once

    def tick() -> None:
        for job, code in run_due(home):
            told(job, code)

    logging.getLogger("apscheduler").setLevel(logging.ERROR)  # that a tick fell out while a job was running is no news
    scheduler = BlockingScheduler()
    scheduler.add_job(tick, "interval", seconds=_TICK, next_run_time=datetime.now(UTC), max_instances=1, coalesce=True)
    with holding(home.path / "schedule.lock", f"A scheduler is running for {home.path} already."):
        scheduler.start()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
