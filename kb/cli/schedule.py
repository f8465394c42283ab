"""`kb schedule …`: the jobs of the configuration file, at their times."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from kb.cli.console import Json, knowledge_base, print_json, results, say, settings

if TYPE_CHECKING:
    from ingest.jobs.configuration import Job

commands = typer.Typer(no_args_is_help=True, help="Run jobs at the times that config.toml in the knowledge base's folder names.")


@commands.command("run")
def run(
    due: Annotated[bool, typer.Option("--due", help="Run the jobs that are due, then end; for a timer.")] = False,
    job: Annotated[str, typer.Option("--job", help="Run this job of config.toml now, then end.")] = "",
) -> None:
    """Run the jobs at their times, until stopped."""
    base = knowledge_base()
    if job:
        raise typer.Exit(base.schedule_run_job(job, _command))
    if due:
        ended = base.schedule_run_due()
        for known, code in ended:
            _tell(known, code)
        raise typer.Exit(1 if any(code for _, code in ended) else 0)
    if not base.schedule_show():
        say(f"{base.path / 'config.toml'} has no [[job]] yet; it is read again every 20 seconds.", "yellow")
    try:
        base.schedule_run(_tell)
    except KeyboardInterrupt:
        say("Stopped.")


@commands.command("show")
def show(as_json: Json = False) -> None:
    """List the jobs, when they run next, and how they ended last."""
    base = knowledge_base()
    jobs = base.schedule_show()
    if as_json:
        print_json([job.as_json() for job in jobs])
        return
    if not jobs:
        say(f"{base.path / 'config.toml'} has no [[job]].", "yellow")
        return
    table = Table("job", "next run", "last start (UTC)", "last outcome")
    for job in jobs:
        started = job.last_start[:16].replace("T", " ")
        table.add_row(job.run, f"{job.next_run:%Y-%m-%d %H:%M}", started, job.outcome)
    results.print(table)


@commands.command("install")
def install() -> None:
    """Let the machine's own timer run the jobs: systemd, or cron if there is no systemd."""
    say(knowledge_base().schedule_install())


def _command(arguments: Sequence[str]) -> int:
    """Run a command of `kb` in this process; return its exit code."""
    from kb.cli import main

    try:
        main(["--home", str(settings.home), *arguments])
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _tell(job: Job, code: int) -> None:
    stamp = datetime.now().astimezone().isoformat(" ", "minutes")[:16]
    say(f"{stamp}  kb {job.run}: {'done' if code == 0 else f'failed with exit code {code}'}", "" if code == 0 else "red")
    sys.stderr.flush()
