"""The scripts in `examples/` do what they say, over the sample."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import kb
from kb.sample import SAMPLE_NOTES, SAMPLE_PAPERS

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kb.KnowledgeBase]:
    with kb.KnowledgeBase(tmp_path_factory.mktemp("sample") / "kb") as base:
        base.ingest_snapshot(SAMPLE_PAPERS, index=False)
        base.ingest_notes(SAMPLE_NOTES)
        yield base


def run(script: str, *arguments: str) -> str:
    """What the script prints, in a process of its own."""
    done = subprocess.run([sys.executable, EXAMPLES / script, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_papers_for_a_draft(sample: kb.KnowledgeBase, tmp_path: Path) -> None:
    draft = tmp_path / "draft.txt"
    draft.write_text("Attention Is All You Need\n\nDeep Residual Learning for Image Recognition\n")
    printed = run("papers_for_a_draft.py", str(sample.path), str(draft), "Related work")
    papers = [entry.paper_id for entry in sample.list_show("Related work").entries]
    assert {"arxiv:1706.03762", "arxiv:1512.03385"} <= set(papers)
    assert printed.count("\n@") + printed.startswith("@") == len(papers)


def test_code_in_my_notes(sample: kb.KnowledgeBase) -> None:
    lines = run("code_in_my_notes.py", str(sample.path), "attention").splitlines()
    assert lines
    assert all("https://" in line for line in lines)
    stars = [int(line.split()[0]) for line in lines]
    assert stars == sorted(stars, reverse=True)


def test_every_example_is_tested() -> None:
    tested = Path(__file__).read_text(encoding="utf-8")
    assert all(f'"{script.name}"' in tested for script in EXAMPLES.glob("*.py"))
