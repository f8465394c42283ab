"""Whether a retriever has become better, measured without labels: half an abstract is to be found by the other half."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kb.encode.encoder import Encoder, Vectors
from kb.models.marge.corpus import Corpus
from kb.models.marge.encoder import mixed
from kb.text.sentences import split_sentences

#: Shares of g that are tried; with 0 the encoder stays as it was.
_SHARES = (0.25, 0.5, 0.75, 1.0)
#: A retriever, as what it makes of the encoder's vectors, shape (n, d).
Adapt = Callable[[Vectors], Vectors]


class Halves:
    """Held-out papers cut in two. Queries are the first halves, documents the second ones.

    By every other paper the share of g is chosen; the rest, which nothing is chosen by, tell the quality.
    """

    def __init__(self, corpus: Corpus, encoder: Encoder, progress: Callable[[int], None] | None = None) -> None:
        pairs = [halves(corpus.texts[row]) for row in corpus.held_out.tolist()]
        pairs = [pair for pair in pairs if all(pair)]
        vectors = encoder.encode([half for pair in pairs for half in pair], progress)
        self.queries, self.documents = vectors[::2], vectors[1::2]

    def reciprocal_ranks(self, adapt: Adapt) -> NDArray[np.float64]:
        """1 / rank of the other half among all second halves, shape (papers,); behind those that are as near, or a retriever
        to which all texts are one would be perfect."""
        cosines = adapt(self.queries) @ adapt(self.documents).T
        return np.asarray(1 / (cosines >= cosines.diagonal()[:, None]).sum(axis=1), dtype=np.float64)

    def quality(self, adapt: Adapt) -> float:
        """Mean reciprocal rank of the papers that nothing is chosen by."""
        return float(self.reciprocal_ranks(adapt)[1::2].mean())

    def share(self, adapt: Adapt) -> float:
        """Share of g that is best by the other papers, the smallest of equals; 0 where none is better than the encoder."""
        found = {share: self.reciprocal_ranks(_shared(adapt, share))[::2].mean() for share in (0.0, *_SHARES)}
        return max(found, key=lambda share: (float(found[share]), -share))


def _shared(adapt: Adapt, share: float) -> Adapt:
    return lambda vectors: mixed(vectors, adapt(vectors), share) if share else vectors


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a newly trained g compares with the best of those that there were."""

    share: float
    """Share of g with which it is best, see Halves.share."""
    quality: float
    """Mean reciprocal rank with that share, see Halves.quality."""
    rival: str
    """Name of the best retriever that there was."""
    to_beat: float
    """Its quality, with its best share."""

    @property
    def better(self) -> bool:
        """Whether the new one is better than each that there was."""
        return self.quality > self.to_beat


def verdict(halves: Halves, adapt: Adapt, rivals: Mapping[str, Adapt]) -> Verdict:
    """Compares g with the encoder as it is, and with the g of other models by their names, each with the share that is best."""

    def best(g: Adapt) -> tuple[float, float]:
        share = halves.share(g)
        return share, halves.quality(_shared(g, share))

    before = {name: best(g)[1] for name, g in {"the encoder": lambda vectors: vectors, **rivals}.items()}
    rival = max(before, key=before.__getitem__)
    return Verdict(*best(adapt), rival, before[rival])


def halves(text: str) -> tuple[str, str]:
    """The text cut after the sentence that reaches its middle; the second is '' where there is one sentence only."""
    parts = split_sentences(text)
    first: list[str] = []
    while parts and sum(map(len, first)) < len(text) / 2:
        first.append(parts.pop(0))
    return " ".join(first), " ".join(parts)
