"""The house: which folder holds what, and which way imports point."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# The wings of kb, lowest first: a module imports only from its own wing and those before it.
WINGS = (
    "errors", "files", "locks", "progress", "papers", "identifiers", "cluster", "encode", "store", "text", "jobs", "index",
    "insights", "models", "search", "library", "formats", "doctor", "sample", "api", "cli",
)  # fmt: skip
MAY_IMPORT = {"kb": {"kb"}, "ingest": {"ingest", "kb"}, "app": {"app", "kb", "ingest"}}


def imports(path: Path) -> set[str]:
    """Dotted names that a file imports, inside its functions too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are written out in full"
            assert node.module is not None
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return found


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("package", sorted(MAY_IMPORT))
def test_packages_import_one_way(package: str) -> None:
    for path in modules(package):
        used = {name.split(".")[0] for name in imports(path)} & {"kb", "ingest", "app", "bench", "tests"}
        allowed = MAY_IMPORT[package]
        if path.is_relative_to(ROOT / "kb" / "api") or path.is_relative_to(ROOT / "kb" / "cli"):
            allowed = allowed | {"ingest"}  # the public API starts the jobs, and the command line prints what they report
        assert used <= allowed, f"{path} imports {sorted(used - allowed)}"


def test_the_app_imports_only_the_job_runner_of_ingest() -> None:
    for path in modules("app"):
        used = {".".join(name.split(".")[:2]) for name in imports(path) if name.split(".")[0] == "ingest"}
        assert used <= {"ingest", "ingest.jobs"}, path


def test_kb_imports_downwards() -> None:
    for path in modules("kb"):
        own = path.relative_to(ROOT / "kb").parts[0].removesuffix(".py")
        if own == "__init__":
            continue  # gives the public API when it is asked for
        assert own in WINGS, f"{path}: give it its place in WINGS"
        for name in imports(path):
            parts = name.split(".")
            if parts[0] == "kb" and len(parts) > 1 and parts[1] in WINGS:
                assert WINGS.index(parts[1]) <= WINGS.index(own), f"{path} imports {name}, which lies above it"


def test_only_the_store_speaks_to_duckdb() -> None:
    for package in MAY_IMPORT:
        for path in modules(package):
            if not path.is_relative_to(ROOT / "kb" / "store"):
                assert not any(name.split(".")[0] == "duckdb" for name in imports(path)), path


def test_no_circle_of_imports_in_the_app() -> None:
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in modules("app")}
    below = {name: (imports(path) & names.keys()) - {name} for name, path in names.items()}
    assert below["app.navigation"] == set()  # every page links by it
    order: list[str] = []
    while ready := sorted(name for name, used in below.items() if name not in order and used <= set(order)):
        order += ready
    assert sorted(names.keys() - set(order)) == [], "these import each other in a circle"


def test_streamlit_finds_no_pages_by_itself() -> None:
    """It runs the files of a folder `pages` beside the main script as pages of their own, before the app has named any."""
    assert not (ROOT / "app" / "pages").exists()


def test_the_library_never_imports_streamlit() -> None:
    for path in modules("kb") + modules("ingest"):
        assert not any(name.split(".")[0] == "streamlit" for name in imports(path)), path


def test_the_app_and_ingest_leave_the_command_line_alone() -> None:
    for path in modules("app") + modules("ingest"):
        assert not any(name.startswith("kb.cli") for name in imports(path)), path


def test_files_are_replaced_and_locks_held_in_one_way() -> None:
    for package in MAY_IMPORT:
        for path in modules(package):
            text = path.read_text(encoding="utf-8")
            if path != ROOT / "kb" / "files.py":
                assert "fsync" not in text and "os.replace(" not in text, f"{path}: see kb/files.py"
            if path not in {ROOT / "kb" / "locks.py", ROOT / "ingest" / "arxiv" / "http.py"}:  # there it is held between calls
                assert not any(name.split(".")[0] == "filelock" for name in imports(path)), f"{path}: see kb/locks.py"


def test_no_class_of_the_store_reads_another_ones_private_members() -> None:
    for path in sorted((ROOT / "kb" / "store").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
                assert isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"}, f"{path}:{node.lineno}: {node.attr}"
