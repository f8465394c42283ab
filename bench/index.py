"""The dense index at scale: recall, time and memory beside an exact scan, with filters, and after a day's update.

    python -m bench.index HOME COUNT…

Uses the vectors of an indexed knowledge base, and synthetic ones beyond their number: interpolations between two vectors of one
k-means cell. So the synthetic vectors are clustered as real ones are; uniformly random vectors would flatter any index.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import faiss
import numpy as np

from bench.clock import timed
from bench.rows import Row, table
from kb.encode.encoder import Vectors
from kb.encode.vector_store import DIGEST, Digests, VectorStore
from kb.index.dense import DENSE_FILE, DenseIndex
from kb.index.ivfpq import Rows
from kb.store import Home, Keys

_QUERIES = 100
_K = 10
_DAY = (400, 300, 300)  # papers added, changed, deleted
_SHARES = (0.5, 0.1, 0.01, 0.0001)  # of the papers, that a filter lets through
_CELLS = 1024  # of k-means

_OPEN = """
import json, re, sys, time
from pathlib import Path
import numpy as np
from kb.index.dense import DenseIndex
queries = np.load(sys.argv[2])
started = time.perf_counter()
index = DenseIndex.read(Path(sys.argv[1]))
opened = time.perf_counter() - started
for query in queries:
    index.search(query[None], 10)
