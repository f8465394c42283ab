"""Which files of a folder hold notes."""

from __future__ import annotations

import os
from pathlib import Path

from kb.errors import SourceError

_SUFFIXES = frozenset({".md", ".markdown", ".txt"})


def note_files(path: Path) -> list[Path]:
    """The file itself, or the notes below a folder in order; hidden files and folders are left out.

    Raises SourceError where the path does not exist or has no notes below it.
    """
    if not path.exists():
        raise SourceError(f"{path}: there is no such file or folder")
    if not path.is_dir():
        return [path]
    found: list[Path] = []
    for folder, folders, files in os.walk(path):
        folders[:] = [name for name in folders if not name.startswith(".")]
        visible = (Path(folder, name) for name in files if not name.startswith("."))
        found += [file for file in visible if file.suffix.lower() in _SUFFIXES]
    if not found:
        raise SourceError(f"{path}: no notes below this folder; they are looked for in .md, .markdown and .txt files")
    return sorted(found)
