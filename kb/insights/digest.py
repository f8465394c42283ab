"""A month's selection: papers that many others work beside, that have code, that are near to the user's lists; and its trends.

Nothing is written here that a paper or a count does not say: the key sentence is the abstract's own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from kb.encode.encoder import Vectors
from kb.errors import QueryError
from kb.index.dense import DENSE_FILE, DenseIndex
from kb.insights.trends import Rise, largest_categories, months_later, rising_words
from kb.papers import CodeLink, Paper
from kb.store import Generation
from kb.store.monthly import Trends
from kb.text.latex import to_unicode

_NEIGHBOUR = 0.65  # cosine from which two papers of a month count as being about the same
_NEAR = 0.5  # cosine from which a paper of the user's is a reason
_BLOCK = 1024
# How much each reason counts, in standard deviations of the month.
_DENSITY_WEIGHT, _LIST_WEIGHT, _CODE_WEIGHT = 1.0, 1.5, 0.5
_LIKENESS_WEIGHT = 4.0  # how much likeness to a paper already chosen counts against another
_REPEAT_WEIGHT = 1.5  # … and each paper already chosen for the same paper of the user's lists
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9])")
_CLAIM = re.compile(
    r"\b(?:we (?:propose|introduce|present|show|find|demonstrate|develop|study|argue|prove|release|describe|design|build)|"
    r"this (?:paper|work) (?:\w+ly )?(?:proposes|introduces|presents|shows|studies|describes|investigates)|"
    r"our (?:method|results|work|approach))\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Choice:
    """A paper of the selection, and why it is there."""

    paper: Paper
    sentence: str
    """The sentence of its abstract that says what it does; empty where there is no abstract."""
    code: tuple[CodeLink, ...]
    neighbours: int
    """Other papers of the month that are on much the same."""
    beside: Paper | None
    """The nearest of them."""
    close_to: Paper | None
    """The paper of the user's lists that it is near to."""

    @property
    def reasons(self) -> list[str]:
        """Why it was chosen, a sentence each."""
        found = [f"Close to “{to_unicode(self.close_to.title)}” on your lists."] if self.close_to else []
        if self.beside and self.neighbours > 1:
            nearest = f"“{to_unicode(self.beside.title)}” the nearest"
            found.append(f"A theme of the month: {self.neighbours} other papers are close to it, {nearest}.")
        if self.code:
            stars = self.code[0].stars
            found.append("It has code" + (f" with {stars:,} stars." if stars else "."))
        return found or ["Nothing else of the month is like it."]


@dataclass(frozen=True, slots=True)
class Digest:
    """A month's selection."""

    month: date
    """Its first day."""
    papers: int
    """All that were published in it."""
    choices: tuple[Choice, ...]
    categories: tuple[Rise, ...]
    """The largest ones, the largest first."""
    words: tuple[Rise, ...]
    """Those that rose most, the steepest first."""


def parse_month(text: str) -> date:
    """`2025-10` as its first day; raises QueryError for anything else."""
    try:
        if not re.fullmatch(r"\d{4}-\d{2}", text):
            raise ValueError
        return date.fromisoformat(f"{text}-01")
    except ValueError:
        raise QueryError(f"{text!r} is no month, such as 2025-10.") from None


