"""`python -m bench [HOME…]`: measures everything and writes bench/RESULTS.md; the latency of search over these knowledge bases.

Takes its material from the folder that KB_SHARED_DATA names, or `../shared` beside the project.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from bench import embedding, ingest, search
from bench.rows import table

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    shared = Path(os.environ.get("KB_SHARED_DATA", ROOT.parent / "shared"))
    snapshot = shared / "data" / "arxiv-2025-26.jsonl.zst"
    if not snapshot.is_file():
        sys.stderr.write(f"No material: {snapshot} is not there. Set KB_SHARED_DATA.\n")
        return 1
    homes = [Path(home) for home in sys.argv[1:]]
    rows = [ingest.measure(snapshot), *embedding.measure(snapshot), *search.measure(shared, homes)]
    text = "# Results\n\nWritten by `make bench`. Times differ from machine to machine; the ratios are what counts.\n\n"
    (ROOT / "bench" / "RESULTS.md").write_text(text + table(rows) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
