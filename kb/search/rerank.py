"""Rerankers: score the best candidates again and reorder them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from kb.encode.encoder import Vectors
from kb.errors import ModelError
from kb.search.retriever import Candidates, Query, Texts, z_scores
from kb.text.facets import facet_passage

#: Encodes texts as papers are encoded: unit vectors, shape (texts, d).
Encode = Callable[[Sequence[str]], Vectors]

_FACET_DEPTH = 50
_FACET_WEIGHT = 0.5


class Reranker(Protocol):
    """Scores the candidates of a query."""

    depth: int
    """Candidates that it scores at most; the others keep their order, below these."""

    def rerank(self, query: Query, candidates: Candidates) -> Vectors:
        """Score the first `depth` candidates, shape (at most depth,); higher is better."""
        ...


class FacetReranker:
    """Ranks by one facet of the abstracts: background, method or result.

    The best fifty of a base reranker are reordered by the mean of its z-score and that of the facet similarity: the maximum
    cosine between the facet's passage of the paper and those of the query and its examples. Embeds up to fifty passages a search,
    which takes several times as long as the search itself.
    """

    depth = 1 << 30

    def __init__(self, base: Reranker | None, encode: Encode, abstracts: Texts) -> None:
        self._base = base
        self._encode = encode
        self._abstracts = abstracts

    def rerank(self, query: Query, candidates: Candidates) -> Vectors:
        """See Reranker.rerank. Without a facet, or without a text to compare, the base scores."""
        scores = candidates.fused if self._base is None else self._base.rerank(query, candidates)
        if query.facet is None or len(scores) < 2:
            return scores
        best = np.argsort(-scores, kind="stable")[:_FACET_DEPTH]
        keys = candidates.keys[best].tolist()
        abstracts = self._abstracts([*query.like, *keys])
        query_texts = [text for text in (query.text, *(abstracts.get(key, "") for key in query.like)) if text]
        if not query_texts:
            return scores
        passages = [facet_passage(text, query.facet) for text in [*query_texts, *(abstracts.get(key, "") for key in keys)]]
        vectors = self._encode(passages)
        similarity = (vectors[len(query_texts) :] @ vectors[: len(query_texts)].T).max(axis=1)
        mixed = (1 - _FACET_WEIGHT) * z_scores(scores[best]) + _FACET_WEIGHT * z_scores(similarity)
        # The others keep their order, below these.
        out = scores - scores[best[-1]] + mixed.min() - 1
        out[best] = mixed
        return np.asarray(out, dtype=np.float32)


class CrossEncoderReranker:
    """A sentence-transformers CrossEncoder, by name on the hub or by folder: scores query and paper as one input."""

    depth = 50

    def __init__(self, name: str, texts: Texts) -> None:
        """Load the model. Raises ModelError if it cannot be loaded."""
        # Imported here: the import takes seconds, and the default reranker does not need it.
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
        """See Reranker.rerank. A query without text keeps the fused scores."""
        if not query.text:
            return candidates.fused[: self.depth]
        keys = candidates.keys[: self.depth].tolist()
        texts = self._texts(keys)
        return np.asarray(self._model.predict([(query.text, texts[key]) for key in keys]), dtype=np.float32).reshape(-1)
