"""Quality of a retriever without labels: find the second half of an abstract by its first half."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kb.encode.encoder import Encoder, Vectors
from kb.models.marge.corpus import Corpus
from kb.models.marge.encoder import interpolate
from kb.text.sentences import split_sentences

#: Interpolation weights of g that are tried beside 0, which is the encoder alone.
_MIXES = (0.25, 0.5, 0.75, 1.0)
#: A retriever as a function of the encoder's vectors; both of shape (n, d).
Adapt = Callable[[Vectors], Vectors]


class HalfAbstracts:
    """Held-out papers split in two: first halves are queries, second halves documents.

    Even papers choose the interpolation weight of g, odd ones measure the quality.
    """

    def __init__(self, corpus: Corpus, encoder: Encoder, progress: Callable[[int], None] | None = None) -> None:
        """Embed both halves of the held-out papers; `progress` is called with the number of texts done."""
        pairs = [split_halves(corpus.texts[row]) for row in corpus.held_out.tolist()]
        pairs = [pair for pair in pairs if all(pair)]
        vectors = encoder.encode([half for pair in pairs for half in pair], progress)
        self.queries, self.documents = vectors[::2], vectors[1::2]

    def reciprocal_ranks(self, adapt: Adapt) -> NDArray[np.float64]:
        """1 / rank of the other half among all second halves, shape (papers,).

        Ties rank before the right answer: a retriever that maps all texts to one vector gets 1 / papers.
        """
        cosines = adapt(self.queries) @ adapt(self.documents).T
        return np.asarray(1 / (cosines >= cosines.diagonal()[:, None]).sum(axis=1), dtype=np.float64)

    def quality(self, adapt: Adapt) -> float:
        """Mean reciprocal rank over the odd papers."""
        return float(self.reciprocal_ranks(adapt)[1::2].mean())

    def best_mix(self, adapt: Adapt) -> float:
        """Interpolation weight of g with the highest mean reciprocal rank over the even papers, the smallest of equals."""
        found = {mix: self.reciprocal_ranks(_interpolated(adapt, mix))[::2].mean() for mix in (0.0, *_MIXES)}
        return max(found, key=lambda mix: (float(found[mix]), -mix))


def _interpolated(adapt: Adapt, mix: float) -> Adapt:
    """The retriever with this interpolation weight."""
    return lambda vectors: interpolate(vectors, adapt(vectors), mix) if mix else vectors


@dataclass(frozen=True, slots=True)
class Comparison:
    """Quality of a newly trained g beside the best baseline."""

    mix: float
    """Interpolation weight of the new g, see `HalfAbstracts.best_mix`."""
    quality: float
    """Mean reciprocal rank of the new g with that weight, see `HalfAbstracts.quality`."""
    baseline: str
    """Name of the best baseline."""
    baseline_quality: float
    """Mean reciprocal rank of the best baseline with its own best weight."""

    @property
    def better(self) -> bool:
        """True if the new g is better than every baseline."""
        return self.quality > self.baseline_quality


def compare(halves: HalfAbstracts, adapt: Adapt, baselines: Mapping[str, Adapt]) -> Comparison:
    """Compare g with the encoder alone and with named baselines, each with its best interpolation weight."""

    def best(g: Adapt) -> tuple[float, float]:
        mix = halves.best_mix(g)
        return mix, halves.quality(_interpolated(g, mix))

    qualities = {name: best(g)[1] for name, g in {"the encoder": lambda vectors: vectors, **baselines}.items()}
    baseline = max(qualities, key=qualities.__getitem__)
    return Comparison(*best(adapt), baseline, qualities[baseline])


def split_halves(text: str) -> tuple[str, str]:
    """Split a text after the sentence that reaches its middle; the second half is '' if there is one sentence only."""
    parts = split_sentences(text)
    first: list[str] = []
    while parts and sum(map(len, first)) < len(text) / 2:
        first.append(parts.pop(0))
    return " ".join(first), " ".join(parts)
