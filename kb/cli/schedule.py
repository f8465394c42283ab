"""`kb schedule …`: the jobs of the configuration file, at their times."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from kb.cli.console import Json, home, print_json, results, say
from kb.errors import QueryError

if TYPE_CHECKING:
    from ingest.jobs.configuration import Job

commands = typer.Typer(no_args_is_help=True, help="Run jobs at their times, as config.toml in the knowledge base's folder says.")


@commands.command("run")
def run(
    due: Annotated[bool, typer.Option("--due", help="Run what is due, and end; for a timer.")] = False,
    job: Annotated[str, typer.Option("--job", help="Run this job of config.toml now, and end.")] = "",
) -> None:
    """Run the jobs at their times, until stopped."""
    from ingest.jobs.configuration import Configuration
    from ingest.jobs.schedule import JobHistory, run_due, run_scheduler

    place = home()
    if job:
        for known in Configuration.of(place).jobs:
            if known.run == job:
                raise typer.Exit(JobHistory(place).run(known, _command))
        raise QueryError(f"config.toml has no job {job!r}; `kb schedule show` lists them.")
    if due:
        ended = run_due(place)
        for known, code in ended:
            _tell(known, code)
        raise typer.Exit(1 if any(code for _, code in ended) else 0)
    if not Configuration.of(place).jobs:
        say(f"{place.path / 'config.toml'} has no [[job]] yet; it is looked at again and again.", "yellow")
    try:
        run_scheduler(place, _tell)
    except KeyboardInterrupt:
        say("Stopped.")


@commands.command("show")
def show(as_json: Json = False) -> None:
    """The jobs, when they run next, and how they ended last."""
    from ingest.jobs.configuration import Configuration
    from ingest.jobs.schedule import JobHistory

    place = home()
    jobs = Configuration.of(place).jobs
    history = JobHistory(place)
    rows = []
    for job in jobs:
        record = history.record(job)
        now = datetime.now(UTC)
        next_run = now.astimezone() if history.due(job, now) else job.next_time(now).astimezone()
        shown = "running" if history.running(job) else record.shown
        rows.append((job.run, next_run.isoformat(timespec="minutes"), record.started, shown))
    if as_json:
        print_json([dict(zip(("run", "next", "last_start", "outcome"), row, strict=True)) for row in rows])
        return
    if not rows:
        say(f"{place.path / 'config.toml'} has no [[job]].", "yellow")
        return
    table = Table("job", "next run", "last start (UTC)", "last outcome")
    for command, next_time, started, shown in rows:
        table.add_row(escape(command), next_time[:16].replace("T", " "), started[:16].replace("T", " "), shown)
    results.print(table)


@commands.command("install")
def install() -> None:
    """Let the machine's own timer run the jobs: systemd, or cron where there is none."""
    from ingest.jobs.configuration import Configuration
    from ingest.jobs.system_timers import install as install_timer

    Configuration.of(home())
    say(install_timer(home()))


def _command(arguments: Sequence[str]) -> int:
    """Runs a command of `kb` in this process; returns its exit code."""
    from kb.cli import main

    try:
        main(["--home", str(home().path), *arguments])
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _tell(job: Job, code: int) -> None:
    stamp = datetime.now().astimezone().isoformat(" ", "minutes")[:16]
    say(f"{stamp}  kb {job.run}: {'done' if code == 0 else f'failed with exit code {code}'}", "" if code == 0 else "red")
    sys.stderr.flush()
