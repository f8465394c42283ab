"""`kb export`: a reading list as a file for other programs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from kb.cli.console import knowledge_base, say
from kb.errors import SourceError
from kb.files import replace_file


def export(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A reading list.")],
    form: Annotated[str, typer.Option("--format", help="bibtex, ris, csl-json, csv, markdown, obsidian or atom.")],
    output: Annotated[Path | None, typer.Option("-o", dir_okay=False, help="A file, replaced atomically, or a pipe.")] = None,
) -> None:
    """Write a reading list as BibTeX, RIS, CSL-JSON, CSV, Markdown or Atom."""
    text = knowledge_base().export(name, form)
    if output is None:
        print_text(text)
        return
    write_output(output, text)
    say(f"Wrote the list {name!r} to {output}.")


def print_text(text: str) -> None:
    """Print the content of a file on stdout, byte for byte."""
    sys.stdout.buffer.write(_encoded(text))
    sys.stdout.buffer.flush()


def write_output(path: Path, text: str) -> None:
    """Write the file that `-o` names. Raises SourceError if it cannot be written.

    A regular file is replaced whole or not at all, and keeps its permissions; one of the same content is left alone.
    Anything else, such as a pipe or `/dev/stdout`, is written to.
    """
    data = _encoded(text)
    try:
        if (path.exists() and not path.is_file()) or path.absolute().is_relative_to("/dev"):
            with path.open("wb") as file:
                file.write(data)
        elif not path.exists() or path.read_bytes() != data:
            replace_file(path, data)
    except OSError as error:
        raise SourceError(f"{path} cannot be written: {error.strerror}.") from error


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "replace")
