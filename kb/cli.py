"""The command line. Results go to stdout, messages and progress to stderr; 0 done, 1 failed or in part, 2 wrong use.

The one module of `kb` that knows the jobs in `ingest`: every command is a few lines over the library.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from kb.errors import IdentifierError, KnowledgeBaseError, QueryError
from kb.store import Filters, Home

if TYPE_CHECKING:
    from ingest.report import Report
    from kb.search import Hit

messages = Console(stderr=True, highlight=False)
results = Console(highlight=False)

cli = typer.Typer(
    no_args_is_help=True, add_completion=False, help="A paper knowledge base: notes and arXiv in, papers like X out."
)
ingest_cli = typer.Typer(no_args_is_help=True, help="Bring papers, notes and code links in.")
cli.add_typer(ingest_cli, name="ingest")


@dataclass
class _Settings:
    home: Path = Path("data/kb")


_settings = _Settings()

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
NoIndex = Annotated[bool, typer.Option("--no-index", help="Only ingest; embed later with `kb index`.")]
K = Annotated[int, typer.Option("-k", min=1, max=1000, help="How many papers.")]
Category = Annotated[list[str] | None, typer.Option("--category", help="Such as cs.CL, or cs for all of cs. May be repeated.")]
AuthorName = Annotated[str, typer.Option("--author", help="Part of an author's name.")]
Year = Annotated[str, typer.Option("--year", help="2019, 2019..2023, 2019.. or ..2023.")]
HasCode = Annotated[bool, typer.Option("--has-code", help="Only papers with a repository.")]
Source = Annotated[str, typer.Option("--source", help="notes or arxiv.")]


@cli.callback()
def _main(
    home: Annotated[Path, typer.Option("--home", envvar="KB_HOME", help="The knowledge base's folder.", file_okay=False)] = Path(
        "data/kb"
    ),
) -> None:
    _settings.home = home


class _Bars:
    """Progress bars with a rate, on stderr."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: TaskID | None = None
        self._unit = ""

    def start(self, task: str, total: int, unit: str) -> None:
        self._unit = unit
        self._task = self._progress.add_task(escape(task), total=total, rate="")

    def advance(self, done: int) -> None:
        if self._task is None:
            return
        self._progress.advance(self._task, done)
        task = self._progress.tasks[self._task]
        if task.speed:
            speed = f"{task.speed / 1e6:.0f} MB/s" if self._unit == "B" else f"{task.speed:,.0f} {self._unit}/s"
            self._progress.update(self._task, rate=speed)


@contextmanager
def _bars() -> Iterator[_Bars]:
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%  {task.fields[rate]}"))
    with Progress(*columns, TimeRemainingColumn(), console=messages) as progress:
        yield _Bars(progress)


def _home() -> Home:
    return Home(_settings.home)


# Ingesting -----------------------------------------------------------------------------------------------------------


@ingest_cli.command("notes")
def ingest_notes(
    paths: Annotated[list[Path], typer.Argument(help="Markdown files, or folders of them.")],
    no_index: NoIndex = False,
    as_json: Json = False,
) -> None:
    """Markdown bookmarks, reading lists, newsletters, digests."""
    from ingest.jobs import run_notes

    with _bars() as bars:
        report = run_notes(_home(), paths, bars)
    _finish(report, no_index, as_json)


@ingest_cli.command("snapshot")
def ingest_snapshot(
    paths: Annotated[list[Path], typer.Argument(help="arXiv metadata, JSON lines, plain or .gz or .zst.")],
    category: Category = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Take at most so many records.")] = None,
    no_index: NoIndex = False,
    as_json: Json = False,
) -> None:
    """arXiv metadata, in the form of its public snapshot."""
    from ingest.jobs import run_snapshot

    with _bars() as bars:
        report = run_snapshot(_home(), paths, category or (), limit, bars)
    _finish(report, no_index, as_json)


@ingest_cli.command("code")
def ingest_code(as_json: Json = False) -> None:
    """Find the repositories that stored abstracts, comments and notes name."""
    from ingest.jobs import run_code

    _finish(run_code(_home()), no_index=True, as_json=as_json)


