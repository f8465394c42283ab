"""A full disk: one clear error, and what was published before stays."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import record

from ingest.jobs.run import run_index, run_snapshot
from kb.doctor import examine
from kb.encode.encoder import Encoder
from kb.errors import DiskFullError, StoreError
from kb.formats import WRITERS, references_of
from kb.library import LIBRARY_FILE, Choices, Entry, Library
from kb.library.backup import back_up
from kb.search.searcher import Searcher
from kb.store import Home, catalogue_problems

Write = Callable[..., Path]


@pytest.mark.parametrize("room", [100, 600, 1400, 2000])
def test_a_full_disk(mount: Callable[..., Path], write_snapshot: Write, encoder: Encoder, room: int) -> None:
    """The disk, of so many KiB, is full at one step or another; what was published before stays, and nothing is left over."""
    home = Home(mount("-t", "tmpfs", "-o", f"size={room}k", "tmpfs") / "kb")
    path = write_snapshot([record(n) for n in range(200)])

    def work() -> None:
        run_snapshot(home, [path])
        run_index(home, encoder)

    with pytest.raises(StoreError, match="cannot be written"):
        work()
    if home.exists():
        with Searcher.open(home) as searcher:
            assert catalogue_problems(searcher.catalogue) == []
            assert searcher.catalogue.counts()["papers"] == 200
    assert not list(home.path.rglob(".draft-*")) + list(home.path.rglob("*.tmp"))


@pytest.mark.parametrize("log", ["folded in", "left behind"])
def test_on_a_full_disk_lists_can_be_read(mount: Callable[..., Path], tmp_path: Path, encoder: Encoder, log: str) -> None:
    disk = mount("-t", "tmpfs", "-o", "size=1m", "tmpfs")
    home, library = Home(disk / "kb"), Library(disk / "kb" / LIBRARY_FILE)
    library.create("Thesis", [Entry("arxiv:1706.03762", "Attention")])
    elsewhere = sqlite3.connect(disk / "kb" / LIBRARY_FILE)  # while it is open, what is written stays in the log beside the file
    elsewhere.execute("SELECT * FROM lists").fetchall()
    library.add("Thesis", [Entry("arxiv:1810.04805", "BERT")])
    if log == "folded in":
        elsewhere.close()
    fill(disk)
    shown = library.read_list("Thesis")
    assert [entry.title for entry in shown.entries] == ["Attention", "BERT"]
    for _ in range(2):
        references = references_of(shown, None, Choices(disk / "kb" / LIBRARY_FILE))
        assert "Attention" in WRITERS["bibtex"]("Thesis", references)
    with pytest.raises(DiskFullError, match=r"The disk is full: .*library\.sqlite cannot be written"):
        library.create("Other")
    assert [summary.name for summary in library.lists()] == ["Thesis"]
    assert examine(home, lambda _: encoder) == []  # nothing is damaged, and nothing to be restored
    archive = tmp_path / "on another disk.zip"
    assert back_up(home, archive) == [LIBRARY_FILE]
    with pytest.raises(StoreError, match=r"x\.zip cannot be written"):
        back_up(home, disk / "x.zip")
    elsewhere.close()
    assert not list(disk.rglob("*.tmp"))
    for path in disk.glob("fill*"):
        path.unlink()
    library.create("Other")
    assert [summary.papers for summary in library.lists()] == [2, 0]


def fill(disk: Path) -> None:
    """Write to a disk until there is no room for another byte."""
    for number, size in enumerate((1 << 16, 1 << 12, 1)):
        with suppress(OSError), (disk / f"fill{number}").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(size))
