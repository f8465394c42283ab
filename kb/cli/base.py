"""`kb status` and `kb app`: the knowledge base as a whole."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from kb.cli.console import Json, home, print_json, results, say, settings
from kb.cli.match import tell_offers
from kb.text.plurals import describe_counts, pluralize


def status(as_json: Json = False) -> None:
    """What the knowledge base holds, and what the last jobs did."""
    generation = home().open()
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
                "window": r.span,
                "requests": r.requests,
                "retries": r.retries,
            }
            for r in runs
        ]
        facts = {name: getattr(manifest, name) for name in ("papers", "notes", "code_links", "embedded", "generation")}
        print_json(facts | {"model": manifest.model_id, "runs": rows})
        return
    results.print(
        f"{pluralize(manifest.papers, 'paper')}, {pluralize(manifest.notes, 'note')}, "
        f"{pluralize(manifest.code_links, 'code link')}; {manifest.embedded:,} embedded with "
        f"{manifest.model_id or 'no model yet'}; generation {manifest.generation}"
    )
    if manifest.embedded < manifest.papers:
        say(f"{pluralize(manifest.papers - manifest.embedded, 'paper')} not embedded yet: `kb index`.", "yellow")
    tell_offers()
    table = Table("started", "job", "outcome", "counts", "source")
    for run in runs:
        table.add_row(
            run.started.isoformat(" ", "seconds"), run.job, run.outcome, describe_counts(run.counts), escape(run.source)
        )
    results.print(table)


def app(
    port: Annotated[int, typer.Option("--port", min=1, max=65535)] = 8501,
    address: Annotated[
        str, typer.Option("--address", help="Where to listen; 0.0.0.0 opens the app to others: set up sign-in first.")
    ] = "localhost",
    read_only: Annotated[bool, typer.Option("--read-only", help="Only show: no button changes anything.")] = False,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Serve only.")] = False,
) -> None:
    """Open the app in the browser."""
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "app.server", "--port", str(port), "--address", address]
    # This copy of the code, whatever folder `kb app` is called from: that may hold a `kb` or `app` of its own.
    path = os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH"))))
    settled = {
        "KB_HOME": str(settings.home),
        "KB_READ_ONLY": "1" if read_only else "",
        "PYTHONPATH": path,
        "PYTHONSAFEPATH": "1",
    }
    # The server takes this process's place: what ends `kb app` ends it.
    os.execve(sys.executable, command if no_browser else [*command, "--open"], os.environ | settled)
