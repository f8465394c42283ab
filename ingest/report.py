"""What a job did: counts, and what it had to leave out with the reason."""

from __future__ import annotations

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

    def count(self, name: str, n: int) -> None:
        if n or name in {"new", "changed", "unchanged"}:
            self.counts[name] = self.counts.get(name, 0) + n

    def skip(self, source: str, line: int, reason: str) -> None:
        """A record that cannot be read."""
        self.count("skipped", 1)
        if len(self.skipped) < _KEPT:
            self.skipped.append(Skipped(source, line, reason))

    @property
    def complete(self) -> bool:
        """Whether nothing had to be left out."""
        return not self.counts.get("skipped")
