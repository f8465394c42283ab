"""The trained model that comes with the product."""

from __future__ import annotations

import numpy as np
import pytest

from kb.encode.encoder import Encoder
from kb.models.marge.states import TokenStates
from kb.models.marge.weights import BUNDLED, WEIGHTS_FILE, read_metadata, read_model
from kb.models.registry import default_model_folder, load_encoder


def test_it_is_small_and_was_trained_over_the_default_encoder(encoder: Encoder) -> None:
    assert (BUNDLED / WEIGHTS_FILE).stat().st_size < 6e6
    assert read_metadata(BUNDLED).encoder == encoder.fingerprint
    model = read_model(BUNDLED, TokenStates(default_model_folder()).words)
    assert model.beta.item() == pytest.approx(read_metadata(BUNDLED).beta, abs=0.01) and model.beta.item() > 10  # where it began
    assert len(model.written) == model.sizes.vocabulary


def test_its_vectors_are_near_those_of_the_encoder_but_not_the_same(encoder: Encoder) -> None:
    texts = ["Attention heads that matter", "Graphs of molecules", "LoRA: low-rank adaptation"]
    ours, start = load_encoder("marge").encode(texts), encoder.encode(texts)
    cosines = (ours * start).sum(axis=1)
    assert (cosines > 0.98).all() and (cosines < 0.99999).all()
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-5)
