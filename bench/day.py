"""Ingest of one day of arXiv, a thousand new, changed and withdrawn papers, into knowledge bases of several sizes.

    python -m bench.day SNAPSHOT HOME…

Published twice, as `kb ingest` does: the catalogue with the remaining index entries, then everything with the new embeddings.
The peer is the time of embedding, which does not depend on the size of the knowledge base.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.clock import timed
from bench.material import copied, records
from bench.rows import Row, table
from ingest.jobs.run import run_index, run_snapshot
from kb.encode.encoder import Encoder
from kb.index.build import embed_missing
from kb.models.registry import load_encoder

_NEW, _CHANGED, _WITHDRAWN = 400, 300, 300


def day(known: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """A thousand records of one day, derived from as many known records."""
    for row, record in enumerate(known):
        next_version = {"version": f"v{len(record['versions']) + 1}", "created": "Wed, 25 Nov 2026 00:00:00 GMT"}
        changed = record | {"versions": [*record["versions"], next_version], "update_date": "2026-11-25"}
        if row < _NEW:
            abstract = f"{record['abstract']} {known[row + _NEW]['abstract']}"
            yield record | {
                "id": f"2611.{10_000 + row:05d}",
                "abstract": abstract,
                "versions": [next_version | {"version": "v1"}],
            }
        elif row < _NEW + _CHANGED:
            yield changed | {"abstract": f"{record['abstract']} More experiments are reported."}
        else:
            yield changed | {"abstract": "This paper has been withdrawn by the authors.", "comments": "Withdrawn"}


def measure(homes: Sequence[Path], snapshot: Path) -> list[Row]:
    """Ingest a day into each of these indexed knowledge bases, which hold the first records of the snapshot file (.zst)."""
    encoder = load_encoder()
    known = list(itertools.islice(records(snapshot), _NEW + _CHANGED + _WITHDRAWN))
    return [_row(home, known, encoder) for home in homes]


def _row(home: Path, known: Sequence[dict[str, Any]], encoder: Encoder) -> Row:
    with TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        place = copied(home, Path(folder))
        path = Path(folder) / "day.jsonl"
        path.write_text("".join(json.dumps(record) + "\n" for record in day(known)), encoding="utf-8")
        papers = place.open().manifest.papers
        publishing = timed(lambda: run_snapshot(place, [path]))
        embedding = timed(lambda: embed_missing(place, encoder))
        publishing += timed(lambda: run_index(place, encoder))
        assert place.open().manifest.papers == papers + _NEW
    return Row(
        f"{papers:,} papers: {_NEW} new, {_CHANGED} changed and {_WITHDRAWN} withdrawn ones merged and published",
        f"{publishing:.1f} s",
        f"embedding them: {embedding:.1f} s",
        f"{publishing / embedding:.2f} × its time",
        "grows less than the papers do",
    )


if __name__ == "__main__":
    sys.stdout.write(table(measure([Path(home) for home in sys.argv[2:]], Path(sys.argv[1]))) + "\n")
