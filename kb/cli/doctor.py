"""`kb doctor`: looks for what is damaged and what is missing, says what mends it, and mends what can be made again."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kb.cli.console import Json, bars, home, print_json, say, show
from kb.errors import StoreError

if TYPE_CHECKING:
    from ingest.arxiv.gaps import Gap
    from kb.store import Home


def doctor(
    repair: Annotated[bool, typer.Option("--repair", help="Mend what can be made again; what is yours is not touched.")] = False,
    as_json: Json = False,
) -> None:
    """Check files, vectors, indexes and lists, look for days without papers that should have some, and say what mends it."""
    from ingest.jobs.configuration import Configuration
    from kb import doctor
    from kb.models.registry import load_encoder

    place = home()
    encoder = cache(load_encoder)
    found = doctor.examine(place, encoder)
    mended: list[str] = []
    if repair and any(finding.is_fault for finding in found):
        with bars() as progress:
            mended = doctor.repair(place, found, encoder, progress)
        found = doctor.examine(place, encoder)
    try:
        named = Configuration.of(place).categories
    except StoreError as error:
        named = ()
        found.append(doctor.Finding(doctor.Part.CONFIGURATION, place.configuration.name, str(error), "your editor"))
    faults = any(finding.is_fault for finding in found)
    days = _Days(place, named) if place.exists() and not faults else None
    if as_json:
        rows = [
            {"part": f.part.value, "place": f.place, "problem": f.problem, "remedy": f.remedy, "fault": f.is_fault} for f in found
        ]
        print_json({"findings": rows, "repaired": mended} | (days.as_json() if days else {}))
    else:
        for sentence in mended:
            say(sentence)
        for finding in found:
            show(f"{finding.place}: {finding.problem}", "red" if finding.is_fault else "")
            say(f"  → {finding.remedy}", "yellow")
        if days:
            days.tell()
    if faults or (days and days.missing):
        raise typer.Exit(1)
    if not found and not as_json:
        say("Nothing is damaged, and nothing is missing.")


class _Days:
    """The days of followed categories without papers that should have some, and harvests that did not come to their end."""

    def __init__(self, place: Home, named: tuple[str, ...]) -> None:
        from ingest.arxiv.gaps import find_gaps, followed, followed_span
        from kb.store import Ledger

        generation = place.open()
        try:
            ledger = Ledger(generation.catalogue)
            today = datetime.now(UTC).date()
            self.categories = sorted({*named, *followed(ledger)})
            self.gaps: list[Gap] = [gap for category in self.categories for gap in find_gaps(ledger, category, today)]
            self.unfollowed = [c for c in self.categories if followed_span(ledger, c, today) is None]
            self.unfinished = [harvest.source for harvest in ledger.harvests() if harvest.in_progress]
        finally:
            generation.close()

    @property
    def missing(self) -> bool:
        return bool(self.gaps or self.unfollowed or self.unfinished)

    def as_json(self) -> dict[str, Any]:
        rows = [
            {"category": g.category, "first": g.first.isoformat(), "last": g.last.isoformat(), "usual": g.usual}
            for g in self.gaps
        ]
        return {"categories": self.categories, "gaps": rows, "never_harvested": self.unfollowed, "unfinished": self.unfinished}

    def tell(self) -> None:
        for gap in self.gaps:
            days = f"{gap.first}" if gap.first == gap.last else f"{gap.first} to {gap.last}"
            show(f"{gap.category}: no papers of {days}, where about {gap.usual:.0f} a day are usual")
        for category in sorted({gap.category for gap in self.gaps}):
            fill = f"`kb ingest oai --set {category} --repair` or `kb ingest arxiv --category {category} --repair`"
            say(f"Fill them: {fill}", "yellow")
        for category in self.unfollowed:
            say(f"{category} was never harvested: `kb ingest oai --set {category}`", "yellow")
        for source in self.unfinished:
            say(f"The harvest of {source} did not come to its end: run it again, and it goes on.", "yellow")
