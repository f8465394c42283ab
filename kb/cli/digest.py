"""`kb digest`: the papers of a month most worth reading."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kb.cli.console import knowledge_base, say
from kb.cli.export import print_text, write_output
from kb.errors import QueryError


def digest(
    month: Annotated[str, typer.Option("--month", help="Such as 2025-10.")],
    form: Annotated[str, typer.Option("--format", help="markdown, html or atom.")] = "markdown",
    k: Annotated[int, typer.Option("-k", min=1, max=100, help="How many papers.")] = 12,
    output: Annotated[Path | None, typer.Option("-o", dir_okay=False, help="A file, replaced whole or not at all.")] = None,
) -> None:
    """Select the papers of a month most worth reading, each with the reason, and say what the month was about."""
    from kb.formats.digest import DIGEST_WRITERS

    if form not in DIGEST_WRITERS:
        raise QueryError(f"There is no format {form!r}; it is one of {', '.join(DIGEST_WRITERS)}.")
    found = knowledge_base().digest(month, k)
    text = DIGEST_WRITERS[form](found)
    if output is None:
        print_text(text)
        return
    write_output(output, text)
    say(f"Wrote {len(found.choices)} papers to {output}.")
