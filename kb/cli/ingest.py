"""`kb ingest …` and `kb index`: what brings papers, notes and code links in."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from ingest.report import Report
from kb.cli.console import Json, Ray, bars, home, joined, print_json, say
from kb.cli.match import tell_offers
from kb.cli.search import Category
from kb.errors import QueryError
from kb.identifiers import ArxivId, paper_id
from kb.text.plurals import describe_counts, pluralize

commands = typer.Typer(no_args_is_help=True, help="Bring papers, notes and code links in.")

Since = Annotated[
    datetime | None,
    typer.Option("--since", formats=["%Y-%m-%d"], help="The first time: nothing older than this day."),
]
NoIndex = Annotated[bool, typer.Option("--no-index", help="Only ingest; embed later with `kb index`.")]


@commands.command("notes")
def ingest_notes(
    paths: Annotated[list[Path], typer.Argument(help="Markdown files, or folders of them.")],
    no_index: NoIndex = False,
    as_json: Json = False,
) -> None:
    """Markdown bookmarks, reading lists, newsletters, digests."""
    from ingest.jobs.run import run_notes

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
    from ingest.jobs.run import run_snapshot

    with bars() as progress:
        report = run_snapshot(home(), paths, category or (), limit, progress)
    finish(report, no_index, as_json)


@commands.command("arxiv")
def ingest_arxiv(
    category: Category = None,
    query: Annotated[str, typer.Option("--query", help="In the API's syntax, such as 'ti:attention AND cat:cs.CL'.")] = "",
    identifiers: Annotated[list[str] | None, typer.Option("--id", help="A paper. May be repeated.")] = None,
    missing: Annotated[bool, typer.Option("--missing", help="Papers that only notes tell of.")] = False,
    since: Since = None,
    repair: Annotated[bool, typer.Option("--repair", help="Ask again for the days that `kb doctor` misses.")] = False,
    no_index: NoIndex = False,
    as_json: Json = False,
) -> None:
    """arXiv's API: what was submitted since the last time; without a choice, the categories of config.toml."""
    from ingest.jobs.configuration import Configuration
    from ingest.jobs.run import run_category, run_gaps, run_ids, run_missing, run_query

    chosen = [bool(category), bool(query), bool(identifiers), missing]
    if sum(chosen) > 1:
        raise QueryError("Choose one of --category, --query, --id and --missing.")
    if ((since or repair) and (identifiers or missing)) or (repair and query):
        raise QueryError("--since and --repair go with --category; --since with --query too.")
    place, day = home(), since.date() if since else None
    categories = category or ([] if any(chosen) else _followed(Configuration.of(place).categories))
    with bars() as progress:
        if missing:
            reports = [run_missing(place, progress)]
        elif identifiers:
            reports = [run_ids(place, [ArxivId.parse(paper_id(i).removeprefix("arxiv:")) for i in identifiers], progress)]
        elif query:
            reports = [run_query(place, query, day, progress)]
        else:
            run = run_gaps if repair else run_category
            reports = [run(place, name, day, progress) for name in categories]
    finish(Report.combine(reports), no_index, as_json)


@commands.command("oai")
def ingest_oai(
    sets: Annotated[list[str] | None, typer.Option("--set", help="Such as cs, cs:cs:CL or cs.CL. May be repeated.")] = None,
    since: Since = None,
    repair: Annotated[bool, typer.Option("--repair", help="Compare all that arXiv lists with what came.")] = False,
    no_index: NoIndex = False,
    as_json: Json = False,
) -> None:
    """arXiv's OAI-PMH: in bulk, and what changed since the last time; without --set, the categories of config.toml."""
    from ingest.jobs.configuration import Configuration
    from ingest.jobs.run import run_oai

    place, day = home(), since.date() if since else None
    with bars() as progress:
        names = sets or _followed(Configuration.of(place).categories)
        reports = [run_oai(place, name, day, repair, progress) for name in names]
    finish(Report.combine(reports), no_index, as_json)


def _followed(categories: Sequence[str]) -> Sequence[str]:
    if not categories:
        raise QueryError('Name a category, or list the ones you follow in config.toml: categories = ["cs.CL"].')
    return categories


@commands.command("code")
def ingest_code(
    path: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="Papers with Code's archive of links: JSON, .gz or Parquet.")
    ] = None,
    check: Annotated[int, typer.Option("--check", min=0, help="Ask Hugging Face and GitHub about so many of each.")] = 0,
    as_json: Json = False,
) -> None:
    """Find repositories: in a Papers-with-Code archive, or in the abstracts, comments and notes that are stored."""
    from ingest.jobs.run import run_code, run_code_archive, run_code_check

    if path is None and check:
        with bars() as progress:
            report = run_code_check(home(), check, progress)
        finish(report, no_index=True, as_json=as_json)
        return
    if path is None:
        finish(run_code(home()), no_index=True, as_json=as_json)
        return
    with bars() as progress:
        report = run_code_archive(home(), path, progress)
    finish(report, no_index=True, as_json=as_json)


def finish(report: Report, no_index: bool, as_json: bool) -> None:
    """Tells what an ingest did, embeds what it brought, and exits 1 where something was left out."""
    if not as_json:
        asked = f"; {report.requests:,} requests, {report.retries:,} of them again" if report.requests else ""
        say(f"{report.source}: {describe_counts(report.counts) or 'nothing to do'}{asked}")
        if report.message:
            say(report.message)
        for skipped in report.skipped[:20]:
            say(f"  skipped {skipped.source}:{skipped.line}: {skipped.reason}", "yellow")
        if (left := report.counts.get("skipped", 0) - 20) > 0:
            say(f"  … and {left:,} more: the same command with --json prints them", "yellow")
    if not no_index:
        index()
    if as_json:
        skipped_rows = [{"source": s.source, "line": s.line, "reason": s.reason} for s in report.skipped]
        asked_for = {name: getattr(report, name) for name in ("requests", "retries", "message", "failure")}
        print_json({"source": report.source, "counts": report.counts, "skipped": skipped_rows} | asked_for)
    if report.failure:
        say(report.failure, "red")
    if not report.complete:
        raise typer.Exit(1)


def index(ray: Ray = "") -> None:
    """Embed what is new and publish."""
    from ingest.jobs.run import run_index
    from kb.models.registry import load_encoder

    place = home()
    place.current_name()  # says at once if there is nothing to index, before a model is loaded
    with joined(ray) as cluster, bars() as progress:
        embedding = run_index(place, load_encoder(), progress, cluster)
    say(f"Embedded {pluralize(embedding.embedded, 'text')}; {embedding.already_embedded:,} were already.")
    tell_offers()
