"""Numbers of things in words: one is not many."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from kb.text.plurals import describe_counts, pluralize


def test_one_is_not_many() -> None:
    assert [pluralize(n, "paper") for n in (0, 1, 2000)] == ["0 papers", "1 paper", "2,000 papers"]


def test_what_a_job_counted() -> None:
    assert describe_counts({}) == ""
    assert describe_counts({"files": 1, "new": 1, "code links": 1, "repositories asked about": 1}) == (
        "1 file, 1 new, 1 code link, 1 repository asked about"
    )
    assert describe_counts({"files": 2, "new": 1200, "of papers not in the catalogue": 1, "days filled": 3}) == (
        "2 files, 1,200 new, 1 of papers not in the catalogue, 3 days filled"
    )


def test_the_command_line_tells_one_file(kb: Callable[..., object], tmp_path: Path) -> None:
    note = tmp_path / "one.md"
    note.write_text("- [LoRA](https://arxiv.org/abs/2106.09685), code: https://github.com/microsoft/LoRA\n", encoding="utf-8")
    told = kb("ingest", "notes", str(note), "--no-index").stderr  # type: ignore[attr-defined]
    assert "one.md: 1 file, 1 new, 0 changed, 0 unchanged, 1 mention" in told
    assert "new arxiv:2106.09685  LoRA" in told
    status = kb("status").stdout  # type: ignore[attr-defined]
    assert status.startswith("1 paper, 1 note, 1 code link; 0 embedded")
    assert "1 file, 1 new" in " ".join(status.split())
