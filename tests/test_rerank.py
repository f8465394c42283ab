"""Fusion and reranking, beside the formulas worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kb.errors import ModelError
from kb.search.rerank import CrossEncoderReranker, FeedbackReranker
from kb.search.rerankers import load_reranker
from kb.search.retriever import Candidates, Query, fuse, z_scores


def candidates(number: int) -> Candidates:
    fused = np.linspace(2, -1, number, dtype=np.float32)
    vectors = np.random.default_rng(0).normal(size=(number, 8)).astype(np.float32)
    return Candidates(np.arange(1, number + 1), fused, fused, fused, vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def test_fusion_is_a_weighted_mean_of_standard_scores() -> None:
    dense, lexical = np.float32([0.2, 0.4, 0.6]), np.float32([9, 0, 3])
    expected = 0.65 * (dense - 0.4) / dense.std() + 0.35 * (lexical - 4) / lexical.std()
    np.testing.assert_allclose(fuse(dense, lexical), expected, rtol=1e-5)


def test_where_one_side_finds_nothing_the_other_decides() -> None:
    dense, nothing = np.float32([0.2, 0.4, 0.3]), np.zeros(3, dtype=np.float32)
    assert fuse(dense, nothing).argsort().tolist() == [0, 2, 1]
    assert fuse(nothing, dense).argsort().tolist() == [0, 2, 1]
    assert fuse(nothing, nothing).tolist() == [0, 0, 0]
    assert fuse(nothing[:0], nothing[:0]).shape == (0,)
    assert z_scores(np.float32([5])).tolist() == [0]


def test_feedback_adds_the_closeness_to_the_best_five() -> None:
    found = candidates(30)
    vectors = found.vectors.astype(float)
    weights = np.exp(found.fused[:5].astype(float))
    mean = (vectors[:5] * weights[:, None]).sum(axis=0)
    cosine = vectors @ mean / np.linalg.norm(mean)
    expected = found.fused + 0.4 * (cosine - cosine.mean()) / cosine.std()
    np.testing.assert_allclose(FeedbackReranker().rerank(Query("text"), found), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("number", [0, 1, 5])
def test_too_few_candidates_keep_their_scores(number: int) -> None:
    found = candidates(number)
    np.testing.assert_array_equal(FeedbackReranker().rerank(Query("text"), found), found.fused)


def test_the_environment_names_the_reranker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KB_RERANKER", raising=False)
    assert isinstance(load_reranker(lambda _: {}), FeedbackReranker)
    monkeypatch.setenv("KB_RERANKER", "none")
    assert load_reranker(lambda _: {}) is None
    monkeypatch.setenv("KB_RERANKER", "/no/such/model")
    with pytest.raises(ModelError, match="KB_RERANKER"):
        load_reranker(lambda _: {})


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
