"""The schedule: what the configuration says, when a job is due, never twice at once, and what the machine's timer gets."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from filelock import FileLock

import ingest.jobs.schedule
from ingest.jobs.configuration import Configuration, Job
from ingest.jobs.schedule import JobHistory, JobRecord, run_due
from ingest.jobs.system_timers import install
from kb.errors import BusyError, StoreError
from kb.jobs.background import program
from kb.store import Home

Run = Callable[..., subprocess.CompletedProcess[str]]
JOB = Job("ingest oai", "06:30", "mon-fri")
WEDNESDAY = datetime(2024, 3, 13, 12, tzinfo=UTC)


@pytest.fixture
def configure(home: Home) -> Callable[[str], None]:
    home.path.mkdir(parents=True)

    def write(text: str) -> None:
        (home.path / "config.toml").write_text(text, encoding="utf-8")

    return write


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[datetime], None]:
    """Sets the time that the history notes."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()

    def put(moment: datetime) -> None:
        monkeypatch.setattr("ingest.jobs.schedule._now", lambda: moment.isoformat(timespec="microseconds"))

    return put


# The configuration ---------------------------------------------------------------------------------------------------------


def test_what_is_followed_and_the_jobs(home: Home, configure: Callable[[str], None]) -> None:
    configure(
        'categories = ["cs.CL", "hep-th"]\n[[job]]\nrun = "ingest oai"\nat = "06:30"\ndays = "Mon-Fri"\n'
        '[[job]]\nrun = "ingest notes \'/my notes\'"\nat = "7:05"\n'
    )
    assert Configuration.of(home) == Configuration(("cs.CL", "hep-th"), (JOB, Job("ingest notes '/my notes'", "7:05", "mon-sun")))
    assert Configuration.of(home).jobs[1].arguments == ["ingest", "notes", "/my notes"]


def test_no_file_is_an_empty_configuration(home: Home) -> None:
    assert Configuration.of(home) == Configuration()


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ('categories = ["cs.CL"\n', 0, r"is no TOML: .*\(at .*"),
        ("category = 1\n", 1, "'category' is unknown; known are 'categories' and [[job]]"),
        ('\ncategories = "cs.CL"\n', 2, 'categories is a list, such as ["cs.CL", "cs.LG"]'),
        ('categories = ["CL"]\n', 1, "'CL' is no arXiv category, such as cs.CL, or archive, such as cs"),
        ('[job]\nrun = "index"\n', 1, "a job begins with [[job]], in double brackets"),
        ('[[job]]\nat = "6:00"\n', 1, "the job has no 'run'"),
        ('[[job]]\nrun = "index"\nat = "6:00"\n[[job]]\nrun = "ingest oai"\nat = "24:00"\n', 6, "'24:00' is no time of day"),
        ('[[job]]\nrun = "index"\nat = 6\n', 3, "at is a text in quotes, such as '06:30'"),
        ('[[job]]\nrun = "index"\nat = "6:00"\ndays = "workdays"\n', 4, "'workdays' are no days"),
        ('[[job]]\nrun = "index"\nat = "6:00"\ntime = "x"\n', 4, "'time' is unknown; a job has 'run', 'at' and 'days'"),
        ('[[job]]\nrun = "kb index"\nat = "6:00"\n', 2, "run is a command without 'kb' before it"),
        ('[[job]]\nrun = "index"\nat = "6:00"\n[[job]]\nrun = "index"\nat = "7:00"\n', 5, "'index' is there twice"),
    ],
)
def test_a_bad_file_is_told_with_its_line(
    home: Home, configure: Callable[[str], None], text: str, line: int, reason: str
) -> None:
    configure(text)
    with pytest.raises(StoreError) as error:
        Configuration.of(home)
    if line:
        assert str(error.value).startswith(f"{home.path / 'config.toml'}:{line}: {reason}")
    else:
        assert "config.toml is no TOML" in str(error.value)
        assert "line 2" in str(error.value) or "end of document" in str(error.value)


# When a job is due ---------------------------------------------------------------------------------------------------------


def test_a_job_is_due_once_for_a_time_that_came(home: Home, at: Callable[[datetime], None]) -> None:
    history = JobHistory(home)
    at(WEDNESDAY)
    assert not history.due(JOB, WEDNESDAY)  # seen for the first time: it has missed nothing
    thursday = datetime(2024, 3, 14, 6, 30, tzinfo=UTC)
    assert not history.due(JOB, thursday - timedelta(seconds=1))
    assert history.due(JOB, thursday)
    at(thursday)
    assert history.run(JOB, lambda arguments: 0 if arguments == ["ingest", "oai"] else 9) == 0
    assert not history.due(JOB, thursday + timedelta(hours=23))
    # Off from Thursday to the Monday after next: caught up once, not seven times.
    late = datetime(2024, 3, 25, 9, tzinfo=UTC)
    assert history.due(JOB, late)
    at(late)
    history.run(JOB, lambda _: 1)
    assert not history.due(JOB, late)
    assert history.record(JOB).shown == "failed with exit code 1"


