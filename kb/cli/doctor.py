"""`kb doctor`: looks for what is missing, and says what mends it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import typer

from kb.cli.console import Json, home, print_json, say, show


def doctor(as_json: Json = False) -> None:
    """Find days of followed categories without papers that should have some, and harvests that did not come to their end."""
    from ingest.configuration import Configuration
    from ingest.gaps import find_gaps, followed, followed_span
    from kb.store import Ledger

    place = home()
    named = Configuration.of(place).categories
    generation = place.open()
    try:
        ledger = Ledger(generation.catalogue)
        today = datetime.now(UTC).date()
        categories = sorted({*named, *followed(ledger)})
        gaps = [gap for category in categories for gap in find_gaps(ledger, category, today)]
        unfollowed = [category for category in categories if followed_span(ledger, category, today) is None]
        unfinished = [harvest.source for harvest in ledger.harvests() if harvest.in_progress]
    finally:
        generation.close()
    if as_json:
        rows: list[dict[str, Any]] = [
            {"category": g.category, "first": g.first.isoformat(), "last": g.last.isoformat(), "usual": g.usual} for g in gaps
        ]
        print_json({"categories": categories, "gaps": rows, "never_harvested": unfollowed, "unfinished": unfinished})
    else:
        for gap in gaps:
            days = f"{gap.first}" if gap.first == gap.last else f"{gap.first} to {gap.last}"
            show(f"{gap.category}: no papers of {days}, where about {gap.usual:.0f} a day are usual")
        for category in sorted({gap.category for gap in gaps}):
            fill = f"`kb ingest oai --set {category} --repair` or `kb ingest arxiv --category {category} --repair`"
            say(f"Fill them: {fill}", "yellow")
        for category in unfollowed:
            say(f"{category} was never harvested: `kb ingest oai --set {category}`", "yellow")
        for source in unfinished:
            say(f"The harvest of {source} did not come to its end: run it again, and it goes on.", "yellow")
        if not (gaps or unfollowed or unfinished):
            say(f"Nothing is missing: {', '.join(categories) or 'no category is followed'}.")
    if gaps or unfollowed or unfinished:
        raise typer.Exit(1)
