"""The schedule: what the configuration says, when a job is due, never twice at once, and what the machine's timer gets."""

from __future__ import annotations

import json
import os
import shutil
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
Put = Callable[[str, str], Path]
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
    """Set the time that the history notes."""
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
        ("category = 1\n", 1, "'category' is unknown; known are 'categories', 'contact' and [[job]]"),
        ('\ncategories = "cs.CL"\n', 2, 'categories is a list, such as ["cs.CL", "cs.LG"]'),
        ('categories = ["CL"]\n', 1, "'CL' is no arXiv category, such as cs.CL, or archive, such as cs"),
        ('contact = "me"\n', 1, "contact is an e-mail address or a web address, such as 'you@example.org'"),
        ('contact = "me@example.org\\r\\nX: y"\n', 1, "contact is an e-mail address or a web address"),
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
    history.run(JOB, lambda _: 2)
    assert not history.due(JOB, late + timedelta(hours=1))  # wrong use: it would fail again
    assert history.record(JOB).shown == "failed with exit code 2"


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
    noon = WEDNESDAY.isoformat(timespec="microseconds")
    assert history.record(JOB) == JobRecord(seen=noon, started=noon, failures=1)
    assert not history.due(JOB, WEDNESDAY + timedelta(minutes=4))
    assert history.due(JOB, WEDNESDAY + timedelta(minutes=5))
    assert history.record(JOB).shown == "running, or killed, since 2024-03-13T12:00"


def test_a_failed_job_is_tried_again_with_growing_pauses_until_its_next_time(home: Home, at: Callable[[datetime], None]) -> None:
    history = JobHistory(home)
    began = datetime(2024, 3, 14, 6, 30, tzinfo=UTC)
    at(began - timedelta(hours=1))
    history.record(JOB)
    moment, tried = began, []
    while moment < began + timedelta(days=1):
        assert history.due(JOB, moment)
        tried.append(moment - began)
        at(moment)
        history.run(JOB, lambda _: 1)
        assert not history.due(JOB, moment)
        moment = history.next_run(JOB, moment)
    minutes = [0, 5, 15, 35, 75, 155, 315, 635, 1275]
    assert tried == [timedelta(minutes=n) for n in minutes]
    assert moment == began + timedelta(days=1)  # its next time, which begins anew
    at(moment)
    history.run(JOB, lambda _: 1)
    assert history.next_run(JOB, moment) == moment + timedelta(minutes=5)
    at(moment + timedelta(minutes=5))
    history.run(JOB, lambda _: 0)
    assert history.next_run(JOB, moment) == moment + timedelta(days=3)  # from Friday to Monday
    assert history.record(JOB).failures == 0


def test_a_record_of_an_earlier_version_is_read(home: Home, at: Callable[[datetime], None]) -> None:
    history = JobHistory(home)
    at(WEDNESDAY)
    history.record(JOB)
    (note,) = (home.path / "schedule").glob("*.json")
    note.write_text(json.dumps({"seen": WEDNESDAY.isoformat(), "started": WEDNESDAY.isoformat(), "finished": "", "exit_code": 0}))
    assert history.due(JOB, WEDNESDAY + timedelta(minutes=5))


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
    assert datetime.fromisoformat(shown[0]["next"]) < datetime.now(UTC) + timedelta(minutes=6)  # it failed
    again = kb("schedule", "run", "--due")
    assert (again.returncode, again.stderr) == (0, "")


def test_a_job_that_another_process_runs_is_left_to_it(home: Home, configure: Callable[[str], None]) -> None:
    configure('[[job]]\nrun = "lists"\nat = "00:00"\n')
    overdue(home, "lists")
    path = JobHistory(home)._path(Job("lists", "00:00")).with_suffix(".lock")
    with FileLock(path):
        assert run_due(home) == []
    assert [(job.run, code) for job, code in run_due(home)] == [("lists", 0)]


@pytest.mark.slow
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
    """Put commands on the path of a machine that has no others."""
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


def test_a_systemd_timer(home: Home, machine: Put, tmp_path: Path) -> None:
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


AWKWARD = '/models/50% "best" \\ $HOME'


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KB_MODEL", AWKWARD)
    monkeypatch.setenv("KB_PROGRESS_FILE", "/elsewhere")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example.org:3128")
    monkeypatch.setenv("GITHUB_TOKEN", "secret")
    monkeypatch.setenv("UNRELATED", "x")


