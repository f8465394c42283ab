"""Background jobs: `kb` commands in processes of their own, which outlive the one that started them.

    HOME/job/state.json      commands, times, exit code
    HOME/job/progress.json   progress of the current task, written by the command itself
    HOME/job/log             output of the commands
    HOME/job.lock            held while it runs

One job runs at a time. A killed one leaves a draft, which the next job removes.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from kb.errors import BusyError, StoreError
from kb.files import make_private, replace_file
from kb.locks import holding, is_held
from kb.progress import PROGRESS_VARIABLE, ProgressState
from kb.store import Home

_START_TIMEOUT = 30.0  # seconds within which a started process must tell of itself
_STOP_TIMEOUT = 10.0  # seconds that a stopped job has to put its draft away
_NICENESS = 5  # a third of the weight of what people wait for
_LOG_TAIL = 20_000  # characters of the log's end that are shown


@dataclass(frozen=True, slots=True)
class Job:
    """The running job, or the last one. Times are ISO 8601, UTC; empty if not known yet."""

    number: str
    title: str
    commands: list[list[str]]
    """Arguments of `kb`, one command after the other, each whatever became of the one before."""
    started: str
    process: int
    """Leader of the processes' group."""
    finished: str = ""
    exit_code: int = 0
    """Of the first command that failed."""
    stopped: bool = False
    """Whether a person ended it."""


def program(home: Home, *arguments: str) -> list[str]:
    """The command line that runs `kb` for a knowledge base, independent of PATH."""
    return [sys.executable, "-P", "-c", "from kb.cli import main; main()", "--home", str(home.path.resolve()), *arguments]


class Background:
    """The background job of a knowledge base."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._folder = home.path / "job"
        self._state = self._folder / "state.json"
        self._lock = home.path / "job.lock"

    def start(self, title: str, commands: Sequence[Sequence[str]]) -> None:
        """Start a job; returns when its process is running. Raises BusyError if another job is running."""
        if self.running():
            raise BusyError("A job is running already. Wait for it, or stop it.")
        make_private(self._folder)
        number = uuid4().hex
        arguments = json.dumps([str(self._home.path.resolve()), number, title, [list(command) for command in commands]])
        subprocess.run(
            [sys.executable, "-P", "-m", "kb.jobs.background", arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
        )
        until = time.monotonic() + _START_TIMEOUT
        while (job := self.last()) is None or job.number != number:
            if time.monotonic() > until:
                raise BusyError("The job could not be started: another one was faster. Try again.")
            time.sleep(0.02)

    def running(self) -> bool:
        """Whether a job is running, whoever started it."""
        return is_held(self._lock)

    def last(self) -> Job | None:
        """The running job, or the last one; unfinished and not running means killed. Raises StoreError if its file is damaged."""
        try:
            return Job(**json.loads(self._state.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            raise StoreError(f"{self._state} is damaged ({error}). Delete it.") from error

    def progress(self) -> ProgressState | None:
        """Progress of the current task; `None` if none has begun."""
        return ProgressState.read(self._folder / "progress.json")

    def log(self) -> str:
        """The last 20,000 characters of the commands' output."""
        try:
            return (self._folder / "log").read_text(encoding="utf-8", errors="replace")[-_LOG_TAIL:]
        except FileNotFoundError:
            return ""

    def stop(self) -> None:
        """Stop the running job: SIGINT, and SIGKILL after ten seconds. Does nothing if none is running."""
        job = self.last()
        if job is None or not self.running():
            return
        self._write(replace(job, stopped=True))
        for number in (signal.SIGINT, signal.SIGKILL):
            try:
                os.killpg(job.process, number)
            except ProcessLookupError:
                return
            until = time.monotonic() + _STOP_TIMEOUT
            while self.running() and time.monotonic() < until:
                time.sleep(0.05)

    def run(self, number: str, title: str, commands: Sequence[Sequence[str]]) -> None:
        """Run the commands in this process, which `start` created. Raises BusyError if another job is running."""
        with holding(self._lock, "Another job is running.", _START_TIMEOUT / 2):
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # for the command; its end is told here
            progress = self._folder / "progress.json"
            progress.unlink(missing_ok=True)
            job = Job(number, title, [list(command) for command in commands], _now(), os.getpid())
            with (self._folder / "log").open("wb") as log:
                self._write(job)
                for command in commands:
                    code = subprocess.run(
                        program(self._home, *command),
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        env=os.environ | {PROGRESS_VARIABLE: str(progress)},
                        preexec_fn=_restore_sigint,
                        check=False,
                    ).returncode
                    job = replace(self.last() or job, exit_code=job.exit_code or code)
                    if job.stopped:
                        break
            self._write(replace(job, finished=_now()))

    def _write(self, job: Job) -> None:
        replace_file(self._state, json.dumps(asdict(job), indent=1) + "\n")


def _restore_sigint() -> None:
    """Restore the default SIGINT: a child inherits an ignored signal, and Python then raises no KeyboardInterrupt."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _lower_priority() -> None:
    """Lower the priority, so that searches go first."""
    os.nice(_NICENESS)
    with suppress(OSError):  # where Linux shares time between sessions first, it is the session's niceness that counts
        Path("/proc/self/autogroup").write_text(str(_NICENESS), encoding="ascii")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


if __name__ == "__main__":
    # Twice removed from who started it: it neither ends with that process nor has to be waited for.
    if os.fork():
        os._exit(0)
    os.setsid()
    _lower_priority()
    _path, _number, _title, _commands = json.loads(sys.argv[1])
    Background(Home(Path(_path))).run(_number, _title, _commands)