def make_digest(generation: Generation, month: date, liked: Sequence[str] = (), k: int = 12) -> Digest:
    """Chooses k papers of a month; `liked` are canonical ids of the papers on the user's lists.

    Raises QueryError where the month has no embedded papers.
    """
    catalogue, trends = generation.catalogue, Trends(generation.catalogue)
    end = months_later(month, 1)
    if not generation.manifest.embedded:
        raise QueryError("Nothing is embedded yet. Run `kb index`.")
    index = DenseIndex.read(generation.file(DENSE_FILE))
    published = trends.published(month, end)
    keys = published[index.rows_of(published) >= 0] if len(published) else published
    if not len(keys):
        raise QueryError(f"The knowledge base has no papers of {month:%Y-%m}. Ingest them, then run `kb index`.")
    own = np.asarray([key for i in liked if (key := catalogue.key_of(i)) is not None], dtype=np.int64)
    own = own[index.rows_of(own) >= 0] if len(own) else own
    vectors = index.vectors(keys)
    neighbours, beside, density = _neighbourhood(vectors)
    nearest, closeness = _nearest_liked(vectors, index.vectors(own))
    papers = catalogue.papers(keys.tolist())
    code = catalogue.code_of([paper.id for paper in papers.values()])
    coded = np.asarray([_code_score(code.get(papers[int(key)].id, ())) for key in keys])
    scores = _DENSITY_WEIGHT * _standard(density) + _CODE_WEIGHT * _standard(coded)
    if len(own):
        scores = scores + _LIST_WEIGHT * _standard(closeness)
    scores[np.isin(keys, own)] = -np.inf  # what is on a list is known already
    chosen = _diverse(scores, vectors, nearest, min(k, int(np.isfinite(scores).sum())))
    shown = catalogue.papers([int(own[nearest[row]]) for row in chosen]) if len(own) else {}
    choices = [
        Choice(
            paper := papers[int(keys[row])],
            key_sentence(paper.abstract),
            tuple(code.get(paper.id, ())),
            int(neighbours[row]),
            papers[int(keys[beside[row]])] if neighbours[row] else None,
            shown[int(own[nearest[row]])] if len(own) and closeness[row] >= _NEAR else None,
        )
        for row in chosen
    ]
    return Digest(month, len(published), tuple(choices), largest_categories(trends, month), rising_words(trends, month))


def key_sentence(abstract: str) -> str:
    """The first sentence of an abstract that says what the authors do, else its first."""
    sentences = _SENTENCE.split(to_unicode(abstract))
    return next((sentence for sentence in sentences if _CLAIM.search(sentence)), sentences[0])


def _neighbourhood(vectors: Vectors) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Of each of n unit vectors, how many others are about the same, the row of the nearest, and the mean cosine to ten."""
    counts = np.zeros(len(vectors), dtype=np.int64)
    beside = np.zeros(len(vectors), dtype=np.int64)
    density = np.zeros(len(vectors))
    for start in range(0, len(vectors), _BLOCK):
        cosines = vectors[start : start + _BLOCK] @ vectors.T
        counts[start : start + _BLOCK] = (cosines >= _NEIGHBOUR).sum(axis=1) - 1
        own = np.arange(len(cosines))
        cosines[own, start + own] = -1.0
        beside[start : start + _BLOCK] = cosines.argmax(axis=1)
        nearest = min(10, len(vectors) - 1)
        top = np.partition(cosines, -nearest, axis=1)[:, -nearest:] if nearest else np.zeros((len(cosines), 1))
        density[start : start + _BLOCK] = top.mean(axis=1)
    return counts, beside, density


def _nearest_liked(vectors: Vectors, liked: Vectors) -> tuple[NDArray[np.int64], Vectors]:
    """Of each paper, the row of the liked paper that is nearest, and its cosine."""
    if not len(liked):
        return np.zeros(len(vectors), dtype=np.int64), np.zeros(len(vectors), dtype=np.float32)
    cosines = vectors @ liked.T
    return cosines.argmax(axis=1), cosines.max(axis=1)


def _code_score(links: Sequence[CodeLink]) -> float:
    return max((1.0 + float(np.log10(1 + (link.stars or 0))) for link in links), default=0.0)


def _standard(values: NDArray[np.float64] | Vectors) -> NDArray[np.float64]:
    """Zero mean and unit deviation, so that reasons of different scales can be added."""
    deviation = float(values.std())
    return np.asarray((values - values.mean()) / deviation if deviation > 1e-9 else np.zeros(len(values)), dtype=np.float64)


def _diverse(scores: NDArray[np.float64], vectors: Vectors, nearest: NDArray[np.int64], k: int) -> list[int]:
    """Rows chosen one by one, each for its score less its likeness to those before (Carbonell and Goldstein 1998).

    `nearest` has the liked paper of each row: one that has brought papers already brings others less easily.
    """
    chosen: list[int] = []
    likeness = np.zeros(len(scores))
    brought = np.zeros(int(nearest.max()) + 1)
    several = len(brought) > 1
    for _ in range(k):
        row = int(np.argmax(scores - _LIKENESS_WEIGHT * likeness - several * _REPEAT_WEIGHT * brought[nearest]))
        chosen.append(row)
        brought[nearest[row]] += 1
        likeness = np.maximum(likeness, vectors @ vectors[row])
        scores[row] = -np.inf
    return chosen
