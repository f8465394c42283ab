"""Fusion and reranking, beside the formulas worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kb.errors import ModelError
from kb.models.ranker.training import RankedQuery, fit
from kb.models.ranker.weights import FEATURES, RankerWeights
from kb.search.ranker import LearnedReranker
from kb.search.rerank import CrossEncoderReranker
from kb.search.rerankers import load_reranker
from kb.search.retriever import Candidates, Query, fuse, z_scores


def candidates(number: int) -> Candidates:
    fused = np.linspace(2, -1, number, dtype=np.float32)
    vectors = np.random.default_rng(0).normal(size=(number, 8)).astype(np.float32)
    return Candidates(np.arange(1, number + 1), fused, fused, fused, vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def test_fusion_is_a_weighted_mean_of_standard_scores() -> None:
    dense, lexical = np.float32([0.2, 0.4, 0.6]), np.float32([9, 0, 3])
    expected = 0.4 * (dense - 0.4) / dense.std() + 0.6 * (lexical - 4) / lexical.std()
    np.testing.assert_allclose(fuse(dense, lexical), expected, rtol=1e-5)


def test_where_one_side_finds_nothing_the_other_decides() -> None:
    dense, nothing = np.float32([0.2, 0.4, 0.3]), np.zeros(3, dtype=np.float32)
    assert fuse(dense, nothing).argsort().tolist() == [0, 2, 1]
    assert fuse(nothing, dense).argsort().tolist() == [0, 2, 1]
    assert fuse(nothing, nothing).tolist() == [0, 0, 0]
    assert fuse(nothing[:0], nothing[:0]).shape == (0,)
    assert z_scores(np.float32([5])).tolist() == [0]


def test_the_ranker_is_a_weighted_sum_of_features_worked_out_by_hand() -> None:
    found = candidates(30)
    vectors, fused = found.vectors.astype(float), found.fused.astype(float)
    cosines = vectors @ vectors.T
    centroid = (vectors[:5] * np.exp(fused[:5])[:, None]).sum(axis=0)
    neighbours = []
    for row in range(30):
        nearest = sorted((n for n in range(30) if n != row), key=lambda n: -cosines[row, n])[:10]
        weights = np.maximum(cosines[row, nearest], 1e-6)
        neighbours.append((weights * fused[nearest]).sum() / weights.sum())
    columns = [found.dense, found.lexical, vectors @ centroid / np.linalg.norm(centroid), neighbours, cosines.mean(axis=1)]
    expected = np.stack([(np.asarray(x) - np.mean(x)) / np.std(x) for x in columns], axis=1)
    phrase, example = np.float32([0.4, 0.5, 0.8, 0.1, -0.1]), np.float32([1, 0, 0, 0, 0])
    ranker = LearnedReranker(RankerWeights(phrase, example))
    np.testing.assert_allclose(ranker.features(found), expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(ranker.rerank(Query("text"), found), expected @ phrase, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(ranker.rerank(Query(like=(1,)), found), expected[:, 0], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("number", [0, 1])
def test_one_candidate_has_nothing_to_be_told_apart_from(number: int) -> None:
    ranker = LearnedReranker(RankerWeights.read())
    np.testing.assert_array_equal(ranker.rerank(Query("text"), candidates(number)), np.zeros(number))


def test_training_finds_the_feature_that_tells_relevant_papers(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    queries = []
    for _ in range(50):
        features = random.normal(size=(40, len(FEATURES))).astype(np.float32)
        relevance = (features[:, 2] > 1.5).astype(np.float32)  # by feedback alone
        queries.append(RankedQuery(features, relevance))
    weights = fit([(1.0, queries)], np.zeros(len(FEATURES), dtype=np.float32))
    assert weights.argmax() == 2
    assert np.abs(np.delete(weights, 2)).max() < 0.1 * weights[2]
    RankerWeights(weights, weights).write(tmp_path / "ranker.json", {"trained on": "made-up queries"})
    np.testing.assert_allclose(RankerWeights.read(tmp_path / "ranker.json").example, weights, atol=1e-4)


def test_a_damaged_ranker_names_its_file(tmp_path: Path) -> None:
    (tmp_path / "ranker.json").write_text('{"phrase": {"dense": 1}}')
    with pytest.raises(ModelError, match=r"ranker\.json"):
        RankerWeights.read(tmp_path / "ranker.json")


def test_the_environment_names_the_reranker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("KB_RERANKER", raising=False)
    assert isinstance(load_reranker(lambda _: {}, tmp_path), LearnedReranker)
    monkeypatch.setenv("KB_RERANKER", "none")
    assert load_reranker(lambda _: {}, tmp_path) is None
    monkeypatch.setenv("KB_RERANKER", "/no/such/model")
    with pytest.raises(ModelError, match="KB_RERANKER"):
        load_reranker(lambda _: {}, tmp_path)


def test_a_cross_encoder_by_folder(tmp_path: Path) -> None:
    """A real one, small and untrained: its scores are those that the library gives for the same pairs."""
    from sentence_transformers import CrossEncoder
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    vocabulary = {word: number for number, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "go", "chess", "speech"])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    config = BertConfig(
        vocab_size=7, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, num_labels=1,
        max_position_embeddings=32,
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(tmp_path)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=32,
    ).save_pretrained(tmp_path)
    texts = {key: ("chess", "speech")[key % 2] + " go" for key in range(1, 61)}
    reranker = CrossEncoderReranker(str(tmp_path), lambda keys: {key: texts[key] for key in keys})
    scores = reranker.rerank(Query("go"), candidates(60))
    assert scores.shape == (50,)  # it reads the best fifty
    exact = CrossEncoder(str(tmp_path), device="cpu").predict([("go", texts[key]) for key in range(1, 51)])
    np.testing.assert_allclose(scores, exact, rtol=1e-4)
    np.testing.assert_array_equal(reranker.rerank(Query(like=(1,)), candidates(60)), candidates(60).fused[:50])
