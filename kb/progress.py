"""How long work tells of itself; the command line and the app each show it in their own way."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """What long work reports to. Tasks come one after another."""

    def start(self, task: str, total: int, unit: str) -> None:
        """A task begins: what it is, and how many units it has."""
        ...

    def advance(self, done: int) -> None:
        """So many more units of the current task are done."""
        ...


class NoProgress:
    """Shows nothing."""

    def start(self, task: str, total: int, unit: str) -> None: ...

    def advance(self, done: int) -> None: ...
