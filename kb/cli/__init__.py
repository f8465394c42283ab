"""The command line: reads options, calls `kb.KnowledgeBase`, prints.

Results go to stdout, messages and progress to stderr. Exit code 0: done; 1: failed or done in part; 2: wrong use.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from kb import __version__
from kb.api.knowledge_base import DEFAULT_HOME
from kb.cli import (
    app,
    backup,
    digest,
    doctor,
    evaluate,
    export,
    ingest,
    lists,
    match,
    mcp,
    recommend,
    schedule,
    search,
    status,
    train,
)
from kb.cli.console import say, settings
from kb.errors import IdentifierError, KnowledgeBaseError, QueryError

cli = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="A paper knowledge base: your notes and arXiv go in, “find papers like X” comes out, each paper with its code.",
)
cli.add_typer(ingest.commands, name="ingest")
cli.command()(ingest.index)
cli.command(cls=search.QueryCommand)(search.search)
cli.command()(search.like)
cli.command()(search.show)
cli.command()(match.match)
cli.add_typer(lists.commands, name="list")
cli.command()(lists.lists)
cli.command()(export.export)
cli.command()(recommend.recommend)
cli.command()(digest.digest)
cli.add_typer(schedule.commands, name="schedule")
cli.command("eval")(evaluate.evaluate)
cli.add_typer(train.commands, name="train")
cli.command()(status.status)
cli.command()(doctor.doctor)
cli.command()(backup.backup)
cli.command()(backup.restore)
cli.command()(app.app)
cli.command()(mcp.mcp)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@cli.callback()
def _options(
    home: Annotated[
        Path, typer.Option("--home", envvar="KB_HOME", help="The folder of the knowledge base.", file_okay=False)
    ] = Path(DEFAULT_HOME),
    version: Annotated[  # noqa: ARG001
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    settings.home = home


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line. An error of the library becomes one line on stderr and exit code 1; wrong use gives 2."""
    try:
        for argument in sys.argv[1:] if arguments is None else arguments:
            if not argument.isascii() and re.search("[\ud800-\udfff]", argument):
                raise QueryError(f"{os.fsencode(argument)!r} is no UTF-8. Rename the file, or write the text in UTF-8.")
        cli(args=arguments)
    except (QueryError, IdentifierError) as error:
        say(str(error), "red")
        sys.exit(2)
    except KnowledgeBaseError as error:
        say(str(error), "red")
        sys.exit(1)
    except BrokenPipeError:  # `kb search … | head`
        os.close(sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:  # a full disk, or a file that may not be read or written
        say(f"{error.filename or 'A file'} cannot be used: {error.strerror or error}. Nothing was published.", "red")
        sys.exit(1)
