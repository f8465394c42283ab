"""How long work tells of itself; the command line and the app each show it in their own way."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol

from kb.files import replace_file

#: The file that a command keeps its standing in, for whoever started it to look at; set by `kb.background`.
PROGRESS_VARIABLE = "KB_PROGRESS_FILE"
_PAUSE = 0.25  # seconds between two writings


class Progress(Protocol):
    """What long work reports to. Tasks come one after another."""

    def start(self, task: str, total: int, unit: str) -> None:
        """A task begins: what it is, and how many units it has."""
        ...

    def advance(self, done: int) -> None:
        """So many more units of the current task are done."""
        ...

    def wait(self, what: str, seconds: float) -> None:
        """Nothing is done until `what` comes, in so many seconds; the next word of progress ends the wait."""
        ...


class NoProgress:
    """Shows nothing."""

    def start(self, task: str, total: int, unit: str) -> None: ...

    def advance(self, done: int) -> None: ...

    def wait(self, what: str, seconds: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a task is."""

    task: str
    done: int
    total: int
    unit: str
    """Such as 'papers'; 'B' for bytes."""
    seconds: float
    """Since it began."""
    awaited: str = ""
    """What it waits for; empty while it goes on."""
    until: float = 0.0
    """When that comes, in seconds since 1970."""

    @property
    def share(self) -> float | None:
        """From 0 to 1; `None` where nobody knows beforehand how much there is."""
        return min(self.done / self.total, 1.0) if self.total else None

    @property
    def wait(self) -> str:
        """What is waited for, and for how long still; empty while the task goes on."""
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
    def read(cls, path: Path) -> Standing | None:
        """What the file says; `None` where there is none yet."""
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None


class ProgressFile:
    """Keeps the standing in a file, replaced whole a few times a second."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._now = Standing("", 0, 0, "", 0.0)
        self._began = self._written = 0.0

    def start(self, task: str, total: int, unit: str) -> None:
        self._began = time.monotonic()
        self._now = Standing(task, 0, total, unit, 0.0)
        self._write()

    def advance(self, done: int) -> None:
        now, waited = time.monotonic(), self._now.awaited
        self._now = Standing(self._now.task, self._now.done + done, self._now.total, self._now.unit, now - self._began)
        if waited or now - self._written >= _PAUSE or self._now.done >= self._now.total:
            self._write()

    def wait(self, what: str, seconds: float) -> None:
        self._now = replace(self._now, awaited=what, until=time.time() + seconds)
        self._write()

    def _write(self) -> None:
        self._written = time.monotonic()
        replace_file(self._path, json.dumps(asdict(self._now)), durable=False)