def _finish(report: Report, no_index: bool, as_json: bool) -> None:
    """Tells what an ingest did, embeds what it brought, and exits 1 where something was left out."""
    if not as_json:
        counts = ", ".join(f"{n:,} {name}" for name, n in report.counts.items())
        messages.print(escape(f"{report.source}: {counts or 'nothing to do'}"))
        for skipped in report.skipped[:20]:
            messages.print(escape(f"  skipped {skipped.source}:{skipped.line}: {skipped.reason}"), style="yellow", soft_wrap=True)
        if (left := report.counts.get("skipped", 0) - 20) > 0:
            messages.print(f"  … and {left:,} more: `kb status --json` lists the runs", style="yellow")
    if not no_index:
        _index()
    if as_json:
        skipped_rows = [{"source": s.source, "line": s.line, "reason": s.reason} for s in report.skipped]
        _print_json({"source": report.source, "counts": report.counts, "skipped": skipped_rows})
    if not report.complete:
        raise typer.Exit(1)


@cli.command("index")
def index() -> None:
    """Embed what is new and publish."""
    _index()


def _index() -> None:
    from ingest.jobs import run_index
    from kb.embed import load_encoder

    home = _home()
    home.current_name()  # says at once if there is nothing to index, before a model is loaded
    with _bars() as bars:
        embedding = run_index(home, load_encoder(), bars)
    messages.print(f"Embedded {embedding.embedded:,} texts; {embedding.known:,} were already.")


# Searching -----------------------------------------------------------------------------------------------------------


@cli.command("search")
def search(
    text: Annotated[str, typer.Argument(help="A phrase, an abstract, a title, an id or an address.")],
    k: K = 10,
    category: Category = None,
    author: AuthorName = "",
    year: Year = "",
    has_code: HasCode = False,
    source: Source = "",
    as_json: Json = False,
) -> None:
    """Find papers by what they are about."""
    from kb.search import Searcher

    filters = Filters(tuple(category or ()), author, parse_years(year), has_code, source)
    with Searcher.open(_home()) as searcher:
        _print_hits(searcher.search(text, k, filters), as_json)


@cli.command("like")
def like(
    ids: Annotated[list[str], typer.Argument(help="Ids or addresses of papers.")],
    unlike: Annotated[list[str] | None, typer.Option("--not", help="A paper to keep away from. May be repeated.")] = None,
    text: Annotated[str, typer.Option("--text", help="Words that the papers should fit as well.")] = "",
    k: K = 10,
    category: Category = None,
    author: AuthorName = "",
    year: Year = "",
    has_code: HasCode = False,
    source: Source = "",
    as_json: Json = False,
) -> None:
    """Find papers like these."""
    from kb.search import Searcher

    filters = Filters(tuple(category or ()), author, parse_years(year), has_code, source)
    with Searcher.open(_home()) as searcher:
        _print_hits(searcher.like(ids, unlike or (), text, k, filters), as_json)


@cli.command("show")
def show(identifier: Annotated[str, typer.Argument(metavar="ID")], as_json: Json = False) -> None:
    """Everything known of one paper."""
    from kb.search import find_paper

    generation = _home().open()
    try:
        hit = find_paper(generation.catalogue, identifier)
    finally:
        generation.close()
    paper = hit.paper
    if as_json:
        extra = {
            "abstract": paper.abstract,
            "categories": paper.categories,
            "published": paper.published and paper.published.isoformat(),
            "updated": paper.updated and paper.updated.isoformat(),
            "doi": paper.doi,
            "comments": paper.comments,
            "journal_ref": paper.journal_ref,
            "withdrawn": paper.withdrawn,
            "versions": [{"version": v.number, "created": v.created and v.created.isoformat()} for v in paper.versions],
        }
        hit_json = hit.as_json()
        _print_json({key: hit_json[key] for key in ("id", "title", "authors", "year", "url", "code", "notes")} | extra)
        return
    results.print(escape(paper.title), style="bold", soft_wrap=True)
    facts = [", ".join(a.name for a in paper.authors), f"{paper.id}  {hit.url}", " ".join(paper.categories), paper.journal_ref]
    if paper.withdrawn:
        facts.append("WITHDRAWN")
    for line in [*facts, paper.comments, "", paper.abstract]:
        if line or line == "":
            results.print(escape(line), soft_wrap=True)
    for link in hit.code:
        results.print(escape(f"code: {link.url}  ({link.source})"), soft_wrap=True)
    for note in hit.notes:
        results.print(escape(f"\nNote, {note.source}:{note.line}\n{note.body}"), soft_wrap=True)


