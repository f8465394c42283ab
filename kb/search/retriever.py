"""Queries, and hybrid retrieval of candidates: dense and BM25 scores, fused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from kb.encode.encoder import Encoder, Vectors
from kb.index.dense import DenseIndex
from kb.index.lexical import LexicalIndex
from kb.search.query_syntax import MIN_ABSTRACT_WORDS, Conditions
from kb.store import Filters, Keys
from kb.text.facets import Facet

#: Least number of candidates that each index contributes; the reranker scores the union of both.
CANDIDATE_DEPTH = 300
#: Best candidates that pseudo-relevance feedback averages. Chosen on SciFact's training claims and the titles and first
#: sentences of citing papers, from 3 to 20.
FEEDBACK_DEPTH = 5


@dataclass(frozen=True, slots=True)
class Query:
    """A query: a text, positive examples, negative examples, or any combination of them."""

    text: str = ""
    like: tuple[int, ...] = ()
    """Keys of the positive examples; they are not among the results."""
    unlike: tuple[int, ...] = ()
    """Keys of the negative examples; they are not among the results either."""
    filters: Filters = field(default_factory=Filters)
    facet: Facet | None = None
    """Ranks by similarity of the background, the method or the result only."""
    hops: int = 1
    """Rounds of retrieval; each further round adds the neighbours of the best papers so far."""
    conditions: Conditions = field(default_factory=Conditions)
    """What results must fulfil beside the filters."""

    @property
    def by_example(self) -> bool:
        """True for examples or a text of at least 60 words, which are compared as papers are; False for a phrase."""
        return bool(self.like) or len(self.text.split()) >= MIN_ABSTRACT_WORDS


@dataclass(frozen=True, slots=True)
class Candidates:
    """Candidates of a query, in descending order of the fused score; all arrays but `vectors` have shape (n,)."""

    keys: Keys
    dense: Vectors
    """`(mean(c) + max(c)) / 2 - 0.2 * mean(n)`; c: cosines to the text and the positive examples, n: to the negative ones. Of
    adapted vectors where `Query.by_example`."""
    lexical: Vectors
    """BM25; 0 for a paper without any term of the query."""
    fused: Vectors
    """Weighted sum of the z-scores of both, see `fuse`."""
    vectors: Vectors
    """The vectors that the cosines are computed from, shape (n, d): stored ones, or adapted ones where `Query.by_example`."""

    def __len__(self) -> int:
        return len(self.keys)


#: Returns the encoder. Not called for a query without text, so that no model is loaded for it.
LoadEncoder = Callable[[], Encoder]
#: Texts by paper key, as a model reads them.
Texts = Callable[[Sequence[int]], dict[int, str]]
#: Maps stored vectors to those that papers are compared with each other by; both of shape (n, d).
Adapt = Callable[[Vectors], Vectors]

# Weight of negative against positive examples: Rocchio's usual ratio of γ to β, 0.15 to 0.75
# (Manning, Raghavan, Schütze: Introduction to Information Retrieval, section 9.1.1).
_NEGATIVE_WEIGHT = 0.2
# Weight of the dense score before ranking, for phrases and for examples. It decides which candidates are the best ones that
# feedback starts from; the ranker weighs the scores anew.
_DENSE_WEIGHT = 0.4
_EXAMPLE_DENSE_WEIGHT = 0.5


class Retriever:
    """Hybrid retrieval over a dense and a lexical index of the same papers. Safe to share between threads."""

    def __init__(self, dense: DenseIndex, lexical: LexicalIndex, load_encoder: LoadEncoder, texts: Texts, adapt: Adapt) -> None:
        self.dense = dense
        self.lexical = lexical
        self._load_encoder = load_encoder
        self._texts = texts
        self._adapt = adapt
        # Kept between searches: a new thread allocates a heap of its own, which costs a millisecond.
        self._executor = ThreadPoolExecutor(thread_name_prefix="lexical")

    def close(self) -> None:
        """End the threads once they have finished what they are doing."""
        self._executor.shutdown(wait=False)

    def candidates(self, query: Query, k: int, allowed: Keys | None, pinned: Sequence[int] = ()) -> Candidates:
        """Retrieve at least k candidates, or all that are allowed, and the pinned ones; never the query's own examples.

        `allowed`, shape (m,), restricts retrieval to these keys. Every candidate gets both scores, whichever index found it. Each
        hop beyond the first adds the nearest neighbours of the Rocchio centroid of the best candidates.
        """
        examples = np.asarray(query.like + query.unlike, dtype=np.int64)
        depth = max(k, CANDIDATE_DEPTH) + len(examples)
        texts = self._lexical_texts(query)
        # Lexical retrieval runs beside the encoder.
        searching = self._executor.submit(lambda: [self.lexical.search(text, depth, allowed) for text in texts])
        queries = self._query_vectors(query)
        # With several queries: the nearest of their mean, and of each.
        probes = np.concatenate([_unit_mean(queries), queries]) if len(queries) > 1 else queries
        found = [self.dense.search(probes[row : row + 1], depth, allowed)[0][0] for row in range(len(probes))]
        lexical_results = searching.result()
        found += [keys for keys, _ in lexical_results]
        found.append(embedded_keys(tuple(pinned), self.dense))
        candidates = self._score(query, queries, texts, lexical_results, np.setdiff1d(np.concatenate(found), examples))
        for _ in range(query.hops - 1):
            centroid = rocchio_centroid(candidates.fused, self.dense.vectors(candidates.keys[:FEEDBACK_DEPTH]))
            keys = np.union1d(candidates.keys, self.dense.search(centroid[None], depth, allowed)[0][0])
            candidates = self._score(query, queries, texts, lexical_results, np.setdiff1d(keys, examples))
        return candidates

    def _score(
        self, query: Query, queries: Vectors, texts: Sequence[str], lexical_results: Sequence[tuple[Keys, Vectors]], keys: Keys
    ) -> Candidates:
        """Score and sort these papers. `queries` has shape (queries, d); `lexical_results` holds keys and scores by text."""
        vectors = self._comparable(query, self.dense.vectors(keys))
        dense = self._dense_scores(query, queries, vectors)
        lexical = self._lexical_scores(texts, lexical_results, keys)
        fused = fuse(dense, lexical, _EXAMPLE_DENSE_WEIGHT if query.by_example else _DENSE_WEIGHT)
        order = np.lexsort((keys, -fused))
        return Candidates(keys[order], dense[order], lexical[order], fused[order], vectors[order])

    def _query_vectors(self, query: Query) -> Vectors:
        """Vectors of the text and of the embedded positive examples, shape (queries, d)."""
        text = [self._load_encoder().encode([query.text])] if query.text else []
        return np.concatenate([*text, self.dense.vectors(embedded_keys(query.like, self.dense))])

    def _comparable(self, query: Query, vectors: Vectors) -> Vectors:
        """The vectors as this query compares them, shape (n, d): adapted for examples, as they are for a phrase."""
        return self._adapt(vectors) if query.by_example else vectors

    def _dense_scores(self, query: Query, queries: Vectors, vectors: Vectors) -> Vectors:
        """`Candidates.dense` of these vectors, shape (n,). `queries` has shape (queries, d)."""
        if not len(queries):
            return np.zeros(len(vectors), dtype=np.float32)
        cosines = vectors @ self._comparable(query, queries).T
        negatives = self._comparable(query, self.dense.vectors(embedded_keys(query.unlike, self.dense)))
        scores = (cosines.mean(axis=1) + cosines.max(axis=1)) / 2
        if len(negatives):
            scores = scores - _NEGATIVE_WEIGHT * (vectors @ negatives.T).mean(axis=1)
        return np.asarray(scores, dtype=np.float32)

    def _lexical_texts(self, query: Query) -> list[str]:
        """What is searched for in the lexical index: the text, and title and abstract of each positive example."""
        examples = self._texts(query.like) if query.like else {}
        return [text for text in (query.text, *examples.values()) if text]

    def _lexical_scores(self, texts: Sequence[str], results: Sequence[tuple[Keys, Vectors]], keys: Keys) -> Vectors:
        """BM25 of one text, shape (n,); of several the mean, each divided by its maximum, so that no long text dominates."""
        if not texts or not len(keys):
            return np.zeros(len(keys), dtype=np.float32)
        scores = np.stack([self._bm25(text, *result, keys) for text, result in zip(texts, results, strict=True)])
        if len(texts) == 1:
            return np.asarray(scores[0], dtype=np.float32)
        return np.asarray((scores / np.maximum(scores.max(axis=1, keepdims=True), 1e-6)).mean(axis=0), dtype=np.float32)

    def _bm25(self, text: str, found: Keys, scores: Vectors, keys: Keys) -> Vectors:
        """BM25 of these papers, shape (n,). `found` and `scores` are the text's results; only other papers are looked up."""
        out = np.zeros(len(keys), dtype=np.float32)
        known = np.isin(keys, found)
        order = np.argsort(found)
        out[known] = scores[order[np.searchsorted(found[order], keys[known])]]
        out[~known] = self.lexical.scores(text, keys[~known])
        return out


