"""Import of a snapshot, beside DuckDB's `read_json`."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import duckdb

from bench.rows import Row

_IMPORT = """
import json, re, sys, time
from pathlib import Path
from ingest.jobs.run import run_snapshot
from kb.store import Home
started = time.perf_counter()
run_snapshot(Home(Path(sys.argv[2])), [Path(sys.argv[1])])
seconds = time.perf_counter() - started
# Not getrusage: its peak includes that of the parent process before exec.
peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())
print(json.dumps([seconds, int(peak[1]) * 1024]))
"""


def measure(snapshot: Path) -> list[Row]:
    """Import one snapshot file (.zst) into an empty knowledge base, each time in a process of its own."""
    ours, peaks, peer, records = [], [], [], 0
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(3):
            started = time.perf_counter()
            connection = duckdb.connect(f"{folder}/peer{turn}.duckdb")
            connection.execute("CREATE TABLE t AS SELECT * FROM read_json(?, format='newline_delimited')", [str(snapshot)])
            row = connection.execute("SELECT count(*) FROM t").fetchone()
            records = row[0] if row else 0
            connection.close()
            peer.append(time.perf_counter() - started)
            command = [sys.executable, "-c", _IMPORT, str(snapshot), f"{folder}/kb{turn}"]
            seconds, peak = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            ours.append(seconds)
            peaks.append(peak)
    return [
        Row(
            f"import of {records:,} records, code links included (peak memory {max(peaks) / 1e9:.2f} GB)",
            f"{median(ours):.2f} s, {records / median(ours):,.0f} records/s",
            f"read_json into a table: {median(peer):.2f} s",
            f"{median(ours) / median(peer):.2f} × its time",
            "at most 2 ×",
        )
    ]
