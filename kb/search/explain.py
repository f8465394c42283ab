"""Why a paper is where it is: the papers that explain it, how much each does, and the sentence that does it best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kb.identifiers import normalised
from kb.index.dense import NEAR_DUPLICATE
from kb.papers import Paper, embedding_text, plain_text
from kb.search.retriever import Query
from kb.search.searcher import Searcher, known_key
from kb.text.sentences import best_sentence

_SPARE = 20  # neighbours looked at beyond k, in case some are duplicates or withdrawn


@dataclass(frozen=True, slots=True)
class Explanation:
    """A paper that explains another one."""

    paper: Paper
    weight: float
    """Its share among the papers that are named as explaining; they add up to 1."""
    sentence: str
    """The sentence of its abstract or of the notes on it that has most of the explained paper's words; '' for none."""


def explain(searcher: Searcher, identifier: str, k: int = 5) -> list[Explanation]:
    """The k papers that explain a paper best, the best first: softmax(β f) over its nearest neighbours.

    Those are the weights by which a paper's evidence is read in MARGE (Lewis et al. 2020, Pre-training via Paraphrasing), with f
    and β of the trained model; its attention adds what single words say. The paper itself and its near-duplicates are no
    evidence, as there; nor are withdrawn papers. Empty where the paper is not embedded yet. Raises QueryError where it is not in
    the knowledge base.
    """
    catalogue = searcher.catalogue
    key = known_key(catalogue, identifier)
    if not searcher.generation.manifest.embedded or searcher.index.rows_of(np.asarray([key]))[0] < 0:
        return []
    own = searcher.index.vectors(np.asarray([key]))
    keys, cosines = searcher.index.search(own, k + _SPARE)
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
    words = searcher.weights(Query(embedding_text(papers[key].title, papers[key].abstract)))
    notes = catalogue.notes.on([paper.id for paper in evidence])
    return [
        Explanation(
            paper,
            weight,
            best_sentence(paper.abstract or " ".join(plain_text(note.body) for note in notes.get(paper.id, ())), words),
        )
        for paper, weight in zip(evidence, weights, strict=True)
    ]


def evidence_weights(relevance: Sequence[float], beta: float) -> list[float]:
    """softmax(β f) of the relevance f of every paper; with β about 12 one that is closer by 0.1 has three times the weight."""
    if not relevance:
        return []
    scores = np.exp(beta * (np.asarray(relevance) - max(relevance)))
    weights: list[float] = (scores / scores.sum()).tolist()
    return weights
