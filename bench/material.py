"""Data of the benchmarks: records of a snapshot file, and copies of knowledge bases."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import zstandard

from kb.store import Home


def records(path: Path) -> Iterator[dict[str, Any]]:
    """Records of a file of JSON lines (.zst), in their order."""
    with path.open("rb") as file:
        for line in io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file), encoding="utf-8"):
            yield json.loads(line)


def copied(home: Path, folder: Path) -> Home:
    """Copy a knowledge base into this folder, for a benchmark that writes."""
    place = Home(folder / "kb")
    shutil.copytree(home, place.path, ignore=shutil.ignore_patterns("*.lock", "backups", "job"))
    return place
