"""A full disk: one clear error, and what was published before stays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import record

from ingest.jobs.run import run_index, run_snapshot
from kb.encode.encoder import Encoder
from kb.errors import StoreError
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
