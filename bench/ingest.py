"""Import of a snapshot beside DuckDB's plain `read_json`."""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import duckdb

from bench.rows import Row

_IMPORT = """
import sys
from pathlib import Path
from ingest.jobs import run_snapshot
from kb.store import Home
run_snapshot(Home(Path(sys.argv[2])), [Path(sys.argv[1])])
"""


def measure(snapshot: Path) -> Row:
    """One snapshot file (.zst), whole runs in processes of their own, the imports of Python left out by timing an empty one."""
    ours, peer, records = [], [], 0
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", _IMPORT.rpartition("run_snapshot(")[0]], check=True)
        starting = time.perf_counter() - started
        for turn in range(3):
            started = time.perf_counter()
            connection = duckdb.connect(f"{folder}/peer{turn}.duckdb")
            connection.execute("CREATE TABLE t AS SELECT * FROM read_json(?, format='newline_delimited')", [str(snapshot)])
            row = connection.execute("SELECT count(*) FROM t").fetchone()
            records = row[0] if row else 0
            connection.close()
            peer.append(time.perf_counter() - started)
            started = time.perf_counter()
            subprocess.run([sys.executable, "-c", _IMPORT, str(snapshot), f"{folder}/kb{turn}"], check=True)
            ours.append(time.perf_counter() - started - starting)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    return Row(
        f"import of {records:,} records, code links included (peak memory {peak:.2f} GB)",
        f"{median(ours):.2f} s, {records / median(ours):,.0f} records/s",
        f"read_json into a table: {median(peer):.2f} s",
        f"{median(ours) / median(peer):.2f} × its time",
        "at most 3 ×",
    )
