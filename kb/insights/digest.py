"""Monthly digest: papers chosen by topic density, code and similarity to the user's lists, and the month's trends.

Every sentence is taken from an abstract or states a count; nothing is generated.
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
from kb.index.dense import DenseIndex
from kb.insights.trends import Rise, largest_categories, months_later, rising_words
from kb.papers import CodeLink, Paper
from kb.store import Generation
from kb.store.monthly import MonthlyCounts
from kb.text.latex import to_unicode

_SAME_TOPIC = 0.65  # from this cosine on, two papers of a month are on the same topic
_SIMILAR_TO_LISTED = 0.5  # from this cosine on, a listed paper is given as a reason
_BATCH = 1024
# Weights of the z-scores that make up a paper's score.
_DENSITY_WEIGHT, _LIST_WEIGHT, _CODE_WEIGHT = 1.0, 1.5, 0.5
_REDUNDANCY_WEIGHT = 4.0  # penalty for cosine similarity to a paper already chosen
_REPEAT_WEIGHT = 1.5  # penalty for each paper already chosen for the same listed paper
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9])")
_CLAIM = re.compile(
    r"\b(?:we (?:propose|introduce|present|show|find|demonstrate|develop|study|argue|prove|release|describe|design|build)|"
    r"this (?:paper|work) (?:\w+ly )?(?:proposes|introduces|presents|shows|studies|describes|investigates)|"
    r"our (?:method|results|work|approach))\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Choice:
    """A chosen paper and the reasons for it."""

    paper: Paper
    sentence: str
    """Key sentence of the abstract; empty if there is no abstract."""
    code: tuple[CodeLink, ...]
    neighbours: int
    """Number of other papers of the month on the same topic."""
    beside: Paper | None
    """The nearest of them; `None` if there is none."""
    close_to: Paper | None
    """The nearest paper on the user's lists, if it is similar enough."""

    @property
    def reasons(self) -> list[str]:
        """The reasons, one sentence each."""
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
    """The digest of one month."""

    month: date
    """First day of the month."""
    papers: int
    """Number of papers published in the month."""
    choices: tuple[Choice, ...]
    categories: tuple[Rise, ...]
    """Largest categories, largest first."""
    words: tuple[Rise, ...]
    """Word pairs in titles that rose most, steepest first."""


def parse_month(text: str) -> date:
    """First day of a month given as `2025-10`. Raises QueryError for anything else."""
    try:
        if not re.fullmatch(r"\d{4}-\d{2}", text):
            raise ValueError
        return date.fromisoformat(f"{text}-01")
    except ValueError:
        raise QueryError(f"{text!r} is no month, such as 2025-10.") from None


def make_digest(generation: Generation, month: date, listed: Sequence[str] = (), k: int = 12) -> Digest:
    """Choose k papers of a month; `listed` are canonical ids of the papers on the user's lists.

    Raises QueryError if the month has no embedded papers.
    """
    catalogue, trends = generation.catalogue, MonthlyCounts(generation.catalogue)
    end = months_later(month, 1)
    if not generation.manifest.embedded:
        raise QueryError("Nothing is embedded yet. Run `kb index`.")
    index = DenseIndex.open(generation)
    published = trends.published(month, end)
    keys = published[index.rows_of(published) >= 0] if len(published) else published
    if not len(keys):
        raise QueryError(f"The knowledge base has no papers of {month:%Y-%m}. Ingest them, then run `kb index`.")
    own = np.asarray([key for i in listed if (key := catalogue.key_of(i)) is not None], dtype=np.int64)
    own = own[index.rows_of(own) >= 0] if len(own) else own
    vectors = index.vectors(keys)
    neighbours, beside, density = _neighbourhood(vectors)
    nearest, closeness = _nearest_listed(vectors, index.vectors(own))
    papers = catalogue.papers(keys.tolist())
    code = catalogue.code_of([paper.id for paper in papers.values()])
    code_scores = np.asarray([_code_score(code.get(papers[int(key)].id, ())) for key in keys])
    scores = _DENSITY_WEIGHT * _z_scores(density) + _CODE_WEIGHT * _z_scores(code_scores)
    if len(own):
        scores = scores + _LIST_WEIGHT * _z_scores(closeness)
    scores[np.isin(keys, own)] = -np.inf  # never a paper that is on a list already
    chosen = _maximal_marginal_relevance(scores, vectors, nearest, min(k, int(np.isfinite(scores).sum())))
    shown = catalogue.papers([int(own[nearest[row]]) for row in chosen]) if len(own) else {}
    choices = [
        Choice(
            paper := papers[int(keys[row])],
            key_sentence(paper.abstract),
            tuple(code.get(paper.id, ())),
            int(neighbours[row]),
            papers[int(keys[beside[row]])] if neighbours[row] else None,
            shown[int(own[nearest[row]])] if len(own) and closeness[row] >= _SIMILAR_TO_LISTED else None,
        )
        for row in chosen
    ]
    return Digest(month, len(published), tuple(choices), largest_categories(trends, month), rising_words(trends, month))


