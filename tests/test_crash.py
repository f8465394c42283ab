"""Killed at any moment: what was there stays whole, and the same command, run again, comes to the same end.

A day's commands are run undisturbed, once; the state before and after each is kept. Then, over and over, one of them is started
on a copy of the state before it, killed by SIGKILL, and run again. The moment is drawn by a seed: just before a file is opened
for writing, renamed, linked or removed, or after a share of the processor time that the command takes, wherever it then is.
KB_TEST_MOMENTS is the number of moments, KB_TEST_FIRST_MOMENT the seed of the first, KB_TEST_MOMENTS_LOG a file that gets a line
for each.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import signal
import sqlite3
import sys
import threading
import time
import zipfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from conftest import record

from kb.encode.encoder import Encoder
from kb.index.dense import DENSE_FILE, DenseIndex
from kb.index.lexical import LEXICAL_FOLDER, LexicalIndex
from kb.library import LIBRARY_FILE, Library, LibraryFile
from kb.search.searcher import Searcher
from kb.store import Home, Manifest, catalogue_problems

MOMENTS = int(os.environ.get("KB_TEST_MOMENTS", "3"))
FIRST = int(os.environ.get("KB_TEST_FIRST_MOMENT", "0"))
LOG = os.environ.get("KB_TEST_MOMENTS_LOG", "")
# One clean process that has imported everything; each command is a fork of it, as fast as a warm start.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        "torch",
        "sklearn.manifold",
        "kb.cli",
        "ingest.jobs.run",
        "kb.models.registry",
        "kb.formats.read",
        "kb.formats",
        "test_crash",
    ]
)
IDS = [f"arxiv:{record(n)['id']}" for n in range(6)]


@dataclass(frozen=True)
class Command:
    """A command of the day; `{}` in its words stands for the day's folder."""

    name: str
    words: str
    weight: int = 1
    """How often it is drawn."""
    may_refuse: bool = False
    """Whether, run again after it was killed at its very end, it says that all is done already."""

    def arguments(self, place: Path) -> list[str]:
        return ["--home", str(place / "kb"), *(word.replace("{}", str(place)) for word in self.words.split())]


DAY = (
    Command("import", "ingest snapshot {}/first.jsonl --no-index", 3),
    Command("embed", "index", 3),
    Command("publish", "ingest snapshot {}/second.jsonl", 3),
    Command("notes", "ingest notes {}/notes.md", 2),
    Command("code", "ingest code"),
    Command("new list", f"list new Thesis {' '.join(IDS[:3])}", 1, True),
    Command("add", f"list add Thesis {' '.join(IDS[2:])} --remark later --tag x"),
    Command("mark", f"list mark Thesis {IDS[3]} --read --remark done --place 1"),
    Command("remove", f"list remove Thesis {IDS[0]} {IDS[1]}", 1, True),
    Command("undo", "list undo"),
    Command("bibliography", "list import Zotero {}/zotero.bib"),
    Command("export", "export Thesis --format bibtex -o {}/thesis.bib", 2),
    Command("export again", "export Zotero --format bibtex -o {}/thesis.bib", 2),
    Command("backup", "backup {}/mine.zip", 1, True),
    Command("code archive", "ingest code {}/archive.json"),
    Command("delete", "list delete Zotero", 1, True),
    Command("restore", "restore {}/mine.zip"),
)
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGES = frozenset({"os.rename", "os.remove", "os.mkdir", "os.link", "os.rmdir", "sqlite3.connect"})


def run(arguments: list[str], log: str, last_change: int, last_second: float) -> None:
    """Run a command in this process, which is killed before a change on disk or after some seconds of computing.

    The change is given by its number, counted from 1; 0 is never.

    The log ends with the number of changes and the seconds that it computed.
    """
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
    changes = 0
    began = time.process_time()

    def watch_time() -> None:
        while time.process_time() < began + last_second:
            time.sleep(0.0005)
        os.kill(os.getpid(), signal.SIGKILL)

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal changes
        if event in CHANGES or (event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITES):
            changes += 1
            if changes == last_change:
                os.kill(os.getpid(), signal.SIGKILL)

    from kb.cli import main

    sys.addaudithook(watch)
    if last_second:
        threading.Thread(target=watch_time, daemon=True).start()
    try:
        main(arguments)
    finally:
        sys.stdout.write(f"\n{changes} {time.process_time() - began:.3f}\n")
        sys.stdout.flush()


