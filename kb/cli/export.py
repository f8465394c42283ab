"""`kb export`: a reading list for other programs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from kb.cli.console import choices, home, library, say
from kb.errors import QueryError, SourceError
from kb.files import replace_file


def export(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A reading list.")],
    form: Annotated[str, typer.Option("--format", help="bibtex, ris, csl-json, csv, markdown, obsidian or atom.")],
    output: Annotated[Path | None, typer.Option("-o", dir_okay=False, help="Replaced whole, or not at all.")] = None,
) -> None:
    """Write a reading list as BibTeX, RIS, CSL-JSON, CSV, Markdown or Atom."""
    from kb.formats import WRITERS, references_of

    if form not in WRITERS:
        raise QueryError(f"There is no format {form!r}; it is one of {', '.join(WRITERS)}.")
    reading_list = library().read_list(name)
    generation = home().open() if home().exists() else None
    try:
        references = references_of(reading_list, generation.catalogue if generation else None, choices())
    finally:
        if generation:
            generation.close()
    data = WRITERS[form](reading_list.name, references).encode("utf-8", "replace")
    if output is None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    write_output(output, data)
    say(f"Wrote {len(references)} papers to {output}.")


def write_output(path: Path, data: bytes) -> None:
    """Write the file that `-o` names, whole or not at all; an equal one is left alone. Raises SourceError where it cannot be."""
    try:
        if not path.is_file() or path.read_bytes() != data:
            replace_file(path, data)
    except OSError as error:
        raise SourceError(f"{path} cannot be written: {error.strerror}.") from error