def fuse(dense: Vectors, lexical: Vectors, dense_weight: float = _DENSE_WEIGHT) -> Vectors:
    """`w * z(dense) + (1 - w) * z(lexical)`, shape (n,); z: z-scores over the candidates, w: `dense_weight`.

    Where one side is constant, as where no term was found, the other decides alone.
    """
    return np.asarray(dense_weight * z_scores(dense) + (1 - dense_weight) * z_scores(lexical), dtype=np.float32)


def rocchio_centroid(scores: Vectors, vectors: Vectors) -> Vectors:
    """Unit centroid of the first FEEDBACK_DEPTH vectors, weighted by the exponential of their scores, shape (d,).

    `scores` has shape (n,), in descending order, `vectors` (n, d) or at least the first FEEDBACK_DEPTH rows of it. Rocchio 1971,
    Relevance feedback in information retrieval; the weights as in Lavrenko and Croft 2001, Relevance-based language models.
    """
    best = scores[:FEEDBACK_DEPTH]
    mean = np.exp(best - best.max(initial=0)) @ vectors[:FEEDBACK_DEPTH]
    return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-12), dtype=np.float32)


def z_scores(scores: Vectors) -> Vectors:
    """Standard scores, mean 0 and standard deviation 1, shape (n,); all 0 where the scores do not differ."""
    if not len(scores):
        return scores
    deviation = float(scores.std())
    return np.asarray((scores - scores.mean()) / deviation if deviation > 1e-6 else np.zeros_like(scores), dtype=np.float32)


def _unit_mean(vectors: Vectors) -> Vectors:
    """Mean of the vectors, scaled to unit length, shape (1, d)."""
    mean = vectors.mean(axis=0, keepdims=True)
    return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-12), dtype=np.float32)


def embedded_keys(keys: tuple[int, ...], index: DenseIndex) -> Keys:
    """Those of the keys that the index holds, shape (at most len(keys),)."""
    wanted = np.asarray(keys, dtype=np.int64)
    return wanted[index.rows_of(wanted) >= 0] if len(wanted) else wanted
