"""The command line. Results go to stdout, messages and progress to stderr; 0 done, 1 failed or in part, 2 wrong use.

The one package of `kb` that knows the jobs in `ingest`: every command is a few lines over the library.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from kb.cli import backup, base, digest, doctor, evaluate, export, ingest, lists, match, recommend, schedule, search, train
from kb.cli.console import say, settings
from kb.errors import IdentifierError, KnowledgeBaseError, QueryError

cli = typer.Typer(
    no_args_is_help=True, add_completion=False, help="A paper knowledge base: notes and arXiv in, papers like X out."
)
cli.add_typer(ingest.commands, name="ingest")
cli.command()(ingest.index)
cli.command()(search.search)
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
cli.command()(base.status)
cli.command()(doctor.doctor)
cli.command()(backup.backup)
cli.command()(backup.restore)
cli.command()(base.app)


@cli.callback()
def _options(
    home: Annotated[Path, typer.Option("--home", envvar="KB_HOME", help="The knowledge base's folder.", file_okay=False)] = Path(
        "data/kb"
    ),
) -> None:
    settings.home = home


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; the library's errors become one line on stderr and exit code 1, wrong use 2."""
    try:
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
