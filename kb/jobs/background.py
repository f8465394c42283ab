"""Commands of `kb` run apart, each as a process of its own: whoever started them can go, come back, look, and stop them.

    HOME/job/state.json      what is run, since when, how it ended
    HOME/job/progress.json   the task that it is at, written by the command itself
    HOME/job/log             what the commands said
    HOME/job.lock            held while it runs

One runs at a time. The processes survive the one that started them; one that is killed leaves what every killed job leaves:
a draft that the next job sweeps away.
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
from kb.files import replace_file
from kb.locks import holding, is_held
from kb.progress import PROGRESS_VARIABLE, Standing
from kb.store import Home

_PATIENCE = 30.0  # seconds within which a started process must tell of itself
_GRACE = 10.0  # seconds that a stopped job has to put its draft away
_NICENESS = 5  # a third of the weight of what people wait for
_LOG = 20_000  # characters of the log's end that are shown


@dataclass(frozen=True, slots=True)
class Job:
    """Commands that run, or ran last. Times are ISO 8601, UTC; empty where there is none yet."""

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
    """The command line that runs `kb` for a knowledge base, whatever is on the path."""
    return [sys.executable, "-P", "-c", "from kb.cli import main; main()", "--home", str(home.path.resolve()), *arguments]


class Background:
    """The job beside a knowledge base."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._folder = home.path / "job"
        self._state = self._folder / "state.json"
        self._lock = home.path / "job.lock"

    def start(self, title: str, commands: Sequence[Sequence[str]]) -> None:
        """Starts commands, and returns when their process is there. Raises BusyError where others are still running."""
        if self.running():
            raise BusyError("A job is running already. Wait for it, or stop it.")
        self._folder.mkdir(parents=True, exist_ok=True)
        number = uuid4().hex
        arguments = json.dumps([str(self._home.path.resolve()), number, title, [list(command) for command in commands]])
        subprocess.run(
            [sys.executable, "-P", "-m", "kb.jobs.background", arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
        )
        until = time.monotonic() + _PATIENCE
        while (job := self.last()) is None or job.number != number:
            if time.monotonic() > until:
                raise BusyError("The job could not be started: another one was faster. Try again.")
            time.sleep(0.02)

    def running(self) -> bool:
        """Whether a job runs now, whoever started it."""
        return is_held(self._lock)

    def last(self) -> Job | None:
        """The job that runs, or ran last; one that has not finished and does not run was killed."""
        try:
            return Job(**json.loads(self._state.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            raise StoreError(f"{self._state} is damaged ({error}). Delete it.") from error

    def standing(self) -> Standing | None:
        """How far the task is that the job is at; `None` where it has not begun one."""
        return Standing.read(self._folder / "progress.json")

    def log(self) -> str:
        """The end of what the commands said."""
        try:
            return (self._folder / "log").read_text(encoding="utf-8", errors="replace")[-_LOG:]
        except FileNotFoundError:
            return ""

    def stop(self) -> None:
        """Ends the job that runs: as Ctrl-C would, and after ten seconds by force. Does nothing where none runs."""
        job = self.last()
        if job is None or not self.running():
            return
        self._write(replace(job, stopped=True))
        for number in (signal.SIGINT, signal.SIGKILL):
            try:
                os.killpg(job.process, number)
            except ProcessLookupError:
                return
            until = time.monotonic() + _GRACE
            while self.running() and time.monotonic() < until:
                time.sleep(0.05)

    def run(self, number: str, title: str, commands: Sequence[Sequence[str]]) -> None:
        """Runs the commands, in the process that `start` began."""
        with holding(self._lock, "Another job is running.", _PATIENCE / 2):
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
                        preexec_fn=_interruptible,
                        check=False,
                    ).returncode
                    job = replace(self.last() or job, exit_code=job.exit_code or code)
                    if job.stopped:
                        break
            self._write(replace(job, finished=_now()))

    def _write(self, job: Job) -> None:
        replace_file(self._state, json.dumps(asdict(job), indent=1) + "\n")


def _interruptible() -> None:
    """An ignored signal is inherited, and Python then never raises KeyboardInterrupt."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _give_way() -> None:
    """Searches go first: a job takes the processor time that they leave."""
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
    _give_way()
    _path, _number, _title, _commands = json.loads(sys.argv[1])
    Background(Home(Path(_path))).run(_number, _title, _commands)
