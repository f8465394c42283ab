"""Coverage: which days of the followed categories lack papers, and which harvests did not come to their end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from ingest.arxiv.gaps import Gap, find_gaps, followed, followed_span
from kb.store import Ledger


@dataclass(frozen=True, slots=True)
class Coverage:
    """How complete the followed categories are."""

    categories: tuple[str, ...]
    """Followed: named in `config.toml`, or harvested before."""
    gaps: tuple[Gap, ...]
    never_harvested: tuple[str, ...]
    """Categories of `config.toml` that no run has fetched."""
    unfinished: tuple[str, ...]
    """Sources whose last harvest was stopped before its end."""

    @classmethod
    def of(cls, ledger: Ledger, named: Sequence[str], today: date) -> Coverage:
        """The coverage of the categories in `named` and of those harvested before, up to `today`."""
        categories = sorted({*named, *followed(ledger)})
        return cls(
            tuple(categories),
            tuple(gap for category in categories for gap in find_gaps(ledger, category, today)),
            tuple(category for category in categories if followed_span(ledger, category, today) is None),
            tuple(harvest.source for harvest in ledger.harvests() if harvest.in_progress),
        )

    @property
    def complete(self) -> bool:
        """True if nothing is missing."""
        return not (self.gaps or self.never_harvested or self.unfinished)

    def as_json(self) -> dict[str, Any]:
        """The coverage as `kb doctor --json` prints it."""
        gaps = [
            {"category": g.category, "first": g.first.isoformat(), "last": g.last.isoformat(), "usual": g.usual}
            for g in self.gaps
        ]
        return {
            "categories": list(self.categories),
            "gaps": gaps,
            "never_harvested": list(self.never_harvested),
            "unfinished": list(self.unfinished),
        }
