"""BERT with mean pooling in numpy, loaded from a sentence-transformers folder.

Importing sentence_transformers takes seconds, longer than a search; encoding a query needs none of it.
Architecture: Devlin et al. 2019 (arXiv 1810.04805); mean pooling: Reimers and Gurevych 2019 (arXiv 1908.10084).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file
from threadpoolctl import ThreadpoolController
from tokenizers import Tokenizer

Floats = NDArray[np.float32]
#: Token ids of one text, special tokens included; shape (tokens,).
Tokens = NDArray[np.int64]

# The supported configuration; other models are left to sentence-transformers.
_ARCHITECTURE = {"model_type": "bert", "hidden_act": "gelu", "position_embedding_type": "absolute", "is_decoder": False}
_MODULES = (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"])
_QKV = tuple(f"attention.self.{name}" for name in ("query", "key", "value"))
_BLAS = ThreadpoolController()
# BLAS waits for its slowest thread at every product. Two threads halve the time of a short text, and on a busy machine cost it
# a third; a long text they would slow down threefold there.
_SHORT = 64


class UnsupportedArchitecture(Exception):
    """The folder holds a model that this module does not compute."""


class Bert:
    """Weights and tokenizer of a BERT model. Safe to share between threads."""

    def __init__(self, folder: Path) -> None:
        """Load a sentence-transformers folder. Raises UnsupportedArchitecture if the model is of another kind or damaged."""
        try:
            self._load(folder)
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise UnsupportedArchitecture(f"{folder}: {error}") from error

    def _load(self, folder: Path) -> None:
        modules = _json(folder / "modules.json")
        if [module["type"].rpartition(".")[2] for module in modules] not in _MODULES or modules[0]["path"]:
            raise UnsupportedArchitecture(f"{folder} has other modules than a transformer with pooling.")
        pooling = _json(folder / modules[1]["path"] / "config.json")
        config = _json(folder / "config.json")
        limits = _json(folder / "sentence_bert_config.json")
        settings = folder / "config_sentence_transformers.json"
        if (
            [name for name, used in pooling.items() if used is True and name != "include_prompt"] != ["pooling_mode_mean_tokens"]
            or any(config.get(name, value) != value for name, value in _ARCHITECTURE.items())
            or limits.get("do_lower_case")
            or (settings.is_file() and _json(settings).get("default_prompt_name"))
        ):
            raise UnsupportedArchitecture(f"{folder} is configured for something else than BERT with mean pooling.")
        self.dimension = int(config["hidden_size"])
        self.heads = int(config["num_attention_heads"])
        self.epsilon = float(config["layer_norm_eps"])
        self.max_tokens = min(int(limits["max_seq_length"]), int(config["max_position_embeddings"]))
        self._tokenizer = _tokenizer(folder, self.max_tokens)
        tensors = {
            name: tensor.astype(np.float32, copy=False) for name, tensor in load_file(folder / "model.safetensors").items()
        }

        def weight_and_bias(name: str) -> tuple[Floats, Floats]:
            return tensors[f"{name}.weight"], tensors[f"{name}.bias"]

        self.word_embeddings = tensors["embeddings.word_embeddings.weight"]
        # Every token is of the first segment.
        segment = tensors["embeddings.token_type_embeddings.weight"][0]
        self.position_embeddings = tensors["embeddings.position_embeddings.weight"] + segment
        self.embedding_norm = weight_and_bias("embeddings.LayerNorm")
        self.layers = [Layer(number, weight_and_bias) for number in range(int(config["num_hidden_layers"]))]
        if self.word_embeddings.shape[1] != self.dimension or f"encoder.layer.{len(self.layers)}.output.dense.weight" in tensors:
            raise UnsupportedArchitecture(f"{folder}: the weights do not fit config.json.")

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        """Token ids of every text, truncated to `max_tokens`."""
        return [np.asarray(encoding.ids, dtype=np.int64) for encoding in self._tokenizer.encode_batch(list(texts))]

    def encode(self, text: str) -> Floats:
        """Unit vector of one text, shape (d,)."""
        (tokens,) = self.tokenize([text])
        states = self.word_embeddings[tokens] + self.position_embeddings[: len(tokens)]
        states = _layer_norm(states, self.embedding_norm, self.epsilon)
        with _BLAS.limit(limits=2 if len(tokens) <= _SHORT else 1, user_api="blas"):
            for layer in self.layers:
                states = layer(states, self.heads, self.epsilon)
        mean = states.mean(axis=0)
        return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-12), dtype=np.float32)


class Linear:
    """A linear layer."""

    def __init__(self, weight: Floats, bias: Floats) -> None:
        """Take the matrix, shape (out, in), and the bias, shape (out,)."""
        self.weight = weight
        self.bias = bias

    def __call__(self, states: Floats) -> Floats:
        """Map states of shape (tokens, in) to shape (tokens, out)."""
        # For the few tokens of a query, OpenBLAS takes two to three times as long if the large matrix is on the right.
        return (self.weight @ states.T).T + self.bias


class Layer:
    """Weights of one transformer layer."""

    def __init__(self, number: int, weight_and_bias: Callable[[str], tuple[Floats, Floats]]) -> None:
        """Take the weights of the layer with this number. Raises KeyError if one is missing."""
        prefix = f"encoder.layer.{number}"
        parts = [weight_and_bias(f"{prefix}.{name}") for name in _QKV]
        self.qkv = Linear(np.concatenate([weight for weight, _ in parts]), np.concatenate([bias for _, bias in parts]))
        self.attention_output = Linear(*weight_and_bias(f"{prefix}.attention.output.dense"))
        self.attention_norm = weight_and_bias(f"{prefix}.attention.output.LayerNorm")
        self.intermediate = Linear(*weight_and_bias(f"{prefix}.intermediate.dense"))
        self.output = Linear(*weight_and_bias(f"{prefix}.output.dense"))
        self.output_norm = weight_and_bias(f"{prefix}.output.LayerNorm")

    def __call__(self, states: Floats, heads: int, epsilon: float) -> Floats:
        """Map the states of one text, shape (tokens, d), to those of the next layer."""
        tokens, dimension = states.shape
        # Each of shape (heads, tokens, d / heads).
        query, key, value = self.qkv(states).reshape(tokens, 3, heads, -1).transpose(1, 2, 0, 3)
        weights: Floats = query @ key.transpose(0, 2, 1)
        weights /= np.float32(np.sqrt(dimension / heads))
        weights -= weights.max(axis=-1, keepdims=True)
        np.exp(weights, out=weights)
        weights /= weights.sum(axis=-1, keepdims=True)
        context = (weights @ value).transpose(1, 0, 2).reshape(tokens, dimension)
        states = _layer_norm(states + self.attention_output(context), self.attention_norm, epsilon)
        return _layer_norm(states + self.output(gelu(self.intermediate(states))), self.output_norm, epsilon)


def _layer_norm(states: Floats, norm: tuple[Floats, Floats], epsilon: float) -> Floats:
    """Layer normalisation (Ba et al. 2016, arXiv 1607.06450) of states, shape (tokens, d); `norm`: scale and shift, (d,)."""
    states = states - states.mean(axis=1, keepdims=True)
    states /= np.sqrt(np.einsum("ij,ij->i", states, states) / np.float32(states.shape[1]) + np.float32(epsilon))[:, None]
    states *= norm[0]
    states += norm[1]
    return states


def gelu(x: Floats) -> Floats:
    """GELU, x · Φ(x), of any shape; the error function to 1.5e-7 (Abramowitz and Stegun 1964, 7.1.26), since numpy has none."""
    # In place: for a long text every array is megabytes, and allocating new ones takes six times as long as the arithmetic.
    z = np.abs(x)
    z *= np.float32(np.sqrt(0.5))
    t = z * np.float32(0.3275911)
    t += 1
    np.divide(1, t, out=t)
    error = t * np.float32(1.061405429)
    for coefficient in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        error += np.float32(coefficient)
        error *= t
    z *= z
    np.negative(z, out=z)
    error *= np.exp(z, out=z)
    np.subtract(1, error, out=error)
    np.copysign(error, x, out=error)
    error += 1
    error *= x
    error *= np.float32(0.5)
    return error


def _tokenizer(folder: Path, max_tokens: int) -> Tokenizer:
    """The folder's tokenizer, with truncation and without padding. Raises UnsupportedArchitecture if it is not BERT's."""
    tokenizer_json = _json(folder / "tokenizer.json")
    config = _json(folder / "tokenizer_config.json")
    normalizer = tokenizer_json["normalizer"]
    if (
        tokenizer_json["model"].get("type", "WordPiece") != "WordPiece"
        or normalizer["type"] != "BertNormalizer"
        or any(
            config.get(name, normalizer[key]) != normalizer[key]
            for name, key in (
                ("do_lower_case", "lowercase"),
                ("strip_accents", "strip_accents"),
                ("tokenize_chinese_chars", "handle_chinese_chars"),
            )
        )
    ):
        raise UnsupportedArchitecture(f"{folder}: tokenizer.json and tokenizer_config.json differ, or are not BERT's.")
    tokenizer = Tokenizer.from_str(json.dumps(tokenizer_json))
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    return tokenizer


def _json(path: Path) -> Any:  # noqa: ANN401
    return json.loads(path.read_text(encoding="utf-8"))
