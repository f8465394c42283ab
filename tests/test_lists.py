"""Reading lists and exports on the command line."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import record

from ingest.jobs.run import run_index, run_snapshot
from kb.encode.encoder import Encoder
from kb.store import Home

Kb = Callable[..., subprocess.CompletedProcess[str]]
FIRST, SECOND, THIRD = (f"arxiv:{record(n)['id']}" for n in range(3))


@pytest.fixture
def stocked(home: Home, write_snapshot: Callable[..., Path], encoder: Encoder) -> Home:
    run_snapshot(home, [write_snapshot([record(n) for n in range(20)])])
    run_index(home, encoder)
    return home


def test_a_list_without_a_catalogue(kb: Kb) -> None:
    assert kb("lists").stderr == "There is no list yet. Make one: `kb list new NAME`.\n"
    assert kb("list", "new", "To read", "1706.03762").returncode == 0
    added = kb("list", "add", "to read", "https://doi.org/10.1162/neco.1991.3.1.79", "--remark", "old", "--tag", "moe")
    assert added.returncode == 0
    assert "doi:10.1162/neco.1991.3.1.79 is not in the knowledge base" in added.stderr
    shown = json.loads(kb("list", "show", "To read", "--json").stdout)
    assert shown.keys() == {"name", "created", "papers"}
    assert [(p["id"], p["title"], p["remark"], p["tags"], p["read"]) for p in shown["papers"]] == [
        ("arxiv:1706.03762", "arxiv:1706.03762", "", [], None),
        ("doi:10.1162/neco.1991.3.1.79", "doi:10.1162/neco.1991.3.1.79", "old", ["moe"], None),
    ]
    exported = kb("export", "To read", "--format", "ris")
    assert exported.returncode == 0
    assert "UR  - https://arxiv.org/abs/1706.03762" in exported.stdout


def test_titles_come_from_the_catalogue_and_stay(kb: Kb, stocked: Home) -> None:
    kb("list", "new", "L", FIRST, SECOND + "v3")
    shown = json.loads(kb("list", "show", "L", "--json").stdout)["papers"]
    assert [(p["id"], p["title"], p["year"]) for p in shown] == [
        (FIRST, record(0)["title"], 2015),
        (SECOND, record(1)["title"], 2015),
    ]
    stocked.path.joinpath("CURRENT").rename(stocked.path / "gone")
    assert [p["title"] for p in json.loads(kb("list", "show", "L", "--json").stdout)["papers"]] == [p["title"] for p in shown]
    assert record(1)["title"] in kb("list", "show", "L").stdout


def test_search_and_like_within_a_list(kb: Kb, stocked: Home) -> None:
    assert stocked.exists()
    kb("list", "new", "L", FIRST, SECOND, THIRD)
    hits = json.loads(kb("search", "molecules", "--list", "L", "--json").stdout)
    assert sorted(h["id"] for h in hits) == sorted([FIRST, SECOND, THIRD])
    hits = json.loads(kb("like", FIRST, "--list", "l", "--json").stdout)
    assert sorted(h["id"] for h in hits) == sorted([SECOND, THIRD])
    kb("list", "new", "Empty")
    for name, message in (("Empty", "The list 'Empty' is empty"), ("Nope", "There is no list 'Nope'")):
        refused = kb("search", "molecules", "--list", name)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert message in refused.stderr


def test_remove_undo_delete_mark(kb: Kb, stocked: Home) -> None:
    assert stocked.exists()
    kb("list", "new", "L", FIRST, SECOND, THIRD)
    assert kb("list", "mark", "L", THIRD, "--place", "1", "--read", "--tag", "x").stderr == "1 marked on 'L'.\n"
    assert kb("list", "remove", "L", SECOND).returncode == 0
    assert kb("list", "remove", "L", SECOND).returncode == 2
    assert [p["id"] for p in json.loads(kb("list", "show", "L", "--json").stdout)["papers"]] == [THIRD, FIRST]
    assert kb("list", "undo").stderr == "Taken back: 1 taken off 'L'.\n"
    assert kb("list", "delete", "L").returncode == 0
    assert json.loads(kb("lists", "--json").stdout) == []
    kb("list", "undo")
    (summary,) = json.loads(kb("lists", "--json").stdout)
    assert (summary["name"], summary["papers"], summary["unread"]) == ("L", 3, 2)
    assert kb("list", "mark", "L", "2001.99999", "--read").returncode == 2
    assert kb("list", "add", "L", "1711.0093").returncode == 2  # no such arXiv id can exist


def test_import_finds_papers_by_title_and_keeps_keys(kb: Kb, stocked: Home, tmp_path: Path) -> None:
    assert stocked.exists()
    bibliography = tmp_path / "mine.bib"
    bibliography.write_text(
        f"@article{{mine1, title={{{{{record(4)['title'].upper()}}}}}, author={{Number4, A.}}}}\n"
        f"@misc{{mine2, title={{Whatever}}, eprint={{{FIRST[6:]}v2}}, archiveprefix={{arXiv}}}}\n"
        "@misc{mine3, author={Nobody}}\n"
    )
    imported = kb("list", "import", "L", str(bibliography), "--json")
    assert imported.returncode == 1  # one is reported
    assert json.loads(imported.stdout) == {
        "added": 2,
        "already": 0,
        "skipped": [{"source": str(bibliography), "line": 3, "reason": "the entry 'mine3' has no title"}],
        "notices": [],
    }
    papers = json.loads(kb("list", "show", "L", "--json").stdout)["papers"]
    assert [(p["id"], p["title"]) for p in papers] == [
        (f"arxiv:{record(4)['id']}", record(4)["title"]),
        (FIRST, record(0)["title"]),
    ]
    exported = kb("export", "L", "--format", "bibtex").stdout
    assert [line for line in exported.splitlines() if line.startswith("@")] == ["@misc{mine1,", "@misc{mine2,"]


@pytest.mark.slow
def test_export_writes_whole_files_and_the_same_again(kb: Kb, stocked: Home, tmp_path: Path) -> None:
    assert stocked.exists()
    kb("list", "new", "L", FIRST, SECOND)
    for form in ("bibtex", "ris", "csl-json", "csv", "markdown", "obsidian", "atom"):
        file = tmp_path / f"out.{form}"
        assert kb("export", "L", "--format", form, "-o", str(file)).returncode == 0
        before, moment = file.read_bytes(), file.stat().st_mtime_ns
        assert kb("export", "L", "--format", form, "-o", str(file)).returncode == 0
        assert (file.read_bytes(), file.stat().st_mtime_ns) == (before, moment)
        assert kb("export", "L", "--format", form).stdout == before.decode().replace("\r\n", "\n")
    assert "https://github.com/example/repo0" in (tmp_path / "out.bibtex").read_text()
    assert sorted(p.name for p in tmp_path.glob(".out*")) == []
    assert kb("export", "L", "--format", "word").returncode == 2
    failed = kb("export", "L", "--format", "ris", "-o", str(tmp_path / "no" / "folder"))
    assert failed.returncode == 1
    assert "cannot be written" in failed.stderr


def test_a_markdown_export_is_imported_as_the_same_list(kb: Kb, stocked: Home, tmp_path: Path) -> None:
    assert stocked.exists()
    kb("list", "new", "L", FIRST)
    kb("list", "add", "L", SECOND, "1706.03762", "--remark", "Read *me*.\n\nTwice.", "--tag", "x")
    first, second = tmp_path / "one.md", tmp_path / "two.md"
    kb("export", "L", "--format", "markdown", "-o", str(first))
    assert kb("list", "delete", "L").returncode == 0
    imported = kb("list", "import", "L", str(first))
    assert imported.returncode == 0, imported.stderr
    kb("export", "L", "--format", "markdown", "-o", str(second))
    assert second.read_text() == first.read_text()


@pytest.mark.parametrize("form", ["markdown", "obsidian"])
def test_what_looks_like_something_else_comes_back_as_it_was(
    kb: Kb, home: Home, write_snapshot: Callable[..., Path], tmp_path: Path, form: str
) -> None:
    titles = ("Congestion Control among Agents (CACC)", "Bounds on ess(f)", "Sign patterns of R(4, 8)", "Solving x⁻¹+g(x)")
    papers = [record(number, title=title) for number, title in enumerate(titles)]
    papers.append(record(4, comments="Accepted at ICLR 2021. 12 pages"))  # another year than that of the preprint
    run_snapshot(home, [write_snapshot(papers)])
    identifiers = [f"arxiv:{paper['id']}" for paper in papers]
    kb("list", "new", "L", *identifiers)
    kb("list", "mark", "L", identifiers[0], identifiers[4], "--read", "--tag", "x")
    first, second = tmp_path / "one.md", tmp_path / "two.md"
    kb("export", "L", "--format", form, "-o", str(first))
    before = json.loads(kb("list", "show", "L", "--json").stdout)["papers"]
    assert "- Venue: " in first.read_text()
    kb("list", "delete", "L")
    assert kb("list", "import", "L", str(first)).returncode == 0
    after = json.loads(kb("list", "show", "L", "--json").stdout)["papers"]
    facts = ("id", "title", "authors", "year", "remark", "tags")
    assert [[paper[fact] for fact in facts] for paper in after] == [[paper[fact] for fact in facts] for paper in before]
    assert [(paper["read"] or "")[:10] for paper in after] == [(paper["read"] or "")[:10] for paper in before]
    kb("export", "L", "--format", form, "-o", str(second))
    assert second.read_text() == first.read_text()
