"""Progress reporting: the protocol, a no-op, and a JSON file for another process to read."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol

from kb.files import replace_file

#: Environment variable with the path of the file that a command writes its progress to; set by `kb.jobs.background`.
PROGRESS_VARIABLE = "KB_PROGRESS_FILE"
_WRITE_INTERVAL = 0.25  # seconds between two writings


class Progress(Protocol):
    """Receiver of progress reports. Tasks come one after another."""

    def start(self, task: str, total: int, unit: str) -> None:
        """Begin a task of `total` units; 0 if the total is not known."""
        ...

    def advance(self, done: int) -> None:
        """Report that `done` more units of the current task are complete."""
        ...

    def wait(self, what: str, seconds: float) -> None:
        """Report a pause of so many seconds until `what`; the next call of `start` or `advance` ends it."""
        ...


class NoProgress:
    """Ignores all reports."""

    def start(self, task: str, total: int, unit: str) -> None:
        """See Progress.start."""

    def advance(self, done: int) -> None:
        """See Progress.advance."""

    def wait(self, what: str, seconds: float) -> None:
        """See Progress.wait."""


@dataclass(frozen=True, slots=True)
class ProgressState:
    """Progress of a task."""

    task: str
    done: int
    total: int
    unit: str
    """Such as 'papers'; 'B' for bytes."""
    seconds: float
    """Seconds since the task began."""
    awaited: str = ""
    """What the task waits for; empty while it goes on."""
    until: float = 0.0
    """End of the wait, in seconds since 1970."""

    @property
    def share(self) -> float | None:
        """Fraction done, from 0 to 1; `None` if the total is not known."""
        return min(self.done / self.total, 1.0) if self.total else None

    @property
    def wait(self) -> str:
        """What is waited for, and the seconds left; empty while the task goes on."""
        left = self.until - time.time()
        return "" if not self.awaited else f"{self.awaited} in {left:.0f} s" if left >= 1 else f"{self.awaited} now"

    @property
    def rate(self) -> str:
        """`120 texts/s`; empty before anything is done."""
        if not self.done or self.seconds <= 0:
            return ""
        speed = self.done / self.seconds
        return f"{speed / 1e6:.0f} MB/s" if self.unit == "B" else f"{speed:,.0f} {self.unit}/s"

    @classmethod
    def read(cls, path: Path) -> ProgressState | None:
        """Read a progress file; `None` if there is none yet."""
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None


class ProgressFile:
    """Writes the progress to a file, replaced atomically at most four times a second."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._now = ProgressState("", 0, 0, "", 0.0)
        self._began = self._written = 0.0

    def start(self, task: str, total: int, unit: str) -> None:
        """See Progress.start."""
        self._began = time.monotonic()
        self._now = ProgressState(task, 0, total, unit, 0.0)
        self._write()

    def advance(self, done: int) -> None:
        """See Progress.advance."""
        now, waited = time.monotonic(), self._now.awaited
        self._now = ProgressState(self._now.task, self._now.done + done, self._now.total, self._now.unit, now - self._began)
        if waited or now - self._written >= _WRITE_INTERVAL or self._now.done >= self._now.total:
            self._write()

    def wait(self, what: str, seconds: float) -> None:
        """See Progress.wait."""
        self._now = replace(self._now, awaited=what, until=time.time() + seconds)
        self._write()

    def _write(self) -> None:
        self._written = time.monotonic()
        replace_file(self._path, json.dumps(asdict(self._now)), durable=False)
