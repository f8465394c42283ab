"""The query adapter: its arithmetic, its training, its file, and where it is used."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import record
from torch.nn import functional

from bench.marge import split_of
from bench.query_adapter import citing, folds, training_set, without_twins
from kb.encode.bert_numpy import Bert
from kb.encode.encoder import BertEncoder, Encoder, Vectors
from kb.errors import ModelError
from kb.models.marge.encoder import MargeEncoder
from kb.models.query_adapter.training import QueryAdapter, TrainingConfig, TrainingQuery, TrainingSet, loss, train
from kb.models.query_adapter.weights import BUNDLED, read_query_adapter, write_query_adapter
from kb.models.registry import DEFAULT_MODEL, default_model_folder, load_encoder
from kb.search.qrels import Judgements
from kb.search.searcher import Searcher
from kb.store import Home

QUESTIONS = [
    "how to fine-tune a large model on one GPU",
    "Zinc deficiency raises the risk of infection.",
    "x",
    "graph neural networks for traffic forecasting, and what they cannot do when a sensor fails for hours",
]


@pytest.fixture(scope="module")
def plain() -> BertEncoder:
    """The default encoder as it is."""
    return BertEncoder(default_model_folder(), DEFAULT_MODEL)


@pytest.fixture(scope="module")
def trained() -> QueryAdapter:
    """A query side with LoRA weights that are not negligible."""
    torch.manual_seed(0)
    side = QueryAdapter(default_model_folder(), 3)
    with torch.no_grad():
        for name, parameter in side.named_parameters():
            if name.endswith(".up"):
                parameter.normal_(std=0.2)
    return side


def encoded(side: QueryAdapter, texts: Sequence[str]) -> Vectors:
    with torch.inference_mode():
        return np.asarray(side(texts).numpy(), dtype=np.float32)


def test_before_training_it_is_the_encoder(plain: BertEncoder) -> None:
    side = QueryAdapter(default_model_folder(), 4)
    np.testing.assert_allclose(encoded(side, QUESTIONS), plain.encode(QUESTIONS), atol=1e-5)
    np.testing.assert_array_equal(plain.encode_query(QUESTIONS), plain.encode(QUESTIONS))
    trainable = sum(parameter.numel() for parameter in side.parameters() if parameter.requires_grad)
    assert trainable == 6 * 4 * (4 * (384 + 384) + 2 * (384 + 1536))


def test_numpy_computes_what_was_trained_by_torch(trained: QueryAdapter) -> None:
    side = encoded(trained, QUESTIONS)
    bert = Bert(default_model_folder())
    ours = np.stack([bert.with_lora(trained.lora_weights()).encode(text) for text in QUESTIONS])
    np.testing.assert_allclose(ours, side, atol=1e-5)
    before = np.stack([bert.encode(text) for text in QUESTIONS])
    assert (ours * before).sum(axis=1).max() < 0.99
    half = np.stack([bert.with_lora(trained.lora_weights(0.5)).encode(text) for text in QUESTIONS])
    assert ((ours * before).sum(axis=1) < (half * before).sum(axis=1)).all()
    np.testing.assert_array_equal(before, np.stack([Bert(default_model_folder()).encode(text) for text in QUESTIONS]))


def test_the_loss_by_hand() -> None:
    """Two answers count half each; the paper that the query is made from counts as neither."""
    papers = functional.normalize(torch.tensor([[1.0, 0], [0, 1], [1, 1], [-1, 0]]), dim=1)
    queries = functional.normalize(torch.tensor([[1.0, 0.5], [0.2, 1]]), dim=1)
    examples = [TrainingQuery("a", np.asarray([0, 2])), TrainingQuery("b", np.asarray([1]), source=3)]
    scores = np.exp((queries @ papers.T).double().numpy() / 0.5)
    first = -(np.log(scores[0, 0] / scores[0].sum()) + np.log(scores[0, 2] / scores[0].sum())) / 2
    second = -np.log(scores[1, 1] / scores[1, :3].sum())
    assert loss(queries, papers, examples, 0.5).item() == pytest.approx((first + second) / 2, rel=1e-5)


def test_training_brings_queries_near_their_answers_and_is_repeatable(plain: BertEncoder) -> None:
    texts = [f"A paper on subject {n}, with results for subject {n + 100}" for n in range(24)]
    papers = plain.encode(texts)
    # What is asked for says nothing of what it wants: only training can bring it there.
    asked = [f"{word} question" for word in "red green blue white black brown grey pink".split()]
    collection = TrainingSet(papers, [TrainingQuery(text, np.asarray([3 * n])) for n, text in enumerate(asked)])

    def ranks(vectors: Vectors) -> float:
        cosines = vectors @ papers.T
        return float(np.mean([(row >= row[3 * n]).sum() for n, row in enumerate(cosines)]))

    config = TrainingConfig(rank=4, steps=30, batch_size=8, learning_rate=2e-3)
    side = train(default_model_folder(), [collection], config)
    assert ranks(encoded(side, asked)) < 2 < 6 < ranks(plain.encode(asked))
    again = train(default_model_folder(), [collection], config)
    for one, other in zip(side.lora_weights().values(), again.lora_weights().values(), strict=True):
        np.testing.assert_array_equal(one[1], other[1])


def test_changes_on_disk(trained: QueryAdapter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new" / "query.safetensors"
    write_query_adapter(path, trained.lora_weights(), "one")
    assert read_query_adapter(path, "another") is None
    back = read_query_adapter(path, "one")
    assert back is not None and back.keys() == trained.lora_weights().keys()
    for name, factors in trained.lora_weights().items():
        for one, other in zip(factors, back[name], strict=True):
            assert other.dtype == np.float32
            np.testing.assert_allclose(other, one, rtol=1e-3, atol=1e-6)
    before = path.read_bytes()
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_query_adapter(path, trained.lora_weights(), "two")
    assert path.read_bytes() == before
    path.write_bytes(before[: len(before) // 2])
    with pytest.raises(ModelError, match=r"query\.safetensors cannot be read"):
        read_query_adapter(path, "one")


def test_what_comes_along_is_small_and_used_for_queries_alone(encoder: Encoder, plain: BertEncoder) -> None:
    assert BUNDLED.stat().st_size < 2e6
    assert encoder.fingerprint == plain.fingerprint
    np.testing.assert_array_equal(encoder.encode(QUESTIONS), plain.encode(QUESTIONS))
    lora = read_query_adapter(BUNDLED, encoder.fingerprint)
    assert lora is not None
    ours = Bert(default_model_folder()).with_lora(lora)
    np.testing.assert_array_equal(encoder.encode_query(QUESTIONS), np.stack([ours.encode(text) for text in QUESTIONS]))
    assert ((encoder.encode_query(QUESTIONS) * plain.encode(QUESTIONS)).sum(axis=1) < 0.999).all()
    assert encoder.encode_query([]).shape == (0, encoder.dimension)
    late = BertEncoder(default_model_folder(), "late")
    np.testing.assert_array_equal(late.encode_query(QUESTIONS), plain.encode(QUESTIONS))
    late.set_query_adapter(lora)
    np.testing.assert_array_equal(late.encode_query(QUESTIONS), encoder.encode_query(QUESTIONS))
    # KB_MODEL=marge adapts the vectors of queries as it adapts those of papers, and keeps the query adapter.
    marge = load_encoder("marge")
    assert isinstance(marge, MargeEncoder)
    np.testing.assert_array_equal(marge.encode_query(QUESTIONS), marge.derive(encoder.encode_query(QUESTIONS)))
    assert ((marge.encode_query(QUESTIONS) * marge.encode(QUESTIONS)).sum(axis=1) < 0.999).all()


def test_what_is_measured_and_learned_from(plain: BertEncoder, tmp_path: Path) -> None:
    """Citing papers ask by title and by first sentence for what they cite among the papers drawn; twins are told apart."""
    folder = tmp_path / "data" / "citations"
    folder.mkdir(parents=True)
    papers = {f"p{n}": {"title": f"Subject {n}", "abstract": f"First of {n}. Second of {n}."} for n in range(60)}
    papers["p7"]["abstract"] = ""
    with gzip.open(folder / "papers.jsonl.gz", "wt", encoding="utf-8") as lines:
        lines.writelines(json.dumps({"id": name} | paper) + "\n" for name, paper in papers.items())
    cited = {f"p{n}": [f"p{(n + step) % 60}" for step in (1, 30)] for n in range(60)}
    with gzip.open(folder / "pairs.tsv.gz", "wt", encoding="utf-8") as lines:
        lines.write("citing\tcited\n" + "".join(f"{one}\t{other}\n" for one, others in cited.items() for other in others))
    found = citing(tmp_path, "train", 5)
    kept = {document.id for document in found.documents}
    asking = {paper for paper in kept if split_of(paper) == "train" and set(cited[paper]) & kept}
    assert {query.removesuffix("_opening") for query in found.qrels} == asking and len(asking) >= 5
    for query, answers in found.qrels.items():
        paper = query.removesuffix("_opening")
        assert answers == dict.fromkeys((other for other in cited[paper] if other in kept), 1)
        assert found.queries[query] == (papers[paper]["title"] if query == paper else f"First of {paper[1:]}.")
        assert found.source_documents()[query] == paper
    assert "p7_opening" not in found.qrels
    collection = training_set(found, plain, tmp_path / "vectors")
    assert collection.vectors.shape == (len(kept), plain.dimension)
    texts = [f"{document.title}. {document.text}" if document.text else document.title for document in found.documents]
    by_document = dict(zip((document.id for document in found.documents), plain.encode(texts), strict=True))
    for query, example in zip(found.qrels, collection.queries, strict=True):
        assert example.text == found.queries[query] and example.source is not None
        own = collection.vectors[[*example.relevant.tolist(), example.source]]
        wanted = [by_document[name] for name in (*found.qrels[query], query.removesuffix("_opening"))]
        # The answers come in the order of their keys.
        assert np.isclose(own @ np.stack(wanted).T, 1, atol=2e-3).any(axis=1).all()

    claims = Judgements("claims", (), {"a": "Zinc lowers the risk.", "b": "Graphs are hard."}, {"a": {"d": 1}, "b": {"d": 1}})
    others = Judgements("others", (), {"c": "Zinc lowers the risk"}, {"c": {"d": 1}})
    alone = without_twins(claims, others, plain)
    assert (alone.queries, alone.qrels) == ({"b": "Graphs are hard."}, {"b": {"d": 1}})
    parts = folds(found)
    assert sorted(parts) == sorted(found.qrels) and set(parts.values()) == set(range(5))


class _Told:
    """The encoder, and which side of it was asked for what."""

    def __init__(self, encoder: Encoder) -> None:
        self.model_id, self.fingerprint, self.dimension = encoder.model_id, encoder.fingerprint, encoder.dimension
        self._encoder = encoder
        self.told: list[tuple[str, str]] = []

    def encode(self, texts: Sequence[str], progress: Callable[[int], None] | None = None) -> Vectors:
        self.told += [("paper", text) for text in texts]
        return self._encoder.encode(texts, progress)

    def encode_query(self, texts: Sequence[str]) -> Vectors:
        self.told += [("query", text) for text in texts]
        return self._encoder.encode_query(texts)


def test_a_phrase_is_a_query_and_an_abstract_a_paper(home: Home, write_snapshot: Callable[..., Path], encoder: Encoder) -> None:
    from ingest.jobs.run import run_index, run_snapshot

    run_snapshot(home, [write_snapshot([record(n) for n in range(12)])])
    run_index(home, encoder)
    told = _Told(encoder)
    with Searcher.open(home, told) as searcher:
        abstract = " ".join(["attention heads of vision transformers"] * 12)
        hits = searcher.search("graphs of molecules")
        searcher.search(abstract)
        searcher.like([hits[0].paper.id], text="on small machines")
        assert told.told == [("query", "graphs of molecules"), ("paper", abstract), ("paper", "on small machines")]
        key = searcher.catalogue.key_of(hits[0].paper.id)
        vector = searcher.index.vectors(np.asarray([key]))[0]
        assert hits[0].scores["dense"] == pytest.approx(
            float(encoder.encode_query(["graphs of molecules"])[0] @ vector), abs=1e-5
        )
