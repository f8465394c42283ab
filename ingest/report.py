"""What a job did: counts, and what it had to leave out with the reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from kb.papers import Skipped

_KEPT = 1000  # skipped records kept one by one; a broken file of millions must not fill the catalogue with them


@dataclass(slots=True)
class Report:
    """Counts by name, in the order in which they are shown."""

    source: str
    counts: dict[str, int] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)
    """The first thousand; `counts["skipped"]` has them all."""
    span: str = ""
    """The window that was asked for, such as `2026-03-01..2026-03-09`."""
    requests: int = 0
    """Requests sent to the far side, those tried again included."""
    retries: int = 0
    message: str = ""
    """What else the record of the run should say, such as why nothing is new."""
    failure: str = ""
    """Why a run ended before its end, and how to resume it; empty where it did not."""

    def count(self, name: str, n: int) -> None:
        if n or name in {"new", "changed", "unchanged"}:
            self.counts[name] = self.counts.get(name, 0) + n

    def skip(self, source: str, line: int, reason: str) -> None:
        """A record that cannot be read."""
        self.count("skipped", 1)
        if len(self.skipped) < _KEPT:
            self.skipped.append(Skipped(source, line, reason))

    def add(self, other: Report) -> None:
        """Takes over what another one counted and left out."""
        for name, n in other.counts.items():
            self.count(name, n)
        self.skipped += other.skipped[: _KEPT - len(self.skipped)]

    @classmethod
    def of(cls, reports: Sequence[Report]) -> Report:
        """Several runs told as one."""
        if len(reports) == 1:
            return reports[0]
        whole = cls(", ".join(report.source for report in reports))
        for report in reports:
            whole.add(report)
            whole.requests += report.requests
            whole.retries += report.retries
        whole.message = " ".join(report.message for report in reports if report.message)
        whole.failure = " ".join(report.failure for report in reports if report.failure)
        return whole

    @property
    def complete(self) -> bool:
        """Whether the run came to its end and nothing had to be left out."""
        return not self.failure and not self.counts.get("skipped")
