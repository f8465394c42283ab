"""`kb digest`: a month's selection."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from kb.cli.console import home, library, say
from kb.cli.export import write_output
from kb.errors import QueryError


def digest(
    month: Annotated[str, typer.Option("--month", help="Such as 2025-10.")],
    form: Annotated[str, typer.Option("--format", help="markdown, html or atom.")] = "markdown",
    k: Annotated[int, typer.Option("-k", min=1, max=100, help="How many papers.")] = 12,
    output: Annotated[Path | None, typer.Option("-o", dir_okay=False, help="Replaced whole, or not at all.")] = None,
) -> None:
    """A month's papers worth reading, each with the reason, and what the month was about."""
    from kb.formats.digest import DIGEST_WRITERS
    from kb.insights.digest import make_digest, parse_month

    if form not in DIGEST_WRITERS:
        raise QueryError(f"There is no format {form!r}; it is one of {', '.join(DIGEST_WRITERS)}.")
    first = parse_month(month)
    generation = home().open()
    try:
        found = make_digest(generation, first, library().paper_ids(), k)
    finally:
        generation.close()
    data = DIGEST_WRITERS[form](found).encode("utf-8", "replace")
    if output is None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    write_output(output, data)
    say(f"Wrote {len(found.choices)} papers to {output}.")