def start(command: Command, place: Path, last_change: int = 0, last_second: float = 0.0) -> int | None:
    """Run a command, to its end or to that moment; return its exit code."""
    process = FORKS.Process(target=run, args=(command.arguments(place), str(place / "log"), last_change, last_second))
    process.start()
    process.join()
    return process.exitcode


def finish(command: Command, place: Path) -> tuple[int, float]:
    """Run a command to its end; return the number of changes it made on disk, and the seconds that it computed."""
    code = start(command, place)
    log = (place / "log").read_text()
    assert code == 0 or (command.may_refuse and code == 2), f"{command}: {code} {log}"
    changes, seconds = log.rsplit("\n", 2)[-2].split()
    return int(changes), float(seconds)


# What must be the same ----------------------------------------------------------------------------------------------------


def state(place: Path) -> dict[str, Any]:
    """Every row of every table, every vector, what is in the indexes, the user's file, and what was exported."""
    home = Home(place / "kb")
    found: dict[str, Any] = {"export": (place / "thesis.bib").read_bytes() if (place / "thesis.bib").exists() else None}
    if home.exists():
        folder = home.generations / home.current_name()
        manifest = Manifest.read(folder)
        names = ("schema", "papers", "notes", "code_links", "embedded", "model_fingerprint")
        found["manifest"] = {name: getattr(manifest, name) for name in names}
        with duckdb.connect(str(folder / "catalogue.duckdb"), read_only=True) as file:
            tables = [name for (name,) in file.execute("SELECT table_name FROM duckdb_tables() ORDER BY 1").fetchall()]
            for table in tables:
                if table not in {"runs", "skipped"}:  # when a job ran, and how often
                    found[table] = sorted(map(repr, file.execute(f"SELECT * FROM {table}").fetchall()))
            found["runs"] = {tuple(row) for row in file.execute("SELECT job, source, outcome FROM runs").fetchall()}
        if manifest.embedded:
            dense = DenseIndex.read(folder / DENSE_FILE)
            found["dense"] = (dense.keys().tolist(), dense.vectors(dense.keys()).tobytes())
            keys, texts = LexicalIndex.indexed_documents(folder / LEXICAL_FOLDER)
            found["lexical"] = sorted(zip(keys.tolist(), (text.tobytes() for text in texts), strict=True))
            lexical = LexicalIndex.read(folder / LEXICAL_FOLDER)
            found["cards"] = sorted((card.paper.id, repr(card)) for card in lexical.cards(keys.tolist()).values())
            for word in ("molecules", "study", "chess", "number7"):
                answer, scores = lexical.search(word, 500)
                found[f"lexical {word}"] = sorted(zip(answer.tolist(), np.round(scores, 3).tolist(), strict=True))
    vectors: dict[bytes, bytes] = {}
    for path in home.vectors.rglob("*.digests.npy"):
        rows = np.load(path.with_name(path.name.replace(".digests.", ".vectors.")))
        vectors |= {digest.tobytes(): row.tobytes() for digest, row in zip(np.load(path), rows, strict=True)}
    found["vectors"] = vectors
    if (home.path / LIBRARY_FILE).exists():
        with closing(sqlite3.connect(home.path / LIBRARY_FILE)) as file:
            made = {name for (name,) in file.execute("SELECT name FROM sqlite_master").fetchall()}
            for table, columns in (
                ("lists", "number, name, name_key, removal"),
                ("entries", "list, paper_id, position, title, authors, year, venue, remark, tags, read IS NULL, removal"),
                ("removals", "what"),
                ("citation_keys", "*"),
                ("dismissed", "paper_id"),
            ):
                if table not in made:  # SQLite makes an empty file before the first transaction fills it
                    continue
                found[f"library {table}"] = sorted(map(repr, file.execute(f"SELECT {columns} FROM {table}").fetchall()))
    return found