# Not getrusage: its peak includes that of the parent process before exec.
peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())
print(json.dumps([opened, int(peak[1]) * 1024]))
"""


class Corpus:
    """A given number of vectors, generated on demand."""

    def __init__(self, real: Vectors, count: int) -> None:
        self._real = real
        self.count = count
        chance = np.random.default_rng(1)
        means = faiss.Kmeans(real.shape[1], _CELLS, niter=5, seed=1, spherical=True)
        means.train(real[np.sort(chance.choice(len(real), min(len(real), 64 * _CELLS), replace=False))])
        self._cells = means.index.search(real, 1)[1][:, 0]
        self._by_cell = np.argsort(self._cells, kind="stable")
        self._bounds = np.searchsorted(self._cells[self._by_cell], np.arange(_CELLS + 1))

    def take(self, rows: Rows) -> Vectors:
        """The vectors of n rows, shape (n, d). Real vectors come first, then synthetic ones."""
        out = self._real[rows % len(self._real)].copy()
        synthetic = np.flatnonzero(rows >= len(self._real))
        if len(synthetic):
            # A row's vector does not depend on the other rows of the call.
            hashed = rows[synthetic].astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
            share = ((hashed >> np.uint64(11)).astype(np.float64) / 2**53 * 0.5 + 0.1).astype(np.float32)
            cell = self._cells[rows[synthetic] % len(self._real)]
            first, last = self._bounds[cell], self._bounds[cell + 1]
            other = self._real[self._by_cell[first + (hashed >> np.uint64(7)).astype(np.int64) % (last - first)]]
            out[synthetic] += share[:, None] * (other - out[synthetic])
            out[synthetic] /= np.linalg.norm(out[synthetic], axis=1, keepdims=True)
        return out


def measure(home: Path, counts: list[int]) -> list[Row]:
    """Benchmark an index of each of these numbers of vectors, made after those of the knowledge base."""
    manifest = Home(home).open().manifest
    store = VectorStore(home / "vectors", manifest.model_fingerprint, manifest.dimension)
    real = store.take(np.random.default_rng(0).permutation(len(store)).astype(np.int64))
    queries, real = real[:_QUERIES], real[_QUERIES:]
    rows: list[Row] = []
    for count in counts:
        with TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
            rows += _size(Path(folder) / DENSE_FILE, Corpus(real, count), queries)
    return rows


def _size(path: Path, corpus: Corpus, queries: Vectors) -> list[Row]:
    keys = np.arange(1, corpus.count + 1)
    texts = np.arange(corpus.count, dtype=np.int64)
    dimension = queries.shape[1]
    building = timed(lambda: DenseIndex.update(path, keys, _digests(texts), corpus.take, dimension))
    filters = [None, *(np.sort(np.random.default_rng(3).permutation(keys)[: int(share * len(keys))]) for share in _SHARES)]
    exact = _exact(corpus, queries, filters)
    index = DenseIndex.read(path)
    ours = [_found(index, queries, allowed, truth) for allowed, (truth, _) in zip(filters, exact, strict=True)]
    (recall, seconds), (_, scan) = ours[0], exact[0]
    np.save(path.with_name("queries.npy"), queries)
    command = [sys.executable, "-c", _OPEN, str(path), str(path.with_name("queries.npy"))]
    opened, resident = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    chance = np.random.default_rng(2)
    added, changed, deleted = _DAY
    kept = np.sort(chance.permutation(corpus.count)[deleted:])
    texts[chance.choice(kept, changed, replace=False)] += corpus.count  # other texts have other vectors
    keys = np.concatenate([keys[kept], np.arange(corpus.count + 1, corpus.count + 1 + added)])
    texts = np.concatenate([texts[kept], np.arange(2 * corpus.count, 2 * corpus.count + added)])
    updating = timed(lambda: DenseIndex.update(path, keys, _digests(texts), lambda rows: corpus.take(texts[rows]), dimension))
    size = f"{corpus.count:,} vectors"
    rows = [
        Row(
            f"{size}: nearest ten, recall {recall:.3f}; opened in {opened:.2f} s, process {resident / 1e9:.2f} GB",
            f"{seconds * 1e3:.2f} ms",
            f"exact scan: {scan * 1e3:.1f} ms",
            f"{scan / seconds:.0f} × as fast",
            "recall 0.98, 50 ×, 1 s, 1.5 GB at 3 million",
        )
    ]
    for share, (filtered_recall, filtered), (_, filtered_scan) in zip(_SHARES, ours[1:], exact[1:], strict=True):
        rows.append(
            Row(
                f"{size}: nearest ten of the {share:.2%} that a filter lets through, all ten found, recall {filtered_recall:.3f}",
                f"{filtered * 1e3:.2f} ms",
                f"exact scan with the filter: {filtered_scan * 1e3:.1f} ms",
                f"{filtered_scan / filtered:.1f} × as fast",
            )
        )
    return [
        *rows,
        Row(
            f"{size}: update by {sum(_DAY):,} papers added, changed and deleted",
            f"{updating:.3f} s",
            f"building it: {building:.1f} s",
            f"1/{building / updating:.0f} of its time",
            "grows less than the vectors do",
        ),
    ]


def _found(index: DenseIndex, queries: Vectors, allowed: Keys | None, truth: Sequence[Keys]) -> tuple[float, float]:
    """Recall@10, and median seconds of a query after ten warm-up queries. Exits if results are missing or not allowed."""
    found, times = [], []
    for query in [*queries[:10], *queries]:
        started = time.perf_counter()
        found.append(index.search(query[None], _K, allowed)[0][0])
        times.append(time.perf_counter() - started)
    for keys, best in zip(found[10:], truth, strict=True):
        if len(keys) != len(best) or (allowed is not None and not np.isin(keys, allowed).all()):
            raise SystemExit(f"{len(keys)} papers came back, and not the {len(best)} that the filter lets through.")
    met = sum(len(np.intersect1d(keys, best)) for keys, best in zip(found[10:], truth, strict=True))
    return met / sum(map(len, truth)), median(times[10:])


def _exact(corpus: Corpus, queries: Vectors, filters: Sequence[Keys | None]) -> list[tuple[list[Keys], float]]:
    """Keys of the ten nearest by query, and median seconds of FAISS's exact scan of one query, for each filter.

    Scans the vectors in blocks and adds up the times.
    """
    block = 250_000
    scores = [np.empty((len(queries), 0), dtype=np.float32)] * len(filters)
    keys = [np.empty((len(queries), 0), dtype=np.int64)] * len(filters)
    seconds = [0.0] * len(filters)
    for start in range(0, corpus.count, block):
        rows = np.arange(start, min(start + block, corpus.count))
        flat = faiss.IndexFlatIP(queries.shape[1])
        flat.add(corpus.take(rows))
        for number, allowed in enumerate(filters):
            parameters = None
            if allowed is not None:
                bits = np.packbits(np.isin(rows + 1, allowed), bitorder="little")
                parameters = faiss.SearchParameters(sel=faiss.IDSelectorBitmap(bits))
            # One query at a time, as for the index.
            times = [timed(partial(flat.search, query[None], _K, params=parameters)) for query in queries[:10]]
            seconds[number] += median(times)
            some, at = flat.search(queries, _K, params=parameters)  # padded with row −1 where there are fewer
            scores[number] = np.concatenate([scores[number], some], axis=1)
            keys[number] = np.concatenate([keys[number], np.where(at < 0, 0, at + start + 1)], axis=1)
    best = [_best(*each) for each in zip(keys, scores, strict=True)]
    return list(zip(best, seconds, strict=True))


def _best(keys: Rows, scores: Vectors) -> list[Keys]:
    """The ten keys with the highest scores of each row, without padding (key 0)."""
    ten = np.take_along_axis(keys, np.argsort(-scores, axis=1, kind="stable")[:, :_K], axis=1)
    return [row[row > 0] for row in ten]


def _digests(texts: Rows) -> Digests:
    return np.stack([texts, texts * 7919], axis=1).view(DIGEST).reshape(-1)


if __name__ == "__main__":
    sys.stdout.write(table(measure(Path(sys.argv[1]), [int(count) for count in sys.argv[2:]])) + "\n")
