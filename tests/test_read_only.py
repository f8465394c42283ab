"""A knowledge base in a folder that cannot be written: what reads works, what writes is one clear error."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from conftest import record

from ingest.jobs.run import run_index, run_snapshot
from kb.encode.encoder import Encoder
from kb.errors import StoreError
from kb.library import LIBRARY_FILE, Choices, Entry, Library
from kb.store import Home


def test_a_read_only_folder(
    mount: Callable[..., Path],
    kb: Callable[..., subprocess.CompletedProcess[str]],
    home: Home,
    write_snapshot: Callable[..., Path],
    encoder: Encoder,
) -> None:
    run_snapshot(home, [write_snapshot([record(n) for n in range(12)])])
    run_index(home, encoder)
    known, new = (f"arxiv:{record(n)['id']}" for n in (1, 2))
    with closing(home.open()) as generation:
        papers = generation.catalogue.papers([k for k in map(generation.catalogue.key_of, (known, new)) if k is not None])
    Choices(home.path / LIBRARY_FILE).citation_keys([(known, "mine")])
    elsewhere = sqlite3.connect(home.path / LIBRARY_FILE)  # while it is open, the list stays in the file of changes beside it
    elsewhere.execute("SELECT * FROM lists").fetchall()
    Library(home.path / LIBRARY_FILE).create("Thesis", [Entry.of(paper) for paper in papers.values()])
    before = {path: path.read_bytes() for path in home.path.rglob("*") if path.is_file()}
    fixed = mount("--bind", "-o", "ro", str(home.path))

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return kb("--home", str(fixed), *arguments)

    found = run("search", "energy of molecules", "--json")
    assert found.returncode == 0, found.stderr
    hits = json.loads(found.stdout)
    assert "molecules" in hits[0]["title"]
    assert hits[0]["scores"]["lexical"] > 0
    for arguments in (["show", known], ["status"], ["lists"]):
        answer = run(*arguments)
        assert answer.returncode == 0, answer.stderr
    exported = run("export", "Thesis", "--format", "bibtex")
    assert exported.returncode == 0, exported.stderr
    assert "{mine," in exported.stdout  # the key that it has
    assert exported.stdout.count("\n@") + exported.stdout.startswith("@") == 2
    refused = run("index")
    assert refused.returncode == 1
    assert "cannot be written" in refused.stderr
    assert "Traceback" not in refused.stderr
    with pytest.raises(StoreError, match="its folder is read-only"):
        Library(fixed / LIBRARY_FILE).delete("Thesis")
    assert {path: path.read_bytes() for path in home.path.rglob("*") if path.is_file()} == before
    elsewhere.close()
