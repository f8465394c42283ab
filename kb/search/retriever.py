"""Queries, and retrieval of candidates for them: dense and lexical, with their scores made one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from kb.encode.encoder import Encoder, Vectors
from kb.index.dense import DenseIndex
from kb.index.lexical import LexicalIndex
from kb.store import Filters, Keys
from kb.text.facets import Facet

#: Candidates that each index gives at least; the reranker sees those that both together rank best.
DEPTH = 200
#: Of the candidates those that tell what the query is about. Chosen on SciFact's training claims and the titles and opening
#: sentences of citing papers, from 3 to 20.
BEST = 5


@dataclass(frozen=True, slots=True)
class Query:
    """What is looked for: a text, papers that are good examples, papers that are bad ones, or all together."""

    text: str = ""
    like: tuple[int, ...] = ()
    """Keys of papers to find the like of; they are not among the results."""
    unlike: tuple[int, ...] = ()
    """Keys of papers to keep away from; they are not among the results either."""
    filters: Filters = field(default_factory=Filters)
    facet: Facet | None = None
    """Asks for papers that are alike in their background, method or result only."""
    hops: int = 1
    """Rounds of retrieval; from the second one on near to what the one before found."""

    @property
    def by_example(self) -> bool:
        """Whether a paper is what is asked with: examples, or a text as long as an abstract."""
        return bool(self.like) or len(self.text.split()) >= _ABSTRACT


@dataclass(frozen=True, slots=True)
class Candidates:
    """Papers that may answer a query, best first by the fused score; arrays of shape (n,) but for the vectors."""

    keys: Keys
    dense: Vectors
    """Cosine to the query, by what `adapt` makes of the vectors where that is an example; where it has several parts, text and
    examples, midway between the mean and the highest over them, less a share of the mean over bad examples."""
    lexical: Vectors
    """BM25; 0 for a paper that has none of the query's words."""
    fused: Vectors
    """Both, standardised and weighted."""
    vectors: Vectors
    """What the cosines are of, shape (n, d): the papers' own vectors, or what `adapt` makes of them."""

    def __len__(self) -> int:
        return len(self.keys)


#: The encoder; a query without text never asks for it, so that no model is loaded for that.
Encoding = Callable[[], Encoder]
#: Titles of papers by key, as the words of an example.
Titles = Callable[[Sequence[int]], dict[int, str]]
#: Vectors of papers to those by which one is compared with another, both of shape (n, d).
Adapt = Callable[[Vectors], Vectors]

# How much a bad example counts against good ones: Rocchio's usual proportion of γ to β, 0.15 to 0.75
# (Manning, Raghavan, Schütze: Introduction to Information Retrieval, section 9.1.1).
_UNLIKE_WEIGHT = 0.2
# Share of the dense score; between the best for held-out ones of SciFact's training claims (0.75) and for titles of citing papers
# (0.6), with their opening sentences at 0.7: see kb/models/query_adapter/MODEL_CARD.md.
_DENSE_SHARE = 0.65
# The same for examples, whose titles are fewer words than a question; chosen on papers left out of bibliographies. It is the
# better one for abstracts as queries as well, which have words of all kinds: by 0.6 points of nDCG@10 for those of citing papers.
_DENSE_SHARE_OF_EXAMPLES = 0.7
_ABSTRACT = 60  # words from which a text is taken for an abstract


