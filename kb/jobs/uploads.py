"""Uploaded files: stored in `uploads/` of the knowledge base under a safe name, and the commands that read them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from kb.errors import SourceError
from kb.files import make_private, replace_file
from kb.store import Home

#: Ends of the names that can be read.
NOTES = (".md", ".markdown")
BIBLIOGRAPHIES = (".bib", ".ris", ".json")
SNAPSHOTS = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".ndjson")
_MAX_STEM_LENGTH = 100


def save_upload(home: Home, name: str, data: bytes) -> Path:
    """Store an upload atomically, replacing an earlier one of the same name; returns its path.

    The name is reduced to letters, digits and a few marks. Raises SourceError if no command reads this kind of file.
    """
    path = home.path / "uploads" / _safe_name(name)
    if not str(path).lower().endswith((*NOTES, *BIBLIOGRAPHIES, *SNAPSHOTS)):
        known = ", ".join((*NOTES, *BIBLIOGRAPHIES, *SNAPSHOTS))
        raise SourceError(f"{path.name} is of no kind that is read here; these are: {known}.")
    make_private(path.parent)
    replace_file(path, data, mode=0o600)
    return path


def commands_for(paths: Sequence[Path]) -> list[list[str]]:
    """The `kb` commands, as arguments, that read these files, one a file; one `kb index` at the end embeds what is new."""
    commands = [_command_for(path) for path in paths]
    ingests = [command for command in commands if command[0] == "ingest"]
    for command in ingests:
        command.append("--no-index")
    return [*commands, ["index"]] if ingests else commands


def _command_for(path: Path) -> list[str]:
    name = path.name.lower()
    if name.endswith(NOTES):
        return ["ingest", "notes", str(path)]
    if name.endswith(BIBLIOGRAPHIES):
        return ["list", "import", path.stem, str(path)]
    return ["ingest", "snapshot", str(path)]


def _safe_name(name: str) -> str:
    """A file name without path, leading dot or hyphen, or special characters."""
    name = unicodedata.normalize("NFC", PurePosixPath(name.replace("\\", "/")).name)
    kept = re.sub(r"[^\w. +()-]+", "_", name).strip(" ._-")
    stem, dot, end = kept.partition(".") if kept.count(".") == 1 else _split_suffix(kept)
    return f"{stem[:_MAX_STEM_LENGTH].rstrip(' .')}{dot}{end}"


def _split_suffix(name: str) -> tuple[str, str, str]:
    """Stem, dot and suffix of a name; the suffix can have two parts, as in `.jsonl.gz`."""
    found = re.fullmatch(r"(.*?)(\.)((?:\w+\.)?\w{1,8})", name)
    return (found[1], found[2], found[3]) if found else (name, "", "")
