"""Variants of words: American spelling, hyphenated words, acronyms with their long form."""

from __future__ import annotations

import pytest

from kb.text.variants import acronym_definitions, american_spelling, compounds


@pytest.mark.parametrize(
    ("british", "american"),
    [
        ("Optimisation of regularised tokenisers", "Optimization of regularized tokenizers"),
        ("behaviours of coloured neighbours", "behaviors of colored neighbors"),
        ("labelling, modelled, signalling", "labeling, modeled, signaling"),
        ("analysed; catalysing", "analyzed; catalyzing"),
        ("the centre, dialogues and artefacts", "the center, dialogs and artifacts"),
        # These have an s, or an our, on both sides of the ocean.
        ("noise, precise, supervised, self-supervised", "noise, precise, supervised, self-supervised"),
        ("promising, raised, arises, expertise, otherwise", "promising, raised, arises, expertise, otherwise"),
        ("our four hours; this analysis, basis", "our four hours; this analysis, basis"),
    ],
)
def test_american_spelling(british: str, american: str) -> None:
    assert american_spelling(british) == american


def test_compounds() -> None:
    assert compounds("over-smoothing in state-of-the-art GPT-4, x - y and -z-") == ["over-smoothing", "state-of-the-art", "GPT-4"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("We study graph neural networks (GNNs).", [("GNN", "graph neural networks")]),
        ("Sparse mixture-of-experts (MoE) layers", [("MoE", "mixture-of-experts")]),
        ("retrieval-augmented generation (RAG) and large language models (LLMs)",
         [("RAG", "retrieval-augmented generation"), ("LLM", "large language models")]),
        ("It works (see Fig. 2) well (WELL).", []),
        ("in 2020 (ICLR) we had (A) none", []),
        ("(BERT)", []),
    ],
)  # fmt: skip
def test_acronym_definitions(text: str, found: list[tuple[str, str]]) -> None:
    assert list(acronym_definitions(text)) == found