def key_sentence(abstract: str) -> str:
    """First sentence of an abstract that states what the authors do; else its first sentence."""
    sentences = _SENTENCE.split(to_unicode(abstract))
    return next((sentence for sentence in sentences if _CLAIM.search(sentence)), sentences[0])


def _neighbourhood(vectors: Vectors) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Number of same-topic vectors, row of the nearest and mean cosine to the ten nearest, each (n,), of unit vectors (n, d)."""
    counts = np.zeros(len(vectors), dtype=np.int64)
    beside = np.zeros(len(vectors), dtype=np.int64)
    density = np.zeros(len(vectors))
    for start in range(0, len(vectors), _BATCH):
        cosines = vectors[start : start + _BATCH] @ vectors.T
        counts[start : start + _BATCH] = (cosines >= _SAME_TOPIC).sum(axis=1) - 1
        own = np.arange(len(cosines))
        cosines[own, start + own] = -1.0
        beside[start : start + _BATCH] = cosines.argmax(axis=1)
        nearest = min(10, len(vectors) - 1)
        top = np.partition(cosines, -nearest, axis=1)[:, -nearest:] if nearest else np.zeros((len(cosines), 1))
        density[start : start + _BATCH] = top.mean(axis=1)
    return counts, beside, density


def _nearest_listed(vectors: Vectors, listed: Vectors) -> tuple[NDArray[np.int64], Vectors]:
    """Row of the nearest listed vector and its cosine, each shape (n,), for vectors (n, d) and listed (l, d)."""
    if not len(listed):
        return np.zeros(len(vectors), dtype=np.int64), np.zeros(len(vectors), dtype=np.float32)
    cosines = vectors @ listed.T
    return cosines.argmax(axis=1), cosines.max(axis=1)


def _code_score(links: Sequence[CodeLink]) -> float:
    return max((1.0 + float(np.log10(1 + (link.stars or 0))) for link in links), default=0.0)


def _z_scores(values: NDArray[np.float64] | Vectors) -> NDArray[np.float64]:
    """Standardise values, shape (n,), to zero mean and unit deviation; zeros if they are all equal."""
    deviation = float(values.std())
    return np.asarray((values - values.mean()) / deviation if deviation > 1e-9 else np.zeros(len(values)), dtype=np.float64)


def _maximal_marginal_relevance(scores: NDArray[np.float64], vectors: Vectors, nearest: NDArray[np.int64], k: int) -> list[int]:
    """Choose k rows by maximal marginal relevance (Carbonell and Goldstein 1998).

    scores: (n,), overwritten; vectors: (n, d); nearest: (n,), the nearest listed paper of each row. Choosing several rows
    for one listed paper is penalised.
    """
    chosen: list[int] = []
    redundancy = np.zeros(len(scores))
    used = np.zeros(int(nearest.max()) + 1)
    has_several = len(used) > 1
    for _ in range(k):
        row = int(np.argmax(scores - _REDUNDANCY_WEIGHT * redundancy - has_several * _REPEAT_WEIGHT * used[nearest]))
        chosen.append(row)
        used[nearest[row]] += 1
        redundancy = np.maximum(redundancy, vectors @ vectors[row])
        scores[row] = -np.inf
    return chosen
