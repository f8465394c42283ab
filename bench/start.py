"""Cold start of the command line, beside the import of sentence-transformers."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from bench.rows import Row

_TURNS = 5
_MAIN = "from kb.cli import main; main()"


def measure(home: Path) -> list[Row]:
    """Wall time of whole processes over an indexed knowledge base."""
    peer = _median([sys.executable, "-c", "import sentence_transformers"])
    rows = []
    for what in (("search", "fine-tuning a large model on one GPU"), ("status",)):
        ours = _median([sys.executable, "-c", _MAIN, "--home", str(home), *what])
        rows.append(
            Row(
                f"`kb {what[0]}` from a cold start",
                f"{ours:.2f} s",
                f"importing sentence-transformers: {peer:.2f} s",
                f"{ours / peer:.2f} × its time",
                "at most 3 s",
            )
        )
    return rows


def _median(command: Sequence[str]) -> float:
    """Median wall time of a process in seconds, after one run that fills the file cache."""
    times = []
    for _ in range(_TURNS + 1):
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - started)
    return median(times[1:])
