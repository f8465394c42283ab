"""`python -m bench [HOME…]`: runs all benchmarks and writes bench/RESULTS.md.

Reads its data from the folder that KB_SHARED_DATA names, by default `../shared` beside the project. HOME is an indexed knowledge
base; without one the rows of start-up, latency and index size are left out. Latency is measured over each HOME, the dense index
with the vectors of the last one; KB_BENCH_VECTORS gives the numbers of vectors, by default 30,000 and 300,000. Three million take
up to an hour, 8 GB of memory and 10 GB of disk.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from bench import app, day, embedding, index, ingest, map_layout, search, serving, start
from bench.rows import Row, table
from kb.store import Home

Part = Callable[[], list[Row]]
ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    shared = Path(os.environ.get("KB_SHARED_DATA", ROOT.parent / "shared"))
    snapshot = shared / "data" / "arxiv-2025-26.jsonl.zst"
    if not snapshot.is_file():
        sys.stderr.write(f"{snapshot} is missing. Set KB_SHARED_DATA.\n")
        return 1
    homes = [Path(home) for home in sys.argv[1:]]
    parts: list[Part] = [
        partial(ingest.measure, snapshot),
        partial(embedding.measure, snapshot),
        partial(search.measure, shared, homes),
        partial(map_layout.measure, homes),
    ]
    if homes:
        counts = [int(count) for count in os.environ.get("KB_BENCH_VECTORS", "30000 300000").split()]
        parts += [partial(app.measure, Home(home)) for home in homes]
        parts += [partial(day.measure, homes, snapshot), partial(serving.measure, homes[0], snapshot)]
        parts += [partial(start.measure, homes[-1]), partial(index.measure, homes[-1], counts)]
    # Each in a process of its own: in a process that had grown by gigabytes a search among three million vectors took four times
    # as long.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        rows = [row for part in parts for row in pool.submit(part).result()]
    text = "# Results\n\nWritten by `make bench`. Times differ between machines; compare the ratios.\n\n"
    (ROOT / "bench" / "RESULTS.md").write_text(text + table(rows) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
