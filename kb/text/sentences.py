"""Sentences of a paper, and which of them answers to a query."""

from __future__ import annotations

import re
from collections.abc import Mapping

from kb.text.tokenize import words

# Not after an initial or a usual abbreviation, and only where something that can begin a sentence follows.
_END = re.compile(
    r"(?<=[.!?])(?<!\s[A-Z]\.)(?<!\be\.g\.)(?<!\bi\.e\.)(?<!\bal\.)(?<!\bvs\.)(?<!\bcf\.)(?<!\bFig\.)\s+(?=[\"“'(\[$]*[A-Z0-9\\])"
)


def sentences(text: str) -> list[str]:
    """The text cut at the ends of its sentences."""
    return [sentence for sentence in _END.split(text.strip()) if sentence]


def best_sentence(text: str, weights: Mapping[str, float]) -> str:
    """The sentence that has most of the query's terms by their weight; '' where none has any.

    Of two that have as much the shorter, which says it more plainly.
    """
    best, most = "", (0.0, 0)
    for sentence in sentences(text):
        found = sum(weights[term] for term in set(words(sentence)) & weights.keys())
        if found > 0 and (found, -len(sentence)) > most:
            best, most = sentence, (found, -len(sentence))
    return best
