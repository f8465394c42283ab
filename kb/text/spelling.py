"""Spelling correction against the words of titles."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher

_WORD = re.compile(r"[^\W\d_]{4,}")
_MIN_PAPERS = 3  # that have a word in their titles, for it to be suggested
_SIMILARITY = 0.8  # of difflib's ratio, from 0 to 1


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The words of titles, in small letters."""

    counts: Mapping[str, int]
    """Number of titles by word."""

    @classmethod
    def of(cls, titles: Iterable[str]) -> Vocabulary:
        """Count the words of these titles."""
        return cls(Counter(word for title in titles for word in set(_WORD.findall(title.lower()))))

    def nearest(self, word: str) -> str:
        """The word that is most like this one, the more frequent of two; '' where none is like it."""
        best, reached = "", (_SIMILARITY, 0)
        for known, n in self.counts.items():
            if n < _MIN_PAPERS or abs(len(known) - len(word)) > 2 or not {known[0], known[-1]} & {word[0], word[-1]}:
                continue
            matcher = SequenceMatcher(None, known, word)
            if matcher.quick_ratio() >= reached[0] and (found := (matcher.ratio(), n)) > reached:
                best, reached = known, found
        return best


def correct(text: str, unknown: Container[str], vocabulary: Vocabulary) -> str:
    """The text with each of its unknown words replaced by the most similar word of the titles, where there is one."""
    return _WORD.sub(lambda found: (found[0] in unknown and vocabulary.nearest(found[0].lower())) or found[0], text)
