"""Sentence splitting, and the sentence of a text that best matches a query."""

from __future__ import annotations

import re
from collections.abc import Mapping

from kb.text.tokenize import index_terms

# The blank after a full stop that no initial or common abbreviation ends with, before a character that can begin a sentence.
_END = re.compile(
    r"(?<=[.!?])(?<!\s[A-Z]\.)(?<!\be\.g\.)(?<!\bi\.e\.)(?<!\bal\.)(?<!\bvs\.)(?<!\bcf\.)(?<!\bFig\.)\s+(?=[\"“'(\[$]*[A-Z0-9\\])"
)


def split_sentences(text: str) -> list[str]:
    """Split a text into sentences."""
    return [sentence for sentence in _END.split(text.strip()) if sentence]


def best_sentence(text: str, weights: Mapping[str, float]) -> str:
    """The sentence with the highest summed weight of query terms, each counted once; '' if no sentence has one.

    `weights`: weight by term (`kb.text.tokenize.index_terms`). Among equals the shortest wins, then the first.
    """
    best, most = "", (0.0, 0)
    for sentence in split_sentences(text):
        found = sum(weights[term] for term in set(index_terms(sentence)) & weights.keys())
        if found > 0 and (found, -len(sentence)) > most:
            best, most = sentence, (found, -len(sentence))
    return best
