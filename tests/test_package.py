"""The distributions: a wheel that works outside the repository, and a source archive whose tests run."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from browser import served
from playwright.sync_api import Browser

import kb
from kb.store import Home

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.slow


def sources() -> list[str]:
    """The files of the project, by their paths; skips without git, as in an unpacked source archive."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("the project's own list of files needs git")
    return [name for name in done.stdout.splitlines() if (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source archive and the wheel, built from a copy of the sources."""
    folder = tmp_path_factory.mktemp("package")
    copy, target = folder / "sources", folder / "dist"
    for name in sources():
        path = copy / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(target), str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return target


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the installed wheel; what it depends on comes from this environment."""
    (wheel,) = built.glob("*.whl")
    place = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(place), str(wheel)]
    subprocess.run(command, check=True, capture_output=True)
    return place


def test_the_wheel_holds_every_file_of_the_packages(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    wanted = {name for name in sources() if name.split("/")[0] in {"kb", "ingest", "app"}}
    assert wanted - held == set()
    assert {"kb/sample_data/papers.jsonl", "kb/sample_data/bookmarks.md"} <= held
    assert not any(name.startswith(("tests/", "bench/", "data/", "examples/")) for name in held)
    assert wheel.name == f"paper_kb-{kb.__version__}-py3-none-any.whl"


def test_an_installed_wheel_works_outside_the_repository(installed: Path, tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1"}

    def run(*arguments: str) -> str:
        command = [sys.executable, "-c", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = "import kb, app, ingest; print(*(m.__file__ for m in (kb, app, ingest)), sep='\\n')"
    assert all(Path(line).is_relative_to(installed) for line in run(where).splitlines())
    sample = "from kb.sample import *; import kb; b = kb.KnowledgeBase('home'); b.ingest_snapshot(SAMPLE_PAPERS, limit=20); "
    assert run(sample + "print(b.search('attention', k=1)[0].rank)") == "1\n"
    main = "from kb.cli import main; main()"
    assert run(main, "--version") == f"{kb.__version__}\n"
    assert "arxiv:" in run(main, "--home", "home", "search", "attention", "-k", "1")


def test_the_app_of_an_installed_wheel_offers_the_sample(installed: Path, browser: Browser, tmp_path: Path) -> None:
    variables = {"PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1"}
    with served(Home(tmp_path / "home"), tmp_path / "log", "--no-browser", **variables) as address:
        page = browser.new_page()
        page.goto(address)
        page.get_by_role("button", name="Load the sample").wait_for()
        page.close()


def test_the_tests_of_the_source_archive_run(built: Path, tmp_path: Path) -> None:
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as file:
        file.extractall(tmp_path, filter="data")
    (folder,) = tmp_path.iterdir()
    held = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert {name for name in sources() if not name.startswith(".git")} - held == set()
    some = ["tests/test_house.py", "tests/test_identifiers.py", "tests/test_documentation.py", "tests/test_export.py"]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *some]
    environment = os.environ | {"PYTHONPATH": str(folder)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
