"""Shared by the commands: options, the two output streams, progress bars."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBars

from kb.api.knowledge_base import DEFAULT_HOME, KnowledgeBase
from kb.progress import PROGRESS_VARIABLE, NoProgress, Progress, ProgressFile
from kb.text.hidden import escape_hidden, without_hidden

# Nothing is markup: no title in brackets, nor `:cat:` in the name of a source, which rich would make an emoji.
messages = Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)
results = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Ray = Annotated[str, typer.Option("--ray", metavar="ADDRESS", help="Compute on the Ray cluster whose head is at HOST:PORT.")]


@dataclass
class _Settings:
    home: Path = Path(DEFAULT_HOME)


settings = _Settings()


def knowledge_base(progress: Progress | None = None) -> KnowledgeBase:
    """The knowledge base that `--home` or KB_HOME chose."""
    return KnowledgeBase(settings.home, progress=progress)


def print_json(value: Any) -> None:  # noqa: ANN401
    """Print one JSON document on stdout."""
    sys.stdout.write(escape_hidden(json.dumps(value, ensure_ascii=False, indent=1)) + "\n")


def say(message: str, style: str = "") -> None:
    """Print a line on stderr. Text from outside is never read as markup, nor as orders to the terminal."""
    messages.print(without_hidden(message), style=style)


def show(line: str, style: str = "") -> None:
    """Print a line of the result on stdout, with the same care."""
    results.print(without_hidden(line), style=style)


class Bars:
    """Progress bars with a rate, on stderr; written to the file that KB_PROGRESS_FILE names as well."""

    def __init__(self, progress: ProgressBars) -> None:
        self._progress = progress
        self._task: TaskID | None = None
        self._unit = ""
        path = os.environ.get(PROGRESS_VARIABLE)
        self._file = ProgressFile(Path(path)) if path else NoProgress()

    def start(self, task: str, total: int, unit: str) -> None:
        """See Progress.start."""
        self._file.start(task, total, unit)
        self._unit = unit
        self._task = self._progress.add_task(task, total=total, rate="")

    def advance(self, done: int) -> None:
        """See Progress.advance."""
        if self._task is None:
            return
        self._file.advance(done)
        self._progress.advance(self._task, done)
        task = self._progress.tasks[self._task]
        rate = ""
        if task.speed:
            number = f"{task.speed:,.0f}" if task.speed >= 10 else f"{task.speed:.1f}"  # a step of training takes a second
            rate = f"{task.speed / 1e6:.0f} MB/s" if self._unit == "B" else f"{number} {self._unit}/s"
        self._progress.update(self._task, rate=rate)

    def wait(self, what: str, seconds: float) -> None:
        """See Progress.wait."""
        self._file.wait(what, seconds)
        if self._task is not None:
            self._progress.update(self._task, rate=f"{what} in {seconds:.0f} s")


@contextmanager
def bars() -> Iterator[Bars]:
    """Show progress bars while the block runs."""
    share = "{task.percentage:>3.0f}%  {task.fields[rate]}"
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TextColumn(share, markup=False))
    with ProgressBars(*columns, TimeRemainingColumn(), console=messages) as progress:
        yield Bars(progress)
