"""What the tests share: the real encoder, and records in the form of the arXiv snapshot."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from kb.encode.encoder import Encoder
from kb.models.registry import load_encoder
from kb.store import Home

from browser import a_browser, an_app, pages, servers, thirty_papers, thirty_papers_of_ones_own  # noqa: F401  isort: skip

os.environ.setdefault("HF_HUB_OFFLINE", "1")

#: Fixtures that open a browser, start a Ray cluster, run every command once, or train: all that use them are slow.
SLOW_FIXTURES = frozenset({"browser", "machines", "day", "trained"})


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    for item in items:
        if isinstance(item, pytest.Function) and not SLOW_FIXTURES.isdisjoint(item.fixturenames):
            item.add_marker(pytest.mark.slow)


TOPICS = (
    ("Graph neural networks for molecules", "We predict the energy of molecules by passing messages along their bonds."),
    (
        "Speech recognition with few labels",
        "A recogniser is trained on an hour of transcribed speech and much untranscribed audio.",
    ),
    ("Pruning large vision transformers", "Attention heads that matter little are removed, which halves the cost of inference."),
    ("Learning to plan in board games", "A tree search guided by a learned value function plays go and chess."),
    (
        "Translation between rare languages",
        "One multilingual model translates pairs of languages for which no parallel text exists.",
    ),
)


def record(number: int, **changes: object) -> dict[str, Any]:
    """A made-up record of the arXiv snapshot, the same for the same number."""
    title, abstract = TOPICS[number % len(TOPICS)]
    day = number % 28 + 1
    return {
        "id": f"{15 + number // 90000:02d}{number % 12 + 1:02d}.{number % 90000 + 1:05d}",
        "submitter": None,
        "authors": f"Ada Number{number}, Karl von Beispiel",
        "title": f"{title}, part {number}",
        "comments": f"{number % 20 + 4} pages. Code: https://github.com/example/repo{number}" if number % 3 == 0 else None,
        "journal-ref": None,
        "doi": None,
        "report-no": None,
        "categories": "cs.LG stat.ML" if number % 2 else "cs.CL",
        "license": None,
        "abstract": f"  {abstract}\n  This is study number {number} of a series.\n",
        "versions": [{"version": "v1", "created": f"Mon, {day} Jan {2015 + number // 90000} 10:00:00 GMT"}],
        "update_date": f"2020-01-{day:02d}",
        "authors_parsed": [[f"Number{number}", "Ada", ""], ["von Beispiel", "Karl", ""]],
    } | changes


@pytest.fixture(scope="session")
def encoder() -> Encoder:
    """The real default model."""
    return load_encoder()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "kb")


@pytest.fixture
def write_snapshot(tmp_path: Path) -> Callable[..., Path]:
    """Write records, or lines as they are, to a snapshot file."""

    def write(records: Sequence[dict[str, Any] | str], name: str = "snapshot.jsonl") -> Path:
        path = tmp_path / name
        path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in records), encoding="utf-8")
        return path

    return write


@pytest.fixture
def kb(home: Home) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the real command line on the test's knowledge base, in a process of its own."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", "from kb.cli import main; main()", "--home", str(home.path), *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, timeout=300, check=False)

    return run


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mount what the arguments say on a new folder; skip where that is not allowed."""
    mounted: list[Path] = []

    def mounting(*arguments: str) -> Path:
        folder = tmp_path / f"mounted {len(mounted)}"
        folder.mkdir()
        done = subprocess.run(["mount", *arguments, str(folder)], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
        mounted.append(folder)
        return folder

    if not sys.platform.startswith("linux") or shutil.which("mount") is None:
        pytest.skip("needs Linux's mount")
    yield mounting
    for folder in mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real material beside the project; a test that needs it is skipped where there is none."""
    folder = Path(os.environ.get("KB_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"no real material in {folder}; set KB_SHARED_DATA to the folder that holds data/ and seeds/")
    return folder