class Retriever:
    """Both indexes, asked together. They hold the same papers."""

    def __init__(self, dense: DenseIndex, lexical: LexicalIndex, encoding: Encoding, titles: Titles, adapt: Adapt) -> None:
        self.dense = dense
        self.lexical = lexical
        self._encoding = encoding
        self._titles = titles
        self._adapt = adapt
        # Kept: a new thread begins with a heap of its own, which takes a millisecond of every search.
        self._beside = ThreadPoolExecutor(thread_name_prefix="words")

    def close(self) -> None:
        """Ends its threads; what they are at is done first."""
        self._beside.shutdown(wait=False)

    def candidates(self, query: Query, k: int, allowed: Keys | None, also: Sequence[int] = ()) -> Candidates:
        """At least k papers, or all that are allowed, and those that are named; its own examples are left out.

        Each index gives its best, and what one of them found is scored by the other as well: a score is missing for none. A
        further hop adds what lies nearest to the best of these: papers that the query reaches by way of others only.
        """
        own = np.asarray(query.like + query.unlike, dtype=np.int64)
        depth = max(k, DEPTH) + len(own)
        texts = self._texts(query)
        # One thread looks for words while this one encodes.
        words = self._beside.submit(lambda: [self.lexical.search(text, depth, allowed) for text in texts])
        parts = self._parts(query)
        # Papers between all parts, and those near to one of them.
        vectors = np.concatenate([_mean(parts), parts]) if len(parts) > 1 else parts
        found = [self.dense.search(vectors[row : row + 1], depth, allowed)[0][0] for row in range(len(vectors))]
        worded = words.result()
        found += [keys for keys, _ in worded]
        found.append(embedded_only(tuple(also), self.dense))
        candidates = self._scored(query, parts, texts, worded, np.setdiff1d(np.concatenate(found), own))
        for _ in range(query.hops - 1):
            middle = middle_of_best(candidates.fused, self.dense.vectors(candidates.keys[:BEST]))
            further = np.union1d(candidates.keys, self.dense.search(middle[None], depth, allowed)[0][0])
            candidates = self._scored(query, parts, texts, worded, np.setdiff1d(further, own))
        return candidates

    def _scored(
        self, query: Query, parts: Vectors, texts: Sequence[str], worded: Sequence[tuple[Keys, Vectors]], keys: Keys
    ) -> Candidates:
        """These papers with their scores, best first; `worded` is what each of the texts found by its words."""
        stored = self._compared(query, self.dense.vectors(keys))
        dense = self._cosines(query, parts, stored)
        lexical = self._lexical(texts, worded, keys)
        fused = fuse(dense, lexical, _DENSE_SHARE_OF_EXAMPLES if query.by_example else _DENSE_SHARE)
        order = np.lexsort((keys, -fused))
        return Candidates(keys[order], dense[order], lexical[order], fused[order], stored[order])

    def _parts(self, query: Query) -> Vectors:
        """Vectors of the text and of the examples, those not embedded yet left out; shape (parts, d)."""
        text = []
        if query.text:  # one as long as an abstract, or beside examples, is compared as papers are
            encode = self._encoding().encode if query.by_example else self._encoding().encode_query
            text = [encode([query.text])]
        return np.concatenate([*text, self.dense.vectors(embedded_only(query.like, self.dense))])

    def _compared(self, query: Query, vectors: Vectors) -> Vectors:
        """The vectors as they are compared for this query, shape (n, d)."""
        return self._adapt(vectors) if query.by_example else vectors

    def _cosines(self, query: Query, parts: Vectors, stored: Vectors) -> Vectors:
        if not len(parts):
            return np.zeros(len(stored), dtype=np.float32)
        cosines = stored @ self._compared(query, parts).T
        disliked = self._compared(query, self.dense.vectors(embedded_only(query.unlike, self.dense)))
        scores = (cosines.mean(axis=1) + cosines.max(axis=1)) / 2
        if len(disliked):
            scores = scores - _UNLIKE_WEIGHT * (stored @ disliked.T).mean(axis=1)
        return np.asarray(scores, dtype=np.float32)

    def _texts(self, query: Query) -> list[str]:
        titles = self._titles(query.like) if query.like else {}
        return [text for text in (query.text, *titles.values()) if text]

    def _lexical(self, texts: Sequence[str], found: Sequence[tuple[Keys, Vectors]], keys: Keys) -> Vectors:
        """BM25 of one text; of several the mean, each as a share of its best, so that no long title drowns the others."""
        if not texts or not len(keys):
            return np.zeros(len(keys), dtype=np.float32)
        scores = np.stack([self._completed(text, *best, keys) for text, best in zip(texts, found, strict=True)])
        if len(texts) == 1:
            return np.asarray(scores[0], dtype=np.float32)
        return np.asarray((scores / np.maximum(scores.max(axis=1, keepdims=True), 1e-6)).mean(axis=0), dtype=np.float32)

    def _completed(self, text: str, found: Keys, scores: Vectors, keys: Keys) -> Vectors:
        """BM25 of these papers, of which a search has found some with their scores: only the others are looked up."""
        out = np.zeros(len(keys), dtype=np.float32)
        known = np.isin(keys, found)
        order = np.argsort(found)
        out[known] = scores[order[np.searchsorted(found[order], keys[known])]]
        out[~known] = self.lexical.scores(text, keys[~known])
        return out


def fuse(dense: Vectors, lexical: Vectors, dense_share: float = _DENSE_SHARE) -> Vectors:
    """The scores as one, shape (n,): a weighted mean of both, standardised over the candidates.

    Where one side does not tell the candidates apart, as where no word was found, the other decides alone.
    """
    return np.asarray(dense_share * standardised(dense) + (1 - dense_share) * standardised(lexical), dtype=np.float32)


def middle_of_best(scores: Vectors, vectors: Vectors) -> Vectors:
    """The unit vector in the middle of the first vectors, BEST at most, weighted by the exponential of their scores, shape (d,).

    Scores of shape (n,), the best first. Rocchio 1971; Lavrenko and Croft 2001 for the weights.
    """
    best = scores[:BEST]
    mean = np.exp(best - best.max(initial=0)) @ vectors[:BEST]
    return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-12), dtype=np.float32)


def standardised(scores: Vectors) -> Vectors:
    """Scores of mean 0 and standard deviation 1; all 0 where they do not differ."""
    if not len(scores):
        return scores
    deviation = float(scores.std())
    return np.asarray((scores - scores.mean()) / deviation if deviation > 1e-6 else np.zeros_like(scores), dtype=np.float32)


def _mean(vectors: Vectors) -> Vectors:
    """The unit vector in the middle of these, shape (1, d)."""
    mean = vectors.mean(axis=0, keepdims=True)
    return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-12), dtype=np.float32)


def embedded_only(keys: tuple[int, ...], index: DenseIndex) -> Keys:
    """Those of the keys that the index holds."""
    wanted = np.asarray(keys, dtype=np.int64)
    return wanted[index.rows_of(wanted) >= 0] if len(wanted) else wanted
