"""Reads and writes trained MARGE models: a folder with `marge.safetensors` (float16) and `marge.json`.

The encoder's weights are not included: a model is used with the encoder that it was trained over.
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

WEIGHTS_FILE = "marge.safetensors"
METADATA_FILE = "marge.json"
#: The model that comes with the program.
BUNDLED = Path(__file__).parent / "trained"


@dataclass(frozen=True, slots=True)
class Metadata:
    """Content of `marge.json`."""

    encoder: str
    """Fingerprint of the encoder that the model was trained over."""
    mix: float
    """Interpolation weight of g in the vectors of MargeEncoder."""
    beta: float
    """β, the scale of relevance."""
    shape: dict[str, int]
    """Fields of `Sizes`."""


def write_model(folder: Path, model: Marge, encoder: str, mix: float) -> None:
    """Write a model; the metadata is written last, so that a folder with metadata is complete.

    Raises OSError if the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).cpu().numpy()
        for name, tensor in model.state_dict().items()
    }
    metadata = Metadata(encoder, mix, round(float(model.beta.detach()), 2), asdict(model.sizes))
    # The weights are renamed first.
    with replacing(folder / METADATA_FILE) as description, replacing(folder / WEIGHTS_FILE) as weights:
        weights.write_bytes(save(tensors))
        description.write_text(json.dumps(asdict(metadata), indent=1), encoding="utf-8")
        sync(weights)
        sync(description)
        (folder / METADATA_FILE).unlink(missing_ok=True)  # metadata of a replaced model does not fit the new weights


def read_metadata(folder: Path) -> Metadata:
    """Read a model's metadata. Raises ModelError if the folder holds no model, or a damaged one."""
    try:
        return Metadata(**json.loads((folder / METADATA_FILE).read_text(encoding="utf-8")))
    except OSError as error:
        raise ModelError(f"{folder} holds no trained model ({error}). Train one: `kb train marge`.") from error
    except (ValueError, TypeError) as error:
        raise ModelError(
            f"{folder / METADATA_FILE} is damaged ({error}). Delete it, and train anew: `kb train marge`."
        ) from error


def read_adapter(folder: Path) -> dict[str, Floats]:
    """The adapter's weights by name in float32, read without torch. Raises ModelError if they cannot be read."""
    return {name: array.astype(np.float32) for name, array in _read(folder, "adapter.").items()}


def read_model(folder: Path, words: Tensor) -> Marge:
    """Read a model. `words` holds the encoder's word embeddings, shape (tokens, d).

    Raises ModelError if the folder holds no model, or a damaged one.
    """
    import torch

    from kb.models.marge.model import Marge, Sizes

    metadata, tensors = read_metadata(folder), {name: torch.from_numpy(array) for name, array in _read(folder).items()}
    try:
        model = Marge(Sizes(**metadata.shape), words, tensors["written"])
        model.load_state_dict(tensors)
    except (KeyError, TypeError, RuntimeError) as error:
        raise ModelError(
            f"{folder / WEIGHTS_FILE} and {METADATA_FILE} do not fit ({error}). Delete it and train anew: `kb train marge`."
        ) from error
    return model.eval()


def fingerprint(folder: Path, encoder: str) -> str:
    """SHA-256 of the encoder's fingerprint and the model's files, in hexadecimal."""
    digest = hashlib.sha256(encoder.encode())
    for name in (WEIGHTS_FILE, METADATA_FILE):
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()


def _read(folder: Path, prefix: str = "") -> dict[str, Floats]:
    """Tensors by name, of those with this prefix. Raises ModelError if they cannot be read."""
    try:
        with safe_open(folder / WEIGHTS_FILE, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys() if name.startswith(prefix)}  # noqa: SIM118  (no mapping)
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"{folder / WEIGHTS_FILE} cannot be read ({error}). Delete it and train anew: `kb train marge`."
        ) from error