def _print_hits(hits: Sequence[Hit], as_json: bool) -> None:
    if as_json:
        _print_json([hit.as_json() for hit in hits])
        return
    if not hits:
        messages.print("Nothing passes these filters.")
    for hit in hits:
        paper = hit.paper
        authors = ", ".join(a.name for a in paper.authors[:3]) + (" et al." if len(paper.authors) > 3 else "")
        results.print(escape(f"{hit.rank:>3}  {paper.title}"), style="bold", soft_wrap=True)
        withdrawn = "  WITHDRAWN" if paper.withdrawn else ""
        results.print(escape(f"     {authors}  {paper.year or ''}  {paper.id}  {hit.score:.3f}{withdrawn}"), soft_wrap=True)
        for link in hit.code[:2]:
            results.print(escape(f"     code: {link.url}"), soft_wrap=True)
        for note in hit.notes[:1]:
            results.print(escape(f"     note: {' '.join(note.body.split())[:160]}"), soft_wrap=True)


# The knowledge base ----------------------------------------------------------------------------------------------------


@cli.command("status")
def status(as_json: Json = False) -> None:
    """What the knowledge base holds, and what the last jobs did."""
    generation = _home().open()
    try:
        manifest = generation.manifest
        runs = generation.catalogue.runs()
    finally:
        generation.close()
    if as_json:
        rows = [
            {
                "job": r.job,
                "source": r.source,
                "started": r.started.isoformat(),
                "finished": r.finished.isoformat(),
                "outcome": r.outcome,
                "counts": r.counts,
                "message": r.message,
            }
            for r in runs
        ]
        facts = {name: getattr(manifest, name) for name in ("papers", "notes", "code_links", "embedded", "generation")}
        _print_json(facts | {"model": manifest.model_id, "runs": rows})
        return
    results.print(
        f"{manifest.papers:,} papers, {manifest.notes:,} notes, {manifest.code_links:,} code links; "
        f"{manifest.embedded:,} embedded with {manifest.model_id or 'no model yet'}; generation {manifest.generation}"
    )
    if manifest.embedded < manifest.papers:
        messages.print(f"{manifest.papers - manifest.embedded:,} papers are not embedded yet: `kb index`.", style="yellow")
    table = Table("started", "job", "outcome", "counts", "source")
    for run in runs:
        counts = ", ".join(f"{n:,} {name}" for name, n in run.counts.items())
        table.add_row(run.started.isoformat(" ", "seconds"), run.job, run.outcome, counts, escape(run.source))
    results.print(table)


@cli.command("app")
def app(
    port: Annotated[int, typer.Option("--port", min=1, max=65535)] = 8501,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Serve only.")] = False,
) -> None:
    """Open the app in the browser."""
    page = Path(__file__).resolve().parents[1] / "app" / "main.py"
    command = [
        sys.executable, "-m", "streamlit", "run", str(page), "--server.port", str(port), "--server.address", "localhost",
        "--server.headless", str(no_browser).lower(), "--server.fileWatcherType", "none",
        "--browser.gatherUsageStats", "false", "--client.toolbarMode", "minimal",
    ]  # fmt: skip
    try:
        raise typer.Exit(subprocess.run(command, env={**os.environ, "KB_HOME": str(_settings.home)}, check=False).returncode)
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


def parse_years(text: str) -> tuple[int | None, int | None]:
    """`2019`, `2019..2023`, `2019..` or `..2023` as first and last year."""
    if not text:
        return (None, None)
    first, dots, last = text.partition("..")
    try:
        return (int(first) if first else None, int(last) if last else None) if dots else (int(first), int(first))
    except ValueError:
        raise QueryError(f"{text!r} is no range of years, such as 2019 or 2019..2023.") from None


def _print_json(value: Any) -> None:  # noqa: ANN401
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=1) + "\n")


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; the library's errors become one line on stderr and exit code 1, wrong use 2."""
    run: Callable[..., Any] = cli
    try:
        run(args=arguments)
    except (QueryError, IdentifierError) as error:
        messages.print(escape(str(error)), style="red", soft_wrap=True)
        sys.exit(2)
    except KnowledgeBaseError as error:
        messages.print(escape(str(error)), style="red", soft_wrap=True)
        sys.exit(1)
    except BrokenPipeError:  # `kb search … | head`
        sys.stderr.close()
        sys.exit(0)
