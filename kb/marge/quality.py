"""Whether a retriever has become better, measured without labels: half an abstract is to be found by the other half."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from kb.embed import Encoder, Vectors
from kb.marge.corpus import Corpus
from kb.marge.encoder import mixed
from kb.sentences import sentences

#: Shares of g that are tried; with 0 the encoder stays as it was.
_MIXES = (0.25, 0.5, 0.75, 1.0)


class Halves:
    """Held-out papers cut in two. Queries are the first halves, documents the second ones."""

    def __init__(self, corpus: Corpus, encoder: Encoder, progress: Callable[[int], None] | None = None) -> None:
        pairs = [halves(corpus.texts[row]) for row in corpus.held_out.tolist()]
        pairs = [pair for pair in pairs if all(pair)]
        vectors = encoder.encode([half for pair in pairs for half in pair], progress)
        self.queries, self.documents = vectors[::2], vectors[1::2]

    def reciprocal_ranks(self, adapt: Callable[[Vectors], Vectors]) -> NDArray[np.float64]:
        """1 / rank of the other half among all second halves, shape (papers,); behind those that are as near, or a retriever
        to which all texts are one would be perfect."""
        cosines = adapt(self.queries) @ adapt(self.documents).T
        return np.asarray(1 / (cosines >= cosines.diagonal()[:, None]).sum(axis=1), dtype=np.float64)


def halves(text: str) -> tuple[str, str]:
    """The text cut after the sentence that reaches its middle; the second is '' where there is one sentence only."""
    parts = sentences(text)
    first: list[str] = []
    while parts and sum(map(len, first)) < len(text) / 2:
        first.append(parts.pop(0))
    return " ".join(first), " ".join(parts)


def best_mix(
    halves: Halves, adapt: Callable[[Vectors], Vectors], begun: Callable[[Vectors], Vectors] | None = None
) -> tuple[float, float, float]:
    """Share of g that is best on every other held-out paper, and what it is on the rest: mean before and after.

    Before is the encoder, or the model that training has begun with, if that is the better one. The share is 0, and the mean
    after it the encoder's, where no share is better than the encoder.
    """

    def ranks(mix: float) -> NDArray[np.float64]:
        return halves.reciprocal_ranks(lambda vectors: mixed(vectors, adapt(vectors), mix) if mix else vectors)

    found = {mix: ranks(mix) for mix in (0.0, *_MIXES)}
    mix = max(found, key=lambda m: (float(found[m][::2].mean()), -m))
    starts = [found[0.0], *([halves.reciprocal_ranks(begun)] if begun else [])]
    return mix, max(float(start[1::2].mean()) for start in starts), float(found[mix][1::2].mean())
