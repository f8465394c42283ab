"""The records of a snapshot file, from which measurements make what they import."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import zstandard


def records(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a file of JSON lines (.zst), in their order."""
    with path.open("rb") as file:
        for line in io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file), encoding="utf-8"):
            yield json.loads(line)