def test_the_days_of_a_job(at: Callable[[datetime], None]) -> None:
    at(WEDNESDAY)
    friday = datetime(2024, 3, 15, 7, tzinfo=UTC)
    assert JOB.next_time(friday) == datetime(2024, 3, 18, 6, 30, tzinfo=UTC)
    assert Job("x", "23:00", "tue,sat-sun").next_time(friday) == datetime(2024, 3, 16, 23, 0, tzinfo=UTC)


@pytest.mark.parametrize("at_time", ["00:00", "00:30", "01:30", "02:30", "03:00", "23:59"])
@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "America/Havana", "Australia/Lord_Howe", "UTC"])
def test_a_day_has_one_time_of_a_job_through_both_clock_changes(monkeypatch: pytest.MonkeyPatch, zone: str, at_time: str) -> None:
    """Havana skips midnight itself, and has 00:30 twice; Lord Howe changes by half an hour."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        times = [Job("x", at_time).next_time(datetime(2025, 12, 31, 12, tzinfo=UTC))]
        while len(times) < 365:
            times.append(Job("x", at_time).next_time(times[-1]))
        assert [moment.date() for moment in times] == [times[0].date() + timedelta(days=n) for n in range(365)]
        # All at that time of day, but for the one that the clock skips: later by what it skips.
        planned = [datetime.combine(moment.date(), datetime.strptime(at_time, "%H:%M").time()) for moment in times]
        late = [moment.replace(tzinfo=None) - plan for moment, plan in zip(times, planned, strict=True)]
        assert sorted(set(late)) in ([timedelta()], [timedelta(), timedelta(hours=1)], [timedelta(), timedelta(minutes=30)])
        assert sum(bool(by) for by in late) <= 1
        mondays = datetime(2026, 3, 6, 12, tzinfo=UTC)
        for expected in (9, 16, 23, 30):
            mondays = Job("x", at_time, "mon").next_time(mondays)
            assert (mondays.month, mondays.day) == (3, expected)
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_killed_job_is_run_again(home: Home, at: Callable[[datetime], None]) -> None:
    history = JobHistory(home)
    at(WEDNESDAY)
    history.record(JOB)

    def killed(_: object) -> int:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        history.run(JOB, killed)
    assert history.record(JOB) == JobRecord(
        seen=WEDNESDAY.isoformat(timespec="microseconds"), started=history.record(JOB).started
    )
    assert history.due(JOB, WEDNESDAY)
    assert history.record(JOB).shown == "running, or killed, since 2024-03-13T12:00"


def test_a_clock_set_back_keeps_no_job_waiting(home: Home, at: Callable[[datetime], None]) -> None:
    history = JobHistory(home)
    at(WEDNESDAY + timedelta(days=400))
    history.run(JOB, lambda _: 0)
    assert history.due(JOB, WEDNESDAY)
    at(WEDNESDAY)
    history.run(JOB, lambda _: 0)
    assert not history.due(JOB, WEDNESDAY)
    assert history.due(JOB, WEDNESDAY + timedelta(days=1))


def test_a_clock_set_back_during_a_run_makes_it_no_killed_one(home: Home, at: Callable[[datetime], None]) -> None:
    history = JobHistory(home)
    at(WEDNESDAY + timedelta(minutes=30))

    def set_back(_: object) -> int:
        assert history.record(JOB).unfinished
        at(WEDNESDAY)
        return 0

    history.run(JOB, set_back)
    assert history.record(JOB).shown == "done"
    assert not history.due(JOB, WEDNESDAY)


def test_a_job_never_runs_twice_at_once(home: Home) -> None:
    history = JobHistory(home)
    assert not history.running(JOB)

    def again(_: object) -> int:
        assert JobHistory(home).running(JOB)
        with pytest.raises(BusyError, match="`kb ingest oai` is running already"):
            JobHistory(home).run(JOB, lambda _: 0)
        return 0

    assert history.run(JOB, again) == 0


def test_a_damaged_note_says_what_to_do(home: Home) -> None:
    history = JobHistory(home)
    history.record(JOB)
    (note,) = (home.path / "schedule").glob("*.json")
    note.write_text("{")
    with pytest.raises(StoreError, match="Delete it: the job is then taken for a new one"):
        history.record(JOB)


# Running -------------------------------------------------------------------------------------------------------------------


def overdue(home: Home, *jobs: str) -> None:
    """Notes that jobs of `at = "00:00"` were last run two days ago."""
    history = JobHistory(home)
    for run in jobs:
        job = Job(run, "00:00")
        history.record(job)
        (note,) = (p for p in (home.path / "schedule").glob("*.json") if p == history._path(job))
        before = (datetime.now(UTC) - timedelta(days=2)).isoformat(timespec="microseconds")
        note.write_text(json.dumps({"seen": before, "started": before, "finished": before, "exit_code": 0}))


def test_due_jobs_run_in_turn_and_their_outcome_is_shown(home: Home, configure: Callable[[str], None], kb: Run) -> None:
    configure('[[job]]\nrun = "doctor"\nat = "00:00"\n[[job]]\nrun = "lists"\nat = "00:00"\n')
    overdue(home, "doctor", "lists")
    done = kb("schedule", "run", "--due")
    assert done.returncode == 1  # `kb doctor` has no knowledge base to look at
    assert "kb doctor: failed with exit code 1" in done.stderr
    assert "kb lists: done" in done.stderr
    shown = json.loads(kb("schedule", "show", "--json").stdout)
    assert [(row["run"], row["outcome"]) for row in shown] == [("doctor", "failed with exit code 1"), ("lists", "done")]
    assert all(datetime.fromisoformat(row["next"]) > datetime.now(UTC) for row in shown)
    again = kb("schedule", "run", "--due")
    assert (again.returncode, again.stderr) == (0, "")


def test_a_job_that_another_process_runs_is_left_to_it(home: Home, configure: Callable[[str], None]) -> None:
    configure('[[job]]\nrun = "lists"\nat = "00:00"\n')
    overdue(home, "lists")
    path = JobHistory(home)._path(Job("lists", "00:00")).with_suffix(".lock")
    with FileLock(path):
        assert run_due(home) == []
    assert [(job.run, code) for job, code in run_due(home)] == [("lists", 0)]


def test_the_foreground_scheduler_catches_up_and_survives_a_kill(home: Home, configure: Callable[[str], None], kb: Run) -> None:
    configure('[[job]]\nrun = "lists"\nat = "00:00"\n')
    for _ in range(2):
        overdue(home, "lists")
        scheduler = subprocess.Popen(program(home, "schedule", "run"), stderr=subprocess.PIPE, text=True)
        try:
            assert scheduler.stderr is not None
            assert any("kb lists: done" in line for line in scheduler.stderr)
            second = kb("schedule", "run")
            assert second.returncode == 1
            assert "A scheduler is running" in second.stderr
        finally:
            scheduler.send_signal(signal.SIGKILL)
            scheduler.wait()
            if scheduler.stderr is not None:
                scheduler.stderr.close()


def test_a_job_that_is_killed_is_not_started_again_at_once(
    home: Home, configure: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    configure('[[job]]\nrun = "lists"\nat = "00:00"\n')
    overdue(home, "lists")
    suicide = [sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"]
    monkeypatch.setattr(ingest.jobs.schedule, "program", lambda *_: suicide)
    assert [code for _, code in run_due(home)] == [-9]
    assert run_due(home) == []


def test_a_job_by_name(home: Home, configure: Callable[[str], None], kb: Run) -> None:
    configure('[[job]]\nrun = "lists"\nat = "00:00"\n')
    assert kb("schedule", "run", "--job", "lists").returncode == 0
    unknown = kb("schedule", "run", "--job", "index")
    assert unknown.returncode == 2
    assert "config.toml has no job 'index'" in unknown.stderr
    assert JobHistory(home).record(Job("lists", "00:00")).shown == "done"


# The machine's own timer ---------------------------------------------------------------------------------------------------


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Puts commands on the path of a machine that has no others."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))

    def put(name: str, script: str) -> Path:
        path = folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return tmp_path / f"{name}.log"

    return put


def test_a_systemd_timer(home: Home, machine: Callable[[str, str], Path], tmp_path: Path) -> None:
    log = tmp_path / "systemctl.log"
    machine("systemctl", f'echo "$@" >> {log}')
    told = install(home)
    (timer,) = (tmp_path / "settings" / "systemd" / "user").glob("*.timer")
    assert str(timer) in told
    assert log.read_text().splitlines() == [
        "--user show-environment", "--user daemon-reload", f"--user enable --now {timer.name}",
    ]  # fmt: skip
    assert "Persistent=true" in timer.read_text()
    service = timer.with_suffix(".service").read_text()
    assert f'"--home" "{home.path.resolve()}" "schedule" "run" "--due"' in service
    assert "\nNice=10\nCPUWeight=20\n" in service
    install(home)  # once more replaces it
    assert len(list(timer.parent.iterdir())) == 2


def test_cron_where_there_is_no_systemd(home: Home, machine: Callable[[str, str], Path], tmp_path: Path) -> None:
    table = tmp_path / "table"
    table.write_text("5 4 * * * theirs\n")
    machine("systemctl", "exit 1")
    machine("crontab", f'if [ "$1" = -l ]; then /bin/cat {table}; else /bin/cat > {table}.new; /bin/mv {table}.new {table}; fi')
    install(home)
    install(home)
    theirs, ours = table.read_text().splitlines()
    assert theirs == "5 4 * * * theirs"
    assert ours.startswith("*/5 * * * * nice -n 10 ")
    assert f"--home {home.path.resolve()} schedule run --due # paper-kb-" in ours


def test_a_machine_with_neither(home: Home, machine: Callable[[str, str], Path]) -> None:
    machine("unrelated", "exit 0")
    with pytest.raises(StoreError, match="Keep `kb schedule run` running instead"):
        install(home)


def test_the_line_that_cron_gets_runs(home: Home, configure: Callable[[str], None]) -> None:
    configure("")
    done = subprocess.run(program(home, "schedule", "run", "--due"), env=os.environ | {"PATH": "/bin"}, check=False)
    assert done.returncode == 0
