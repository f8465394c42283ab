"""The trained retriever as an encoder: another one's vectors, adapted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kb.encode.bert_numpy import gelu
from kb.encode.encoder import Encoder, Vectors
from kb.errors import ModelError
from kb.models.marge.weights import fingerprint, read_adapter, read_facts


class MargeEncoder:
    """g, mixed with its start; computed by numpy, so that a search needs no torch.

    Its vectors are a function of the other encoder's: what that one has embedded is never embedded again.
    """

    def __init__(self, base: Encoder, folder: Path, model_id: str) -> None:
        """Raises ModelError where the folder holds no model that was trained over this encoder."""
        facts = read_facts(folder)
        if facts.encoder != base.fingerprint:
            raise ModelError(
                f"The model in {folder} was trained over another encoder ({facts.encoder[:12]}) than {base.model_id} "
                f"({base.fingerprint[:12]}). Train anew: `kb train marge`."
            )
        self.base = base
        self.model_id = model_id
        self.dimension = base.dimension
        self.fingerprint = fingerprint(folder, base.fingerprint)
        self._adapter = read_adapter(folder)
        self._mix = facts.mix

    def encode(self, texts: Sequence[str], progress: Callable[[int], None] | None = None) -> Vectors:
        """See Encoder.encode."""
        return self.derive(self.base.encode(texts, progress))

    def encode_query(self, texts: Sequence[str]) -> Vectors:
        """See Encoder.encode_query: the base encoder's query vectors, adapted as those of papers are."""
        return self.derive(self.base.encode_query(texts))

    def derive(self, vectors: Vectors) -> Vectors:
        """The vectors of texts from those that the other encoder gave them, shape (n, d)."""
        return mixed(vectors, adapted(vectors, self._adapter), self._mix)


@dataclass(frozen=True, slots=True)
class Relevance:
    """How a trained model compares papers: f(x, z) = cos(g(x), g(z)), and the β that sharpens it."""

    beta: float
    weights: dict[str, Vectors] | None
    """Those of g; None leaves the vectors as they are."""

    @classmethod
    def read(cls, folder: Path, encoder: str) -> Relevance:
        """`encoder` is the fingerprint of that which the vectors are of; g is for those alone that the model was trained over.

        Raises ModelError where the folder holds no model.
        """
        facts = read_facts(folder)
        return cls(facts.beta, read_adapter(folder) if facts.encoder == encoder else None)

    def adapt(self, vectors: Vectors) -> Vectors:
        """g of the encoder's vectors, shape (n, d)."""
        return vectors if self.weights is None else adapted(vectors, self.weights)


def adapted(vectors: Vectors, weights: dict[str, Vectors]) -> Vectors:
    """g of the encoder's vectors, as kb.models.marge.model.Adapter computes it; shape (n, d)."""
    scale = np.float32(vectors.shape[1] ** 0.5)
    inner = gelu(np.asarray(vectors * scale @ weights["adapter.down.weight"].T + weights["adapter.down.bias"], dtype=np.float32))
    return _unit(vectors + (inner @ weights["adapter.up.weight"].T + weights["adapter.up.bias"]) / scale)


def mixed(start: Vectors, vectors: Vectors, mix: float) -> Vectors:
    """The unit vectors that lie so far on the way from the start, shape (n, d)."""
    return _unit((1 - mix) * start + mix * vectors)


def _unit(vectors: Vectors) -> Vectors:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12), dtype=np.float32)
