"""The command line as its users call it: exit codes, the two streams, and the fixed form of `--json`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import record

from ingest.jobs.run import run_snapshot
from kb.store import Home

Kb = Callable[..., subprocess.CompletedProcess[str]]


def test_from_notes_to_a_hit(kb: Kb, tmp_path: Path) -> None:
    notes = tmp_path / "bookmarks.md"
    notes.write_text(
        "# Papers\n\n"
        "- [Attention Is All You Need](https://arxiv.org/abs/1706.03762) – attention alone; code: https://github.com/tensorflow/tensor2tensor\n"
        "- [GPipe](https://arxiv.org/abs/1811.06965) – pipelines over accelerators\n"
        "- [Neural Discrete Representations](https://arxiv.org/abs/1711.0093) – codebooks\n"
    )
    ingested = kb("ingest", "notes", str(notes))
    assert ingested.returncode == 1  # one link is reported
    assert "1711.0093" in ingested.stderr
    assert ingested.stdout == ""
    found = kb("search", "training split over many accelerators", "-k", "2", "--json")
    assert found.returncode == 0, found.stderr
    hits: list[dict[str, Any]] = json.loads(found.stdout)
    assert hits[0].keys() == {
        "rank",
        "id",
        "title",
        "authors",
        "year",
        "url",
        "score",
        "scores",
        "code",
        "notes",
        "matched",
        "fits",
    }
    assert (hits[0]["id"], hits[0]["rank"], hits[0]["year"]) == ("arxiv:1811.06965", 1, 2018)
    assert hits[0]["url"] == "https://arxiv.org/abs/1811.06965"
    shown = json.loads(kb("show", "1706.03762v3", "--json").stdout)
    (code,) = shown["code"]
    assert (code["url"], code["source"]) == ("https://github.com/tensorflow/tensor2tensor", "notes")
    assert (code["official"], code["stars"], code["checked"], code["archived"]) == (None, None, None, False)
    assert (code["confidence"], code["evidence"], code["framework"]) == (0.8, "the note labels it as code", "")
    status = json.loads(kb("status", "--json").stdout)
    assert status.keys() == {"papers", "notes", "code_links", "embedded", "generation", "model", "runs"}
    assert (status["papers"], status["notes"], status["embedded"]) == (3, 3, 3)
    assert [run["job"] for run in status["runs"]] == ["index", "notes"]
    plain = kb("like", "1706.03762", "--not", "1811.06965")
    assert plain.returncode == 0
    assert "Neural Discrete Representations" in plain.stdout


def test_wrong_use_and_failure_differ(kb: Kb, tmp_path: Path) -> None:
    assert kb("search").returncode == 2
    assert kb("nonsense").returncode == 2
    nothing = kb("search", "anything")
    assert nothing.returncode == 1
    assert "There is no knowledge base" in nothing.stderr
    assert "Traceback" not in nothing.stderr
    missing = kb("ingest", "snapshot", str(tmp_path / "nowhere.jsonl"))
    assert missing.returncode == 1
    assert "No such file" in missing.stderr


@pytest.mark.parametrize("arguments", [("--year", "abc"), ("--source", "web")])
def test_filters_that_make_no_sense(kb: Kb, home: Home, write_snapshot: Callable[..., Path], arguments: tuple[str, str]) -> None:
    run_snapshot(home, [write_snapshot([record(1)])])
    kb("index")
    answer = kb("search", "chess", *arguments)
    assert answer.returncode == 2
    assert arguments[1] in answer.stderr


def test_output_of_hostile_titles_is_plain(kb: Kb, write_snapshot: Callable[..., Path]) -> None:
    path = write_snapshot([record(1, title="[bold red]Not markup[/] \x1b[31mand no escape\x07 [link=https://evil.org]x[/link]")])
    kb("ingest", "snapshot", str(path))
    answer = kb("show", "1502.00002")
    assert "[bold red]Not markup[/]" in answer.stdout
    assert "\x1b" not in answer.stdout
    assert "\x07" not in answer.stdout


# Killed more than once -------------------------------------------------------------------------------------------------------


def rows(home: Home) -> list[object]:
    """Everything that an undisturbed run and a resumed one must agree on."""
    generation = home.open()
    documents = generation.catalogue.documents()
    papers = generation.catalogue.papers(documents.keys.tolist())
    code = generation.catalogue.code_of([p.id for p in papers.values()])
    manifest = generation.manifest
    return [papers, code, manifest.papers, manifest.code_links, manifest.embedded, manifest.model_fingerprint, documents.digests]


# Ends itself before the file of that number, counted from 1, is put in its place.
KILLED = """
import os, signal, sys
left = int(sys.argv.pop(1))
def watch(event, arguments):
    global left
    if event == "os.rename":
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(watch)
from kb.cli import main
main()
"""


@pytest.mark.slow
def test_killed_again_and_again(tmp_path: Path, write_snapshot: Callable[..., Path], undisturbed: list[object]) -> None:
    """A run that goes on where a killed one stopped is killed too; one kill at every moment is tried in test_crash.py."""
    arguments = ["--home", str(tmp_path / "kb"), "ingest", "snapshot", str(write_snapshot([record(i) for i in range(60)]))]
    home = Home(tmp_path / "kb")
    for files in (1, 4, 2, 7):
        done = subprocess.run([sys.executable, "-c", KILLED, str(files), *arguments], capture_output=True, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr
        if home.exists():
            home.open().close()  # whatever was published opens
    assert subprocess.run([sys.executable, "-c", KILLED, "0", *arguments], capture_output=True, check=False).returncode == 0
    assert rows(home) == undisturbed
    assert not list(home.generations.glob(".draft-*"))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    folder = tmp_path_factory.mktemp("undisturbed")
    path = folder / "snapshot.jsonl"
    path.write_text("".join(json.dumps(record(i)) + "\n" for i in range(60)))
    command = [
        sys.executable,
        "-c",
        "from kb.cli import main; main()",
        "--home",
        str(folder / "kb"),
        "ingest",
        "snapshot",
        str(path),
    ]
    subprocess.run(command, capture_output=True, check=True, env=os.environ)
    return rows(Home(folder / "kb"))
