"""Commands run apart: real processes that are looked at, stopped and killed; and the files that are dropped for them."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import record

from kb.errors import BusyError, SourceError
from kb.jobs.background import Background
from kb.jobs.uploads import commands_for, save_upload
from kb.progress import ProgressFile, ProgressState
from kb.store import Home

WAITS = ["schedule", "run"]  # a command that runs until it is stopped


@pytest.fixture
def background(home: Home) -> Iterator[Background]:
    background = Background(home)
    yield background
    background.stop()


def wait(condition: Callable[[], object]) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)


def test_commands_run_one_after_another_and_tell_what_they_did(
    home: Home, background: Background, write_snapshot: Callable[..., Path]
) -> None:
    assert (background.running(), background.last(), background.progress(), background.log()) == (False, None, None, "")
    path = write_snapshot([record(n) for n in range(30)])
    background.start("Reading it", [["ingest", "snapshot", str(path), "--no-index"], ["status"]])
    wait(lambda: not background.running())
    job = Background(home).last()  # another page, or the app started again
    assert job is not None
    assert (job.title, job.exit_code, job.stopped, bool(job.finished)) == ("Reading it", 0, False, True)
    assert "30 new" in background.log()
    assert "30 papers, 0 notes" in background.log()
    state = background.progress()
    assert state is not None
    assert (state.unit, state.share) == ("B", 1.0)


def test_one_that_fails_is_told_and_the_next_is_run_all_the_same(background: Background) -> None:
    background.start("Nothing there", [["show", "1706.03762"], ["schedule", "show"]])
    wait(lambda: not background.running())
    job = background.last()
    assert job is not None
    assert job.exit_code == 1
    assert "There is no knowledge base" in background.log()
    assert "has no [[job]]" in background.log()


def test_one_at_a_time_and_a_stop_leaves_nothing_running(home: Home, background: Background) -> None:
    background.start("Waiting", [WAITS, ["status"]])
    with pytest.raises(BusyError):
        Background(home).start("Another", [["status"]])
    wait(lambda: "no [[job]] yet" in background.log())
    job = background.last()
    assert job is not None
    assert os.getpriority(os.PRIO_PROCESS, job.process) == os.getpriority(os.PRIO_PROCESS, 0) + 5  # searches go first
    Background(home).stop()
    assert not background.running()
    job = background.last()
    assert job is not None
    assert (job.title, job.stopped) == ("Waiting", True)
    assert "There is no knowledge base" not in background.log()  # as `status` would have said


def test_a_killed_job_is_seen_to_have_ended(background: Background) -> None:
    background.start("Waiting", [WAITS])
    job = background.last()
    assert job is not None
    os.killpg(job.process, signal.SIGKILL)
    wait(lambda: not background.running())
    job = background.last()
    assert job is not None
    assert (job.finished, job.stopped) == ("", False)


def test_the_progress_file_says_how_far_a_task_is(tmp_path: Path) -> None:
    path = tmp_path / "progress.json"
    assert ProgressState.read(path) is None
    progress = ProgressFile(path)
    progress.start("Embedding", 200, "texts")
    progress.advance(50)
    progress.advance(150)
    assert json.loads(path.read_text())["done"] == 200
    assert ProgressState("Embedding", 50, 200, "texts", 2.0).rate == "25 texts/s"
    assert ProgressState("Reading", 50_000_000, 100_000_000, "B", 2.0).rate == "25 MB/s"
    assert ProgressState("Reading", 50, 200, "B", 2.0).share == 0.25
    assert ProgressState("Records", 50, 0, "records", 2.0).share is None


def test_the_progress_file_says_what_a_task_waits_for_and_that_it_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "progress.json"

    def told() -> str:
        state = ProgressState.read(path)
        assert state is not None
        return state.wait

    progress = ProgressFile(path)
    progress.start("Records", 0, "records")
    assert told() == ""
    progress.wait("Attempt 2 of 8", 60.4)
    assert told() == "Attempt 2 of 8 in 60 s"
    progress.wait("Attempt 2 of 8", 0.0)
    assert told() == "Attempt 2 of 8 now"
    progress.advance(0)
    assert told() == ""


# Files that are dropped ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("my notes.md", "my notes.md"),
        ("../../etc/passwd.md", "passwd.md"),
        ("..\\..\\windows\\x.md", "x.md"),
        ("/etc/cron.d/x.md", "x.md"),
        ("--home=x.md", "home_x.md"),
        (".hidden.md", "hidden.md"),
        ("<script>alert(1)</script>.md", "script_.md"),
        ("a\u202egpj.md", "a_gpj.md"),
        ("tab\there\n.md", "tab_here_.md"),
        ("Größe 日本.md", "Größe 日本.md"),
        ("x" * 300 + ".jsonl.gz", "x" * 100 + ".jsonl.gz"),
        ("snapshot.v2.jsonl.zst", "snapshot.v2.jsonl.zst"),
        ("CON .md", "CON.md"),
    ],
)
def test_a_dropped_file_gets_a_name_that_leads_nowhere_else(home: Home, name: str, kept: str) -> None:
    path = save_upload(home, name, b"text")
    assert path == home.path / "uploads" / kept
    assert path.read_bytes() == b"text"
    assert [p.name for p in (home.path / "uploads").iterdir()] == [kept]


@pytest.mark.parametrize("name", [".md", "virus.exe", "page.html", "", "..", "notes", "x.md.exe", "a/b/"])
def test_a_kind_that_nothing_reads_is_refused(home: Home, name: str) -> None:
    with pytest.raises(SourceError, match=r"\.md"):
        save_upload(home, name, b"text")
    assert not (home.path / "uploads").exists()


def test_each_kind_has_its_command_and_what_they_bring_is_embedded_once(home: Home) -> None:
    notes, bibliography, snapshot = (save_upload(home, name, b"") for name in ("a.md", "My thesis.bib", "part.jsonl.zst"))
    assert commands_for([bibliography]) == [["list", "import", "My thesis", str(bibliography)]]
    assert commands_for([notes, bibliography, snapshot]) == [
        ["ingest", "notes", str(notes), "--no-index"],
        ["list", "import", "My thesis", str(bibliography)],
        ["ingest", "snapshot", str(snapshot), "--no-index"],
        ["index"],
    ]
