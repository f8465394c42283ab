"""Rerankers: what reads the best candidates again and orders them anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from kb.encode.encoder import Vectors
from kb.errors import ModelError
from kb.search.retriever import BEST, Candidates, Query, middle_of_best, standardised
from kb.text.facets import facet_passage

#: Texts to unit vectors, as papers are encoded.
Encode = Callable[[Sequence[str]], Vectors]
#: The text of papers by key, as a model reads it.
Texts = Callable[[Sequence[int]], dict[int, str]]

# Chosen on SciFact's training claims and the titles and opening sentences of citing papers, from 0.1 to 0.6.
_FEEDBACK_WEIGHT = 0.4
_FACET_PAPERS = 50
_FACET_SHARE = 0.5


class Reranker(Protocol):
    """Anything that scores the candidates of a query."""

    depth: int
    """Candidates that it looks at; the others keep their order, behind these."""

    def rerank(self, query: Query, candidates: Candidates) -> Vectors:
        """A score for each of the first `depth` candidates, shape (at most depth,); higher is better."""
        ...


class FeedbackReranker:
    """Prefers candidates like the best ones: pseudo-relevance feedback, on vectors that are stored anyway.

    The score is the fused score and, standardised, the cosine to the middle of the best candidates.
    """

    depth = 1 << 30

    def rerank(self, query: Query, candidates: Candidates) -> Vectors:  # noqa: ARG002  (the candidates hold it all)
        """See Reranker.rerank; costs one product of the candidates' vectors."""
        if len(candidates) <= BEST:
            return candidates.fused
        closeness = candidates.vectors @ middle_of_best(candidates.fused, candidates.vectors)
        return np.asarray(candidates.fused + _FEEDBACK_WEIGHT * standardised(closeness))


class FacetReranker:
    """Prefers papers that say the like on one facet, background or method or result, as the query and its examples do.

    The best fifty of another reranker's order are put in that of the mean of its score and the facet's, both standardised;
    the facet's is the highest cosine between what they say on it and what the query or one of its examples says. Fifty short
    passages are embedded for that, which takes several times as long as the search itself.
    """

    depth = 1 << 30

    def __init__(self, before: Reranker | None, encode: Encode, abstracts: Texts) -> None:
        self._before = before
        self._encode = encode
        self._abstracts = abstracts

    def rerank(self, query: Query, candidates: Candidates) -> Vectors:
        """See Reranker.rerank. Without a facet the order is the other reranker's."""
        scores = candidates.fused if self._before is None else self._before.rerank(query, candidates)
        if query.facet is None or len(scores) < 2:
            return scores
        best = np.argsort(-scores, kind="stable")[:_FACET_PAPERS]
        keys = candidates.keys[best].tolist()
        abstracts = self._abstracts([*query.like, *keys])
        asked = [text for text in (query.text, *(abstracts.get(key, "") for key in query.like)) if text]
        if not asked:
            return scores
        passages = [facet_passage(text, query.facet) for text in [*asked, *(abstracts.get(key, "") for key in keys)]]
        vectors = self._encode(passages)
        closeness = (vectors[len(asked) :] @ vectors[: len(asked)].T).max(axis=1)
        mixed = (1 - _FACET_SHARE) * standardised(scores[best]) + _FACET_SHARE * standardised(closeness)
        # The others stay behind, in their order.
        below = scores - scores[best[-1]] + mixed.min() - 1
        below[best] = mixed
        return np.asarray(below, dtype=np.float32)


class CrossEncoderReranker:
    """Any sentence-transformers CrossEncoder, by name on the hub or by folder. Reads query and paper together."""

    depth = 50

    def __init__(self, name: str, texts: Texts) -> None:
        """Loads the model; raises ModelError where it is not to be had."""
        # Imported here, not above: it takes seconds, and most searches need no model beside the encoder.
        from sentence_transformers import CrossEncoder

        try:
            self._model = CrossEncoder(name, device="cpu")
        except (OSError, ValueError, ImportError) as error:
            raise ModelError(
                f"The reranker {name!r} cannot be loaded ({error}). Set KB_RERANKER to a folder that holds a CrossEncoder, "
                "or to `none`."
            ) from error
        self._texts = texts

    def rerank(self, query: Query, candidates: Candidates) -> Vectors:
        """See Reranker.rerank. A query by examples alone keeps its order: there is no text to read."""
        if not query.text:
            return candidates.fused[: self.depth]
        keys = candidates.keys[: self.depth].tolist()
        texts = self._texts(keys)
        return np.asarray(self._model.predict([(query.text, texts[key]) for key in keys]), dtype=np.float32).reshape(-1)