def assert_whole(place: Path, encoder: Encoder, before: dict[str, Any], after: dict[str, Any]) -> None:
    """What a killed command left opens and answers, and each file is as before or as after."""
    home = Home(place / "kb")
    if home.exists():
        with Searcher.open(home, encoder) as searcher:
            assert catalogue_problems(searcher.catalogue) == []
            assert searcher.catalogue.counts()["papers"] == searcher.generation.manifest.papers > 0
            if searcher.generation.manifest.embedded:
                hits = searcher.search("messages along the bonds of molecules", 5)
                assert len(hits) == 5
                assert all("molecules" in hit.paper.title for hit in hits)
                assert searcher.like([hits[0].paper.id], k=3)
    assert LibraryFile(home.path / LIBRARY_FILE).problems() == []
    for summary in Library(home.path / LIBRARY_FILE).lists():
        Library(home.path / LIBRARY_FILE).read_list(summary.name)
    if (place / "mine.zip").exists():
        with zipfile.ZipFile(place / "mine.zip") as archive:
            assert archive.testzip() is None
    exported = (place / "thesis.bib").read_bytes() if (place / "thesis.bib").exists() else None
    assert exported in (before["export"], after["export"])


@dataclass(frozen=True)
class Undisturbed:
    """What one command of the day did when nobody disturbed it."""

    before: Path
    at_first: dict[str, Any]
    at_last: dict[str, Any]
    changes: int
    seconds: float


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Undisturbed]:
    """The day, undisturbed. Every command works in a folder of the same name, as sources are kept by their paths."""
    base = tmp_path_factory.mktemp("day")
    place = base / "place"
    place.mkdir()
    write = lambda name, rows: (place / name).write_text("".join(json.dumps(row) + "\n" for row in rows))  # noqa: E731
    write("first.jsonl", [record(n) for n in range(40)])
    changed = [record(n, abstract=f"A new text, number {n}, of one study.", update_date="2021-01-01") for n in range(3)]
    write("second.jsonl", [*changed, *(record(n) for n in range(36, 46))])
    (place / "notes.md").write_text(
        f"- [One of the series](https://arxiv.org/abs/{record(3)['id']}) – chess; https://github.com/example/noted\n"
        "- [Attention Is All You Need](https://arxiv.org/abs/1706.03762) – attention alone\n"
    )
    references = [f"@article{{key{n}, title={{Title {n}}}, year={{20{n}}}}}\n" for n in range(10, 30)]
    (place / "zotero.bib").write_text("".join(references))
    listed = {"paper_arxiv_id": record(5)["id"], "repo_url": "https://github.com/example/archived", "is_official": True}
    (place / "archive.json").write_text(json.dumps([listed]))
    found: dict[str, Undisturbed] = {}
    for number, command in enumerate(DAY):
        before = base / f"before {number}"
        shutil.copytree(place, before)
        at_first = state(place)
        changes, seconds = finish(command, place)
        found[command.name] = Undisturbed(before, at_first, state(place), changes, seconds)
        # The links are those of the import; a backup changes nothing.
        assert found[command.name].at_last != at_first or command.name in {"code", "backup"}
    return found


@pytest.mark.parametrize("seed", range(FIRST, FIRST + MOMENTS))
def test_killed_and_run_again(day: dict[str, Undisturbed], encoder: Encoder, seed: int) -> None:
    chance = random.Random(seed)
    drawn = [command for command in DAY for _ in range(command.weight)]
    # The first moments go over all commands, so that a short run leaves none out.
    command = DAY[seed] if seed < len(DAY) else chance.choice(drawn)
    undisturbed = day[command.name]
    place = undisturbed.before.parent / "place"
    shutil.rmtree(place)
    shutil.copytree(undisturbed.before, place)
    if chance.random() < 0.5:
        last = chance.randint(1, undisturbed.changes)
        moment = f"before change {last} of {undisturbed.changes}"
        code = start(command, place, last_change=last)
    else:
        share = chance.random()
        moment = f"after {share:.0%} of {undisturbed.seconds:.2f} s"
        code = start(command, place, last_second=share * undisturbed.seconds)
    killed = code == -signal.SIGKILL
    now = state(place)
    outcome = "as before" if now == undisturbed.at_first else "as after" if now == undisturbed.at_last else "between"
    assert_whole(place, encoder, undisturbed.at_first, undisturbed.at_last)
    finish(command, place)
    after = state(place)
    differing = [name for name in undisturbed.at_last if after.get(name) != undisturbed.at_last[name]]
    if LOG:
        with Path(LOG).open("a") as file:
            file.write(f"{seed}\t{command.name}\t{moment}\t{'killed' if killed else 'ended'}\t{outcome}\t{differing}\n")
    assert differing == []
    assert after.keys() == undisturbed.at_last.keys()
    assert not list((place / "kb" / "generations").glob(".draft-*"))
    assert not list(place.glob(".thesis.bib.*")) or killed
