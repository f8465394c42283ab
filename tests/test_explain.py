"""Which papers explain one, beside the softmax over brute-force relevance."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import record

from ingest.jobs.run import run_index, run_snapshot
from kb.encode.encoder import Encoder
from kb.errors import QueryError
from kb.index.dense import NEAR_DUPLICATE
from kb.models.marge.encoder import apply_adapter
from kb.models.marge.weights import BUNDLED, read_adapter, read_metadata
from kb.papers import embedding_text
from kb.search.explain import evidence_weights, explain
from kb.search.searcher import Searcher
from kb.store import Home

KB = Callable[..., subprocess.CompletedProcess[str]]
ABSTRACTS = {
    "Pruning attention heads": "Heads of a transformer are removed. Those attention heads are found by their gradient.",
    "Attention heads that matter": "We ask which do. Few attention heads of a transformer matter, and the rest are pruned.",
    "Distilling a transformer": "A small transformer is taught by a large one. It keeps most of its accuracy.",
    "Protein folding": "Structures of proteins are predicted from their sequence.",
    "Speech recognition": "A recogniser is trained on an hour of speech.",
    "Withdrawn heads": "Attention heads of a transformer are pruned by their gradient and removed.",
}


@pytest.fixture
def heads(home: Home, write_snapshot: Callable[..., Path], encoder: Encoder) -> Home:
    """Three papers on near subjects, a copy of the first under another id, a withdrawn one, and two on other subjects."""
    records = [record(i, title=title, abstract=text, comments=None) for i, (title, text) in enumerate(ABSTRACTS.items())]
    records[-1]["comments"] = "This paper has been withdrawn"
    first = ABSTRACTS["Pruning attention heads"]
    copies = [
        record(20, title="PRUNING: attention heads", abstract="Another abstract, of the attention heads of a transformer."),
        record(21, title="Pruning of attention heads", abstract=first),
    ]
    run_snapshot(home, [write_snapshot([*records, *copies])])
    run_index(home, encoder)
    return home


def test_the_nearest_explain_by_the_softmax_of_their_relevance(heads: Home, encoder: Encoder) -> None:
    with Searcher.open(heads, encoder) as searcher:
        found = explain(searcher, "1501.00001", k=3)
    texts = [embedding_text(title, text) for title, text in ABSTRACTS.items()]
    vectors = apply_adapter(encoder.encode(texts), read_adapter(BUNDLED))
    relevance = vectors[1:5] @ vectors[0]
    order = np.argsort(-relevance)[:3]
    assert [e.paper.title for e in found] == [list(ABSTRACTS)[1 + i] for i in order]
    scores = np.exp(read_metadata(BUNDLED).beta * relevance[order])
    expected = scores / scores.sum()
    np.testing.assert_allclose([e.weight for e in found], expected, atol=0.02)  # stored in half precision
    assert found[0].sentence == "Few attention heads of a transformer matter, and the rest are pruned."


def test_copies_and_withdrawn_papers_are_no_evidence(heads: Home, encoder: Encoder) -> None:
    with Searcher.open(heads, encoder) as searcher:
        titles = {e.paper.title for e in explain(searcher, "1501.00001", k=50)}
        copy = encoder.encode([embedding_text("Pruning of attention heads", ABSTRACTS["Pruning attention heads"])])
        first = encoder.encode([embedding_text("Pruning attention heads", ABSTRACTS["Pruning attention heads"])])
    assert float(copy[0] @ first[0]) > NEAR_DUPLICATE
    assert titles == set(ABSTRACTS) - {"Pruning attention heads", "Withdrawn heads"}


def test_the_weights_by_hand() -> None:
    assert evidence_weights([], beta=5) == []
    assert evidence_weights([0.3], beta=5) == [1.0]
    np.testing.assert_allclose(evidence_weights([0.8, 0.7], beta=10 * np.log(3)), [0.75, 0.25])


def test_a_paper_that_is_unknown_or_not_embedded(home: Home, write_snapshot: Callable[..., Path], encoder: Encoder) -> None:
    run_snapshot(home, [write_snapshot([record(1)])])
    with Searcher.open(home, encoder) as searcher:
        assert explain(searcher, "1502.00002") == []
        with pytest.raises(QueryError, match="not in the knowledge base"):
            explain(searcher, "1706.03762")


def test_show_says_what_explains_a_paper(kb: KB, heads: Home) -> None:  # noqa: ARG001  (the base behind kb)
    shown = json.loads(kb("show", "1501.00001", "--json").stdout)["explained_by"]
    assert [e["title"] for e in shown[:1]] == ["Attention heads that matter"]
    assert shown[0].keys() == {"id", "title", "weight", "sentence"}
    assert sum(e["weight"] for e in shown) == pytest.approx(1)
    text = kb("show", "1501.00001").stdout
    assert "Explained by\n" in text
    assert f"{shown[0]['weight']:4.0%}  Attention heads that matter  arxiv:1502.00002\n      “Few attention" in text