@pytest.mark.usefixtures("variables")
def test_a_systemd_timer_carries_the_variables_it_was_installed_under(home: Home, tmp_path: Path, machine: Put) -> None:
    analyze = shutil.which("systemd-analyze", path="/usr/bin:/bin")
    machine("systemctl", "exit 0")
    install(home)
    (service,) = (tmp_path / "settings" / "systemd" / "user").glob("*.service")
    lines = [line for line in service.read_text().splitlines() if line.startswith("Environment=")]
    assert 'Environment="GITHUB_TOKEN=secret"' in lines
    assert 'Environment="HTTPS_PROXY=http://proxy.example.org:3128"' in lines
    assert 'Environment="KB_MODEL=/models/50%% \\"best\\" \\\\ $HOME"' in lines
    assert not any("KB_PROGRESS_FILE" in line or "UNRELATED" in line for line in lines)
    assert service.stat().st_mode & 0o777 == 0o600
    if analyze:
        done = subprocess.run([analyze, "verify", "--user", service], capture_output=True, text=True, check=False)
        assert service.name not in done.stderr, done.stderr


@pytest.mark.usefixtures("variables")
def test_cron_carries_the_variables_it_was_installed_under(home: Home, machine: Put, tmp_path: Path) -> None:
    table = tmp_path / "table"
    machine("systemctl", "exit 1")
    machine("crontab", f'if [ "$1" = -l ]; then exit 1; else /bin/cat > {table}; fi')
    install(home)
    (line,) = table.read_text().splitlines()
    # As cron reads it: the time, then a command for the shell, in which `\\%` stands for `%`.
    command = line.split(" ", 5)[5].replace("\\%", "%").partition("nice -n 10 ")[0] + "printenv KB_MODEL"
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"}, check=True)
    assert done.stdout == AWKWARD + "\n"


def test_a_variable_of_several_lines_is_refused(home: Home, machine: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    machine("systemctl", "exit 0")
    monkeypatch.setenv("KB_MODEL", "a\nExecStartPost=/bin/true")
    with pytest.raises(StoreError, match="KB_MODEL holds more than a line"):
        install(home)


@pytest.mark.skipif(
    shutil.which("systemctl") is None
    or subprocess.run(["systemctl", "--user", "show-environment"], capture_output=True, check=False).returncode != 0,
    reason="systemd runs no user services here",
)
def test_a_real_systemd_timer_runs_the_jobs(home: Home, configure: Callable[[str], None]) -> None:
    configure('[[job]]\nrun = "lists"\nat = "00:00"\n')
    overdue(home, "lists")
    timer = install(home).rsplit(" ", 1)[1].strip("`.")
    try:
        subprocess.run(["systemctl", "--user", "start", timer.replace(".timer", ".service")], check=True)
        assert JobHistory(home).record(Job("lists", "00:00")).shown == "done"
    finally:
        subprocess.run(["systemctl", "--user", "disable", "--now", timer], check=True)
        for path in (Path.home() / ".config" / "systemd" / "user").glob(timer.replace(".timer", ".*")):
            path.unlink()


def test_cron_where_there_is_no_systemd(home: Home, machine: Put, tmp_path: Path) -> None:
    table = tmp_path / "table"
    table.write_text("5 4 * * * theirs\n")
    machine("systemctl", "exit 1")
    machine("crontab", f'if [ "$1" = -l ]; then /bin/cat {table}; else /bin/cat > {table}.new; /bin/mv {table}.new {table}; fi')
    install(home)
    install(home)
    theirs, ours = table.read_text().splitlines()
    assert theirs == "5 4 * * * theirs"
    assert ours.startswith("*/5 * * * * ")
    assert " nice -n 10 " in ours
    assert f"--home {home.path.resolve()} schedule run --due # paper-kb-" in ours


def test_a_machine_with_neither(home: Home, machine: Put) -> None:
    machine("unrelated", "exit 0")
    with pytest.raises(StoreError, match="Keep `kb schedule run` running instead"):
        install(home)


def test_the_line_that_cron_gets_runs(home: Home, configure: Callable[[str], None]) -> None:
    configure("")
    done = subprocess.run(program(home, "schedule", "run", "--due"), env=os.environ | {"PATH": "/bin"}, check=False)
    assert done.returncode == 0
