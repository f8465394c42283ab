"""Splitting texts into sentences, and choosing the one that matches a query best."""

from __future__ import annotations

import pytest

from kb.text.sentences import best_sentence, split_sentences


def test_sentences_end_neither_at_abbreviations_nor_inside_numbers() -> None:
    text = "We follow J. Smith et al. (2019), e.g. in Fig. 2. Accuracy is 0.3 better! Why? $O(n)$ is linear."
    assert split_sentences(text) == [
        "We follow J. Smith et al. (2019), e.g. in Fig. 2.",
        "Accuracy is 0.3 better!",
        "Why?",
        "$O(n)$ is linear.",
    ]
    assert split_sentences("  ") == []


@pytest.mark.parametrize(
    ("text", "best"),
    [
        ("Trees and graphs. Graphs.", "Trees and graphs."),  # both terms outweigh one
        ("Graphs of graphs of graphs. Trees and graphs.", "Trees and graphs."),  # each term counts once
        ("We also study very large graphs. Graphs matter.", "Graphs matter."),  # of equals the shorter, wherever it is
        ("Graphs matter. We also study very large graphs.", "Graphs matter."),
        ("Graphs are big. Graphs are hot.", "Graphs are big."),  # of equal length the first
        ("Nothing here matches. Nor here.", ""),
    ],
)
def test_the_best_sentence(text: str, best: str) -> None:
    assert best_sentence(text, {"tree": 2.0, "graph": 1.0}) == best
