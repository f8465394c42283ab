"""`kb ingest …` and `kb index`: what brings papers, notes and code links in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kb.cli.console import Json, bars, home, print_json, say
from kb.cli.search import Category

if TYPE_CHECKING:
    from ingest.report import Report

commands = typer.Typer(no_args_is_help=True, help="Bring papers, notes and code links in.")

NoIndex = Annotated[bool, typer.Option("--no-index", help="Only ingest; embed later with `kb index`.")]


@commands.command("notes")
def ingest_notes(
    paths: Annotated[list[Path], typer.Argument(help="Markdown files, or folders of them.")],
    no_index: NoIndex = False,
    as_json: Json = False,
) -> None:
    """Markdown bookmarks, reading lists, newsletters, digests."""
    from ingest.jobs import run_notes

    with bars() as progress:
        report = run_notes(home(), paths, progress)
    finish(report, no_index, as_json)


@commands.command("snapshot")
def ingest_snapshot(
    paths: Annotated[list[Path], typer.Argument(help="arXiv metadata, JSON lines, plain or .gz or .zst.")],
    category: Category = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Take at most so many records.")] = None,
    no_index: NoIndex = False,
    as_json: Json = False,
) -> None:
    """arXiv metadata, in the form of its public snapshot."""
    from ingest.jobs import run_snapshot

    with bars() as progress:
        report = run_snapshot(home(), paths, category or (), limit, progress)
    finish(report, no_index, as_json)


@commands.command("code")
def ingest_code(as_json: Json = False) -> None:
    """Find the repositories that stored abstracts, comments and notes name."""
    from ingest.jobs import run_code

    finish(run_code(home()), no_index=True, as_json=as_json)


def finish(report: Report, no_index: bool, as_json: bool) -> None:
    """Tells what an ingest did, embeds what it brought, and exits 1 where something was left out."""
    if not as_json:
        counts = ", ".join(f"{n:,} {name}" for name, n in report.counts.items())
        say(f"{report.source}: {counts or 'nothing to do'}")
        for skipped in report.skipped[:20]:
            say(f"  skipped {skipped.source}:{skipped.line}: {skipped.reason}", "yellow")
        if (left := report.counts.get("skipped", 0) - 20) > 0:
            say(f"  … and {left:,} more: `kb status --json` lists the runs", "yellow")
    if not no_index:
        index()
    if as_json:
        skipped_rows = [{"source": s.source, "line": s.line, "reason": s.reason} for s in report.skipped]
        print_json({"source": report.source, "counts": report.counts, "skipped": skipped_rows})
    if not report.complete:
        raise typer.Exit(1)


def index() -> None:
    """Embed what is new and publish."""
    from ingest.jobs import run_index
    from kb.embed import load_encoder

    place = home()
    place.current_name()  # says at once if there is nothing to index, before a model is loaded
    with bars() as progress:
        embedding = run_index(place, load_encoder(), progress)
    say(f"Embedded {embedding.embedded:,} texts; {embedding.known:,} were already.")
