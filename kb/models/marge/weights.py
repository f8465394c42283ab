"""A trained model on disk: its weights in half precision, and what has to be known to use them.

A folder holds `marge.safetensors` and `marge.json`. The encoder's own weights are not among them: a model is read together with
the encoder that it was trained over.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from kb.encode.bert_numpy import Floats
from kb.errors import ModelError
from kb.files import replacing, sync

if TYPE_CHECKING:
    from torch import Tensor

    from kb.models.marge.model import Marge

WEIGHTS = "marge.safetensors"
FACTS = "marge.json"
#: The model that comes with the product.
SHIPPED = Path(__file__).parent / "trained"


@dataclass(frozen=True, slots=True)
class Facts:
    """What `marge.json` says."""

    encoder: str
    """Fingerprint of the encoder that the model was trained over."""
    mix: float
    """Share of g in the vectors that are searched with; the rest is the encoder's own."""
    beta: float
    """β, by which relevance weighs evidence."""
    shape: dict[str, int]


def write(folder: Path, model: Marge, encoder: str, mix: float) -> None:
    """Writes a model; the facts go last, so that a folder that has them is complete."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).cpu().numpy()
        for name, tensor in model.state_dict().items()
    }
    facts = Facts(encoder, mix, round(float(model.beta.detach()), 2), asdict(model.shape))
    with replacing(folder / FACTS) as told, replacing(folder / WEIGHTS) as weights:  # the weights take their place first
        weights.write_bytes(save(tensors))
        told.write_text(json.dumps(asdict(facts), indent=1), encoding="utf-8")
        sync(weights)
        sync(told)
        (folder / FACTS).unlink(missing_ok=True)  # those of a model that was here do not go with these weights


def read_facts(folder: Path) -> Facts:
    """Raises ModelError where the folder holds no model, or a damaged one."""
    try:
        return Facts(**json.loads((folder / FACTS).read_text(encoding="utf-8")))
    except OSError as error:
        raise ModelError(f"{folder} holds no trained model ({error}). Train one: `kb train marge`.") from error
    except (ValueError, TypeError) as error:
        raise ModelError(f"{folder / FACTS} is damaged ({error}). Delete it, and train anew: `kb train marge`.") from error


def read_adapter(folder: Path) -> dict[str, Floats]:
    """The adapter's weights by name, in float32, read without torch."""
    return {name: array.astype(np.float32) for name, array in _read(folder, "adapter.").items()}


def read_model(folder: Path, words: Tensor) -> Marge:
    """The whole model over the encoder's word embeddings, shape (tokens, d)."""
    import torch

    from kb.models.marge.model import Marge, Shape

    facts, tensors = read_facts(folder), {name: torch.from_numpy(array) for name, array in _read(folder).items()}
    try:
        model = Marge(Shape(**facts.shape), words, tensors["written"])
        model.load_state_dict(tensors)
    except (KeyError, TypeError, RuntimeError) as error:
        raise ModelError(
            f"{folder / WEIGHTS} and {FACTS} do not fit ({error}). Delete it and train anew: `kb train marge`."
        ) from error
    return model.eval()


def fingerprint(folder: Path, encoder: str) -> str:
    """SHA-256 over the encoder's fingerprint and the folder's files."""
    digest = hashlib.sha256(encoder.encode())
    for name in (WEIGHTS, FACTS):
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()


def _read(folder: Path, prefix: str = "") -> dict[str, Floats]:
    """The tensors whose names begin so."""
    try:
        with safe_open(folder / WEIGHTS, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys() if name.startswith(prefix)}  # noqa: SIM118  (no mapping)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{folder / WEIGHTS} cannot be read ({error}). Delete it and train anew: `kb train marge`.") from error
