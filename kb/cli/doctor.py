"""`kb doctor`: finds what is damaged or missing, says how to repair it, and repairs what can be made again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from kb.cli.console import Json, bars, knowledge_base, print_json, say, show

if TYPE_CHECKING:
    from ingest.arxiv.coverage import Coverage
    from kb.api.results import Examination


def doctor(
    repair: Annotated[bool, typer.Option("--repair", help="Repair what can be made again; nothing of yours is touched.")] = False,
    as_json: Json = False,
) -> None:
    """Check files, vectors, indexes and lists, find days that lack papers, and say how to repair each."""
    if repair:
        with bars() as progress:
            found = knowledge_base(progress).doctor(repair=True)
    else:
        found = knowledge_base().doctor()
    if as_json:
        print_json(found.as_json())
    else:
        _print(found)
    if not found.sound:
        raise typer.Exit(1)


def _print(found: Examination) -> None:
    for sentence in found.repaired:
        say(sentence)
    for finding in found.findings:
        show(f"{finding.place}: {finding.problem}", "red" if finding.is_fault else "")
        say(f"  → {finding.remedy}", "yellow")
    if found.coverage:
        _print_coverage(found.coverage)
    if found.sound and not found.findings:
        say("Nothing is damaged, and nothing is missing.")


def _print_coverage(coverage: Coverage) -> None:
    for gap in coverage.gaps:
        days = f"{gap.first}" if gap.first == gap.last else f"{gap.first} to {gap.last}"
        show(f"{gap.category}: no papers of {days}, where about {gap.usual:.0f} a day are usual")
    for category in sorted({gap.category for gap in coverage.gaps}):
        fill = f"`kb ingest oai --set {category} --repair` or `kb ingest arxiv --category {category} --repair`"
        say(f"Fetch them: {fill}", "yellow")
    for category in coverage.never_harvested:
        say(f"{category} was never fetched: `kb ingest oai --set {category}`", "yellow")
    for source in coverage.unfinished:
        say(f"The harvest of {source} did not come to its end: run it again, and it goes on.", "yellow")
