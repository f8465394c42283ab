"""Reads and writes the LoRA matrices of a query adapter: one safetensors file in float16."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from kb.encode.bert_numpy import LoraWeights
from kb.errors import ModelError
from kb.files import replace_file

#: The query adapter that comes with the program.
BUNDLED = Path(__file__).parent / "trained" / "query.safetensors"
_ENCODER = "encoder"


def write_query_adapter(path: Path, lora: LoraWeights, encoder: str) -> None:
    """Write the adapter of the encoder with this fingerprint, atomically. Raises OSError if it cannot be written."""
    tensors = {
        f"{name}.{part}": np.ascontiguousarray(factor, dtype=np.float16)
        for name, factors in lora.items()
        for part, factor in zip(("down", "up"), factors, strict=True)
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, save(tensors, metadata={_ENCODER: encoder}))


def read_query_adapter(path: Path, encoder: str) -> LoraWeights | None:
    """Read an adapter; None if it belongs to another encoder than the one with this fingerprint.

    Raises ModelError if the file cannot be read.
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
