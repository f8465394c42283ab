"""`kb status` and `kb app`: the knowledge base as a whole."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
import webbrowser
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
    page = Path(__file__).resolve().parents[2] / "app" / "main.py"
    # All else that Streamlit is told is in app/.streamlit/config.toml.
    command = [
        sys.executable, "-m", "streamlit", "run", str(page), "--server.port", str(port), "--server.address", address,
    ]  # fmt: skip
    environment = os.environ | {"KB_HOME": str(settings.home)} | ({"KB_READ_ONLY": "1"} if read_only else {})
    process = subprocess.Popen(command, env=environment)
    try:
        if not no_browser and _serves(process, port):
            webbrowser.open(f"http://localhost:{port}")
        code = process.wait()
    except KeyboardInterrupt:
        process.wait()  # it got the same Ctrl-C
        code = 0
    raise typer.Exit(code)


def _serves(process: subprocess.Popen[bytes], port: int) -> bool:
    """Waits until the app answers; False where it ended instead, as on a port that is taken."""
    while process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://localhost:{port}/_stcore/health", timeout=5):
                return True
        except OSError:
            time.sleep(0.1)
    return False
