"""Report of a run: counts, and skipped records with the reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from kb.papers import Skipped

_MAX_SKIPPED = 1000  # skipped records kept one by one; a broken file of millions must not fill the catalogue with them


@dataclass(slots=True)
class Report:
    """Counts and problems of one run. `counts` is in the order in which it is shown."""

    source: str
    counts: dict[str, int] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)
    """The first 1,000; `counts["skipped"]` is the number of all."""
    new_papers: list[tuple[str, str]] = field(default_factory=list)
    """Canonical id and title of the papers that came in; the first 1,000."""
    left_out: list[Skipped] = field(default_factory=list)
    """What was read and holds nothing to bring in, such as a page about no paper; the first thousand. No failure."""
    span: str = ""
    """Requested period, such as `2026-03-01..2026-03-09`."""
    requests: int = 0
    """Number of HTTP requests sent, retries included."""
    retries: int = 0
    message: str = ""
    """Remark for the record of the run, such as why nothing is new."""
    failure: str = ""
    """Why a run ended before its end, and how to resume it; empty where it did not."""

    def count(self, name: str, n: int) -> None:
        """Add n to a count; a zero shows for `new`, `changed` and `unchanged` only."""
        if n or name in {"new", "changed", "unchanged"}:
            self.counts[name] = self.counts.get(name, 0) + n

    def skip(self, source: str, line: int, reason: str) -> None:
        """Count and keep a record that cannot be read."""
        self.count("skipped", 1)
        if len(self.skipped) < _MAX_SKIPPED:
            self.skipped.append(Skipped(source, line, reason))

    def leave_out(self, source: str, line: int, reason: str) -> None:
        """Something that was read and is not what the job brings in."""
        self.count("files without a paper", 1)
        if len(self.left_out) < _MAX_SKIPPED:
            self.left_out.append(Skipped(source, line, reason))

    def add(self, other: Report) -> None:
        """Add the counts and skipped records of another report."""
        for name, n in other.counts.items():
            self.count(name, n)
        self.skipped += other.skipped[: _MAX_SKIPPED - len(self.skipped)]
        self.new_papers += other.new_papers[: _MAX_SKIPPED - len(self.new_papers)]
        self.left_out += other.left_out[: _MAX_SKIPPED - len(self.left_out)]

    @classmethod
    def combine(cls, reports: Sequence[Report]) -> Report:
        """Merge the reports of several runs into one."""
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
        """True if the run reached its end and skipped nothing."""
        return not self.failure and not self.counts.get("skipped")
