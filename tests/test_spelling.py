"""Spelling against the words of titles."""

from __future__ import annotations

import pytest

from kb.text.spelling import Vocabulary, correct

TITLES = ["Attention in language models"] * 3 + ["Hallucination of language models"] * 3 + ["Proteins"]


@pytest.mark.parametrize(
    ("text", "unknown", "corrected"),
    [
        ("atention in modles", ["atention", "modles"], "attention in models"),
        ("Halucination", ["Halucination"], "hallucination"),
        ("protein", ["protein"], "protein"),
        ("zzqx vrblk", ["zzqx", "vrblk"], "zzqx vrblk"),
        ("attention", [], "attention"),
    ],
)
def test_unknown_words_become_the_most_similar_frequent_word(text: str, unknown: list[str], corrected: str) -> None:
    assert correct(text, unknown, Vocabulary.of(TITLES)) == corrected
