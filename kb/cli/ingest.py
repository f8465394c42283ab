"""`kb ingest …` and `kb index`: bring papers, notes and code links in, and embed them."""

from __future__ import annotations

import contextlib
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kb.cli.console import Json, Ray, bars, knowledge_base, print_json, say
from kb.cli.match import tell_notes_to_match
from kb.cli.search import Category
from kb.errors import QueryError
from kb.text.plurals import describe_counts, pluralize

if TYPE_CHECKING:
    from ingest.report import Report

commands = typer.Typer(no_args_is_help=True, help="Bring papers, notes and code links in.")

_MAX_PRINTED = 20
Since = Annotated[
    datetime | None,
    typer.Option("--since", formats=["%Y-%m-%d"], help="On the first run, fetch nothing older than this day."),
]
NoIndex = Annotated[bool, typer.Option("--no-index", help="Only ingest; embed later with `kb index`.")]


@commands.command("notes")
def ingest_notes(
    paths: Annotated[list[Path], typer.Argument(help="Files of notes, or folders of them.")],
    no_index: NoIndex = False,
    forget: Annotated[bool, typer.Option("--forget", help="Take away what these paths brought, though they be gone.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Then stay, and read again what changes, until Ctrl-C.")] = False,
    as_json: Json = False,
) -> None:
    """Ingest Markdown bookmarks, reading lists, newsletters and digests."""
    if forget and watch:
        raise QueryError("--forget takes notes away, --watch keeps them: use one of the two.")
    with bars() as progress:
        base = knowledge_base(progress)
        report = base.forget_notes(paths, index=False) if forget else base.ingest_notes(paths, index=False)
    if watch:
        _watch(paths, report, no_index, as_json)
    else:
        finish(report, no_index, as_json)


def _watch(paths: list[Path], report: Report, no_index: bool, as_json: bool) -> None:
    """Ingest these paths again whenever something below them changes."""
    from watchfiles import watch as changes

    try:
        while True:
            with contextlib.suppress(typer.Exit):  # what could not be read is printed, and may be mended while this runs
                finish(report, no_index, as_json)
            say("Watching; Ctrl-C ends it.")
            next(changes(*paths, raise_interrupt=True))
            with bars() as progress:
                report = knowledge_base(progress).ingest_notes([path for path in paths if path.exists()], index=False)
    except KeyboardInterrupt:
        say("No longer watching.")


@commands.command("snapshot")
def ingest_snapshot(
    paths: Annotated[list[Path], typer.Argument(help="arXiv metadata, JSON lines, plain or .gz or .zst.")],
    category: Category = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Take this many records at most.")] = None,
    no_index: NoIndex = False,
    as_json: Json = False,
) -> None:
    """Ingest arXiv metadata in the format of its public snapshot."""
    with bars() as progress:
        report = knowledge_base(progress).ingest_snapshot(paths, categories=category or (), limit=limit, index=False)
    finish(report, no_index, as_json)


@commands.command("arxiv")
def ingest_arxiv(
    category: Category = None,
    query: Annotated[str, typer.Option("--query", help="In the API's syntax, such as 'ti:attention AND cat:cs.CL'.")] = "",
    identifiers: Annotated[list[str] | None, typer.Option("--id", help="A paper. May be repeated.")] = None,
    missing: Annotated[bool, typer.Option("--missing", help="Fetch the papers that only notes name.")] = False,
    since: Since = None,
    repair: Annotated[bool, typer.Option("--repair", help="Fetch days again that `kb doctor` reports as missing.")] = False,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Fetch the stored papers of the category again, by their ids.")
    ] = False,
    no_index: NoIndex = False,
    as_json: Json = False,
) -> None:
    """Ingest from arXiv's API what was submitted since the last run; by default to the categories of config.toml.

    Of papers older than 14 days it does not tell what became of them: revisions come by `kb ingest oai`, or by --refresh.
    """
    with bars() as progress:
        report = knowledge_base(progress).ingest_arxiv(
            categories=category or (),
            query=query,
            ids=identifiers or (),
            missing=missing,
            since=since.date() if since else None,
            repair=repair,
            refresh=refresh,
            index=False,
        )
    finish(report, no_index, as_json)


@commands.command("oai")
def ingest_oai(
    sets: Annotated[list[str] | None, typer.Option("--set", help="Such as cs, cs:cs:CL or cs.CL. May be repeated.")] = None,
    since: Since = None,
    repair: Annotated[bool, typer.Option("--repair", help="Compare everything that arXiv lists with what came.")] = False,
    no_index: NoIndex = False,
    as_json: Json = False,
) -> None:
    """Ingest from arXiv's OAI-PMH, in bulk, what changed since the last run; by default the categories of config.toml."""
    with bars() as progress:
        day = since.date() if since else None
        report = knowledge_base(progress).ingest_oai(sets or (), since=day, repair=repair, index=False)
    finish(report, no_index, as_json)


@commands.command("code")
def ingest_code(
    path: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="The Papers-with-Code archive of links: JSON, .gz or Parquet.")
    ] = None,
    check: Annotated[
        int, typer.Option("--check", min=0, help="Ask Hugging Face and GitHub about this many papers and repositories.")
    ] = 0,
    as_json: Json = False,
) -> None:
    """Find repositories: in a Papers-with-Code archive, or in the stored abstracts, comments and notes."""
    with bars() as progress:
        report = knowledge_base(progress).ingest_code(path, check=check)
    finish(report, no_index=True, as_json=as_json)


def finish(report: Report, no_index: bool, as_json: bool) -> None:
    """Print what an ingest did, embed what it brought, and exit with 1 if something was left out."""
    if not as_json:
        _print(report)
    if not no_index:
        index()
    if as_json:
        from kb.api.results import report_as_json

        print_json(report_as_json(report))
    if report.failure:
        say(report.failure, "red")
    if not report.complete:
        raise typer.Exit(1)


def _print(report: Report) -> None:
    asked = f"; {report.requests:,} requests, {report.retries:,} of them retries" if report.requests else ""
    say(f"{report.source}: {describe_counts(report.counts) or 'nothing to do'}{asked}")
    if report.message:
        say(report.message)
    for identifier, title in report.new_papers[:_MAX_PRINTED]:
        say(f"  new {identifier}  {title}")
    if (more := len(report.new_papers) - _MAX_PRINTED) > 0:
        say(f"  … and {more:,} more papers")
    for item in report.left_out[:_MAX_PRINTED]:
        say(f"  no paper {item.source}:{item.line}: {item.reason}")
    for skipped in report.skipped[:20]:
        say(f"  skipped {skipped.source}:{skipped.line}: {skipped.reason}", "yellow")
    if (left := report.counts.get("skipped", 0) - 20) > 0:
        say(f"  … and {left:,} more: the same command with --json prints them", "yellow")


def index(ray: Ray = "") -> None:
    """Embed what is new and publish it to searches."""
    with bars() as progress:
        base = knowledge_base(progress)
        embedding = base.index(ray=ray)
    say(f"Embedded {pluralize(embedding.embedded, 'text')}; {embedding.already_embedded:,} were embedded before.")
    tell_notes_to_match(base.status().notes_to_match)
