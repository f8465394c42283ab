"""The MARGE retriever in numpy: as an encoder, and as a relevance model for comparing papers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kb.encode.bert_numpy import gelu
from kb.encode.encoder import Encoder, Vectors
from kb.errors import ModelError
from kb.models.marge.weights import fingerprint, read_adapter, read_metadata


class MargeEncoder:
    """A base encoder whose vectors are interpolated with those of the adapter g. Computed by numpy: a search needs no torch.

    See DerivedEncoder: texts that the base encoder has embedded are not embedded again.
    """

    def __init__(self, base: Encoder, folder: Path, model_id: str) -> None:
        """Read the adapter. Raises ModelError if the folder holds no model, or one that was trained over another encoder."""
        metadata = read_metadata(folder)
        if metadata.encoder != base.fingerprint:
            raise ModelError(
                f"The model in {folder} was trained over another encoder ({metadata.encoder[:12]}) than {base.model_id} "
                f"({base.fingerprint[:12]}). Train anew: `kb train marge`."
            )
        self.base = base
        self.model_id = model_id
        self.dimension = base.dimension
        self.fingerprint = fingerprint(folder, base.fingerprint)
        self._adapter = read_adapter(folder)
        self._mix = metadata.mix

    def encode(self, texts: Sequence[str], progress: Callable[[int], None] | None = None) -> Vectors:
        """See Encoder.encode."""
        return self.derive(self.base.encode(texts, progress))

    def derive(self, vectors: Vectors) -> Vectors:
        """Adapt the base encoder's vectors; both have shape (n, d)."""
        return interpolate(vectors, apply_adapter(vectors, self._adapter), self._mix)


@dataclass(frozen=True, slots=True)
class RelevanceModel:
    """Relevance of papers to each other in a trained model: f(x, z) = cos(g(x), g(z)), and its scale β."""

    beta: float
    """β, the inverse temperature of the softmax over f."""
    weights: dict[str, Vectors] | None
    """Weights of g by name; None if g is the identity."""

    @classmethod
    def read(cls, folder: Path, encoder: str) -> RelevanceModel:
        """Read the model of a folder, for vectors of the encoder with this fingerprint.

        g is the identity for any other encoder than the one that the model was trained over. Raises ModelError if the folder
        holds no model.
        """
        metadata = read_metadata(folder)
        return cls(metadata.beta, read_adapter(folder) if metadata.encoder == encoder else None)

    def adapt(self, vectors: Vectors) -> Vectors:
        """G of the encoder's vectors; both have shape (n, d)."""
        return vectors if self.weights is None else apply_adapter(vectors, self.weights)


def apply_adapter(vectors: Vectors, weights: dict[str, Vectors]) -> Vectors:
    """G of the encoder's vectors, as `kb.models.marge.model.Adapter` computes it; both have shape (n, d)."""
    scale = np.float32(vectors.shape[1] ** 0.5)
    inner = gelu(np.asarray(vectors * scale @ weights["adapter.down.weight"].T + weights["adapter.down.bias"], dtype=np.float32))
    return _unit(vectors + (inner @ weights["adapter.up.weight"].T + weights["adapter.up.bias"]) / scale)


def interpolate(start: Vectors, vectors: Vectors, mix: float) -> Vectors:
    """`(1 - mix) * start + mix * vectors`, scaled to unit length; all of shape (n, d)."""
    return _unit((1 - mix) * start + mix * vectors)


def _unit(vectors: Vectors) -> Vectors:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12), dtype=np.float32)
