"""What was trained, on disk: changes of low rank to the encoder's matrices, in half precision."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from kb.encode.bert_numpy import LoraWeights
from kb.errors import ModelError
from kb.files import replace_file

#: The changes that come with the product.
SHIPPED = Path(__file__).parent / "trained" / "query.safetensors"
_ENCODER = "encoder"


def write(path: Path, changes: LoraWeights, encoder: str) -> None:
    """Writes changes to the encoder of that fingerprint, under a temporary name first: the file is whole or not there."""
    tensors = {
        f"{name}.{part}": np.ascontiguousarray(factor, dtype=np.float16)
        for name, factors in changes.items()
        for part, factor in zip(("down", "up"), factors, strict=True)
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, save(tensors, metadata={_ENCODER: encoder}))


def read(path: Path, encoder: str) -> LoraWeights | None:
    """The changes in a file; None where they are to another encoder than that of this fingerprint.

    Raises ModelError where the file cannot be read.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            if file.metadata()[_ENCODER] != encoder:
                return None
            names = {name.rpartition(".")[0] for name in file.keys()}  # noqa: SIM118  (no mapping)
            return {
                name: (file.get_tensor(f"{name}.down").astype(np.float32), file.get_tensor(f"{name}.up").astype(np.float32))
                for name in sorted(names)
            }
    except (OSError, SafetensorError, KeyError, TypeError) as error:
        raise ModelError(f"{path} cannot be read ({error}). Install the program again.") from error
