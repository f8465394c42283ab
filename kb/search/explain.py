"""Explains a paper by its nearest papers: the share of each, and its sentence closest to the explained paper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kb.identifiers import normalised
from kb.index.dense import NEAR_DUPLICATE
from kb.papers import Paper, embedding_text, plain_text
from kb.search.retriever import Query
from kb.search.searcher import Searcher, require_key
from kb.text.sentences import best_sentence

_EXTRA_NEIGHBOURS = 20  # retrieved beyond k, since duplicates and withdrawn papers are left out


@dataclass(frozen=True, slots=True)
class Explanation:
    """One paper that explains another."""

    paper: Paper
    weight: float
    """Share among the explaining papers; the shares add up to 1."""
    sentence: str
    """The sentence of its abstract or notes that shares the most term weight with the explained paper; '' for none."""


def explain(searcher: Searcher, identifier: str, k: int = 5) -> list[Explanation]:
    """The k papers that explain a paper best, in descending order of their weight softmax(β f) among its nearest neighbours.

    The weights of a paper's evidence in MARGE (Lewis et al. 2020, Pre-training via Paraphrasing, arXiv 2006.15020), with
    relevance f and β of the trained model, without the attention to single words. The paper itself, its near-duplicates and
    withdrawn papers are left out. Empty if the paper is not embedded yet. Raises QueryError if it is not in the knowledge base.
    """
    catalogue = searcher.catalogue
    key = require_key(catalogue, identifier)
    if not searcher.generation.manifest.embedded or searcher.index.rows_of(np.asarray([key]))[0] < 0:
        return []
    own = searcher.index.vectors(np.asarray([key]))
    keys, cosines = searcher.index.search(own, k + _EXTRA_NEIGHBOURS)
    papers = catalogue.papers([key, *keys[0].tolist()])
    title, withdrawn = normalised(papers[key].title), catalogue.withdrawn()
    near = [
        near
        for near, cosine in zip(keys[0].tolist(), cosines[0].tolist(), strict=True)
        if near != key and near not in withdrawn and cosine < NEAR_DUPLICATE and normalised(papers[near].title) != title
    ]
    adapt = searcher.relevance.adapt
    relevance = adapt(searcher.index.vectors(np.asarray(near, dtype=np.int64))) @ adapt(own)[0]
    best = np.argsort(-relevance, kind="stable")[:k].tolist()
    evidence = [papers[near[row]] for row in best]
    weights = evidence_weights(relevance[best].tolist(), searcher.relevance.beta)
    terms = searcher.term_weights(Query(embedding_text(papers[key].title, papers[key].abstract)))
    notes = catalogue.notes.on([paper.id for paper in evidence])
    return [
        Explanation(
            paper,
            weight,
            best_sentence(paper.abstract or " ".join(plain_text(note.body) for note in notes.get(paper.id, ())), terms),
        )
        for paper, weight in zip(evidence, weights, strict=True)
    ]


def evidence_weights(relevance: Sequence[float], beta: float) -> list[float]:
    """softmax(β f) over the relevance f of each paper; with β = 12, 0.1 more relevance is three times the weight."""
    if not relevance:
        return []
    scores = np.exp(beta * (np.asarray(relevance) - max(relevance)))
    weights: list[float] = (scores / scores.sum()).tolist()
    return weights
