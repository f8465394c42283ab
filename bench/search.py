"""Search quality and latency, beside txtai's hybrid index over the same texts and vectors, an exact scan, and each index."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import ir_measures
import numpy as np
from ir_measures import nDCG

from bench.rows import Row
from kb.encode.encoder import Encoder, Vectors
from kb.index.lexical import LEXICAL_FOLDER, LexicalIndex
from kb.models.registry import load_encoder
from kb.papers import embedding_text
from kb.search.evaluate import build_collection, document_ids, evaluate, judged_queries
from kb.search.qrels import read_judgements
from kb.search.retriever import Query
from kb.search.searcher import Searcher, final_scores
from kb.store import Home

_QUESTIONS = 40
_NO_PEER = "not installed: `pip install 'paper-kb[bench]'`"


def measure(shared: Path, homes: Sequence[Path] = ()) -> list[Row]:
    """Quality on the judged collections in `shared`, and latency over these indexed knowledge bases."""
    encoder = load_encoder()
    rows = [_quality(shared / "data" / "eval" / name, encoder, binary=name == "cranfield") for name in ("scifact", "cranfield")]
    texts = list(read_judgements(shared / "data" / "eval" / "autoscholarquery").queries.values())[:_QUESTIONS]
    for home in homes:
        rows += _latency(Home(home), texts, encoder)
    return rows


def _quality(folder: Path, encoder: Encoder, *, binary: bool) -> Row:
    judgements = read_judgements(folder, binary=binary)
    with TemporaryDirectory() as place:
        home = build_collection(judgements, Path(place) / "kb", Path(place) / "vectors", encoder)
        with Searcher.open(home, encoder) as searcher:
            names = document_ids(judgements.documents, searcher.catalogue)
            found = evaluate(searcher, judged_queries(judgements, searcher.catalogue), names)
            keys, texts, vectors = _material(searcher)
            peer = _txtai(encoder.encode, keys, texts, vectors)
            if peer is not None:
                run = {
                    query: {
                        names(key): score for key, score in peer(text, 100) if names(key) != judgements.source_documents()[query]
                    }
                    for query, text in judgements.queries.items()
                }
                theirs = ir_measures.calc_aggregate([nDCG @ 10], judgements.qrels, run)[nDCG @ 10]
    ours = found.means("reranked")["nDCG@10"]
    stages = ", ".join(f"{stage} {found.means(stage)['nDCG@10']:.3f}" for stage in ("lexical", "dense", "fused"))
    return Row(
        f"{judgements.name}, nDCG@10 over {found.documents:,} documents ({stages})",
        f"{ours:.3f}",
        _NO_PEER if peer is None else f"txtai's hybrid index: {theirs:.3f}",
        "" if peer is None else f"{ours / theirs:.2f} ×",
    )


def _latency(home: Home, texts: Sequence[str], encoder: Encoder) -> list[Row]:
    import faiss  # kb.index.dense has imported it already, after torch on macOS

    with Searcher.open(home, encoder) as searcher:
        keys, documents, vectors = _material(searcher)
        dense, lexical = searcher.index, LexicalIndex.read(searcher.generation.subfolder(LEXICAL_FOLDER))
        exact = faiss.IndexFlatIP(vectors.shape[1])
        exact.add(vectors)
        peer = _txtai(encoder.encode, keys, documents, vectors)
        searches: dict[str, Callable[[str], object]] = {
            "ranking": lambda text: final_scores(*searcher.candidates(Query(text=text), 10)),
            "hits": searcher.search,
            "scan": lambda text: exact.search(encoder.encode([text]), 10),
            "dense": lambda text: dense.search(encoder.encode([text]), 10),
            "lexical": lambda text: lexical.search(text, 10),
        }
        if peer is not None:
            searches["txtai"] = lambda text: peer(text, 10)
        times = _medians(searches, texts)
    search = f"a search over {len(keys):,} papers, reranked, ten hits with abstract, code, notes and sentence"
    ranking = f"a search over {len(keys):,} papers, reranked, keys and scores alone"
    txtai = "txtai's hybrid search, ids and scores alone"
    return [
        _row(times, search, "hits", "encoding the query and an exact scan", "scan", "at most 3 ×"),
        _row(times, ranking, "ranking", txtai, "txtai", ""),
        _row(times, search, "hits", txtai, "txtai", "at most 0.5 ×"),
        _row(times, ranking, "ranking", "the dense index alone, the query's encoding included", "dense", ""),
        _row(times, ranking, "ranking", "the lexical index alone", "lexical", ""),
    ]


def _row(times: Mapping[str, float], what: str, ours: str, which: str, peer: str, aim: str) -> Row:
    """A row of two of these times in seconds; without a ratio if the peer was not measured."""
    return Row(
        what,
        f"{times[ours] * 1e3:.0f} ms",
        f"{which}: {times[peer] * 1e3:.0f} ms" if peer in times else _NO_PEER,
        f"{times[ours] / times[peer]:.2f} × its time" if peer in times else "",
        aim,
    )


def _material(searcher: Searcher) -> tuple[list[int], list[str], Vectors]:
    """Keys, texts and vectors of all indexed papers; the vectors have shape (n, d)."""
    keys = searcher.index.keys()
    texts = searcher.catalogue.texts(keys)
    return keys.tolist(), [embedding_text(*texts[int(key)]) for key in keys], searcher.index.vectors(keys)


def _txtai(
    encode: Callable[[Sequence[str]], Vectors], keys: Sequence[int], texts: Sequence[str], vectors: Vectors
) -> Callable[[str, int], list[tuple[int, float]]] | None:
    """The search function of a txtai hybrid index over the same vectors, with our encoder; None if txtai is not installed."""
    try:
        from txtai.embeddings import Embeddings
    except ImportError:
        sys.stderr.write("txtai is not installed; its rows are left out.\n")
        return None
    stored = dict(zip(texts, vectors, strict=True))

    def transform(batch: Sequence[str]) -> Vectors:
        missing = [text for text in batch if text not in stored]
        new = dict(zip(missing, encode(missing), strict=True)) if missing else {}
        return np.stack([stored[text] if text in stored else new[text] for text in batch])

    embeddings: Any = Embeddings(method="external", transform=transform, hybrid=True, content=False)
    embeddings.index((key, text, None) for key, text in zip(keys, texts, strict=True))
    return lambda text, k: [(int(key), float(score)) for key, score in embeddings.search(text, k)]


def _medians(searches: Mapping[str, Callable[[str], object]], texts: Sequence[str]) -> dict[str, float]:
    """Median seconds of each search after three warm-up queries; by turns, so that all run under the same load."""
    times: dict[str, list[float]] = {name: [] for name in searches}
    for text in [*texts[:3], *texts]:
        for name, search in searches.items():
            started = time.perf_counter()
            search(text)
            times[name].append(time.perf_counter() - started)
    return {name: median(taken[3:]) for name, taken in times.items()}
