"""Files that a person drops on the app: kept in `uploads/` of the knowledge base under a safe name, each for its command."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from kb.errors import SourceError
from kb.files import replace_file
from kb.store import Home

#: Ends of the names that can be read.
NOTES = (".md", ".markdown")
BIBLIOGRAPHIES = (".bib", ".ris", ".json")
SNAPSHOTS = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".ndjson")
_LONGEST = 100


def keep_upload(home: Home, name: str, data: bytes) -> Path:
    """Keeps a file's content, whole or not at all; one of the same name before it is replaced, as a new edition of it.

    Of the name only letters, digits and a few marks are taken. Raises SourceError for a kind of file that nothing reads.
    """
    path = home.path / "uploads" / _safe(name)
    if not str(path).lower().endswith((*NOTES, *BIBLIOGRAPHIES, *SNAPSHOTS)):
        known = ", ".join((*NOTES, *BIBLIOGRAPHIES, *SNAPSHOTS))
        raise SourceError(f"{path.name} is of no kind that is read here; these are: {known}.")
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, data)
    return path


def reading(paths: Sequence[Path]) -> list[list[str]]:
    """The arguments of `kb` that read such files, a command each; what they bring is embedded once, at the end."""
    commands = [_command(path) for path in paths]
    ingests = [command for command in commands if command[0] == "ingest"]
    for command in ingests:
        command.append("--no-index")
    return [*commands, ["index"]] if ingests else commands


def _command(path: Path) -> list[str]:
    name = path.name.lower()
    if name.endswith(NOTES):
        return ["ingest", "notes", str(path)]
    if name.endswith(BIBLIOGRAPHIES):
        return ["list", "import", path.stem, str(path)]
    return ["ingest", "snapshot", str(path)]


def _safe(name: str) -> str:
    """A file's name that leads nowhere else, hides nothing, and is no option of a command."""
    name = unicodedata.normalize("NFC", PurePosixPath(name.replace("\\", "/")).name)
    kept = re.sub(r"[^\w. +()-]+", "_", name).strip(" ._-")
    stem, dot, end = kept.partition(".") if kept.count(".") == 1 else _split(kept)
    return f"{stem[:_LONGEST].rstrip(' .')}{dot}{end}"


def _split(name: str) -> tuple[str, str, str]:
    """The name before its end, where the end may be of two parts, as in `.jsonl.gz`."""
    found = re.fullmatch(r"(.*?)(\.)((?:\w+\.)?\w{1,8})", name)
    return (found[1], found[2], found[3]) if found else (name, "", "")
