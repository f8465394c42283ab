"""BERT with mean pooling, read straight from a sentence-transformers folder and computed by numpy.

Importing sentence_transformers takes seconds, which is longer than a search. A query needs none of it: the
architecture of the default model is a page of arithmetic (Devlin et al. 2019; Reimers and Gurevych 2019 for the pooling).
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file
from threadpoolctl import ThreadpoolController
from tokenizers import Tokenizer

Floats = NDArray[np.float32]
#: Token ids of one text, the special ones included; shape (tokens,).
Tokens = NDArray[np.int64]
#: Changes to a model's matrices by name, `encoder.layer.0.attention.self.query`, each as two factors of low rank (Hu et al. 2021,
#: LoRA, arXiv 2106.09685): down of shape (rank, in) and up of shape (out, rank). The matrix becomes W + up · down.
Changes = Mapping[str, tuple[Floats, Floats]]

# What this module computes; a model that says anything else of itself is left to sentence-transformers.
_ARCHITECTURE = {"model_type": "bert", "hidden_act": "gelu", "position_embedding_type": "absolute", "is_decoder": False}
_MODULES = (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"])
# Columns and rows of a matrix that are multiplied at a time: so few that BLAS takes its kernel for small matrices, where it has
# one (for AVX-512). Its others copy the matrix first, which takes longer than to multiply it by a query's few tokens.
_COLUMNS = 32
_ROWS = 768
_ATTENTION = tuple(f"attention.self.{name}" for name in ("query", "key", "value"))
# BLAS over all cores waits at every product for its slowest thread: on a busy machine that costs ten times the work.
_BLAS = ThreadpoolController()


class UnknownArchitecture(Exception):
    """The folder holds a model that this module does not compute."""


class Bert:
    """A model's weights and tokeniser."""

    def __init__(self, folder: Path) -> None:
        """Raises UnknownArchitecture where anything in the folder is not what this module computes."""
        try:
            self._read(folder)
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise UnknownArchitecture(f"{folder}: {error}") from error

    def _read(self, folder: Path) -> None:
        modules = _json(folder / "modules.json")
        if [module["type"].rpartition(".")[2] for module in modules] not in _MODULES or modules[0]["path"]:
            raise UnknownArchitecture(f"{folder} has other modules than a transformer with pooling.")
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
            raise UnknownArchitecture(f"{folder} is configured for something else than BERT with mean pooling.")
        self.dimension = int(config["hidden_size"])
        self.heads = int(config["num_attention_heads"])
        self.epsilon = float(config["layer_norm_eps"])
        self.limit = min(int(limits["max_seq_length"]), int(config["max_position_embeddings"]))
        self._tokenizer = _tokenizer(folder, self.limit)
        tensors = {
            name: tensor.astype(np.float32, copy=False) for name, tensor in load_file(folder / "model.safetensors").items()
        }

        def both(name: str) -> tuple[Floats, Floats]:
            return tensors[f"{name}.weight"], tensors[f"{name}.bias"]

        self.words = tensors["embeddings.word_embeddings.weight"]
        # Every token is of the first segment.
        self.positions = tensors["embeddings.position_embeddings.weight"] + tensors["embeddings.token_type_embeddings.weight"][0]
        self.norm = both("embeddings.LayerNorm")
        self.layers = [_Layer(number, both) for number in range(int(config["num_hidden_layers"]))]
        if self.words.shape[1] != self.dimension or f"encoder.layer.{len(self.layers)}.output.dense.weight" in tensors:
            raise UnknownArchitecture(f"{folder}: the weights do not fit config.json.")

    def changed(self, changes: Changes) -> Bert:
        """The model with these changes; this one stays as it is."""
        other = copy.copy(self)
        other.layers = [layer.changed(number, changes) for number, layer in enumerate(self.layers)]
        return other

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        """Token ids of every text, cut at the model's limit."""
        return [np.asarray(encoding.ids, dtype=np.int64) for encoding in self._tokenizer.encode_batch(list(texts))]

    def encode(self, text: str) -> Floats:
        """The unit vector of one text, shape (d,), in float32; milliseconds for a query."""
        (tokens,) = self.tokenize([text])
        states = _normalized(self.words[tokens] + self.positions[: len(tokens)], self.norm, self.epsilon)
        with _BLAS.limit(limits=1, user_api="blas"):
            for layer in self.layers:
                states = layer(states, self.heads, self.epsilon)
        mean = states.mean(axis=0)
        return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-12), dtype=np.float32)


class Linear:
    """A matrix with its bias."""

    def __init__(self, weight: Floats, bias: Floats) -> None:
        """The matrix of shape (out, in), the bias of shape (out,)."""
        self._blocks = _blocks(weight)
        self.bias = bias

    @property
    def weight(self) -> Floats:
        """The matrix, shape (out, in)."""
        return self._blocks.transpose(1, 3, 0, 2).reshape(len(self.bias), -1)

    def changed(self, *changes: tuple[Floats, Floats]) -> Linear:
        """The same with up · down of each change added, one below the other."""
        other = copy.copy(self)
        other._blocks = self._blocks.copy()  # in memory block by block: to read them so is half as fast again
        other._blocks += _blocks(np.concatenate([up @ down for down, up in changes]))
        return other

    def __call__(self, states: Floats) -> Floats:
        """States of shape (tokens, in) to those of shape (tokens, out)."""
        parts = len(self._blocks)
        products = states.reshape(len(states), parts, 1, -1).transpose(1, 2, 0, 3) @ self._blocks
        product: Floats = (products.sum(axis=0) if parts > 1 else products[0]).transpose(1, 0, 2).reshape(len(states), -1)
        product += self.bias
        return product


def _blocks(weight: Floats) -> Floats:
    """A matrix of shape (out, in) as it is multiplied by, shape (parts, blocks, in / parts, out / blocks); no copy."""
    parts = 1 if weight.shape[1] % _ROWS else weight.shape[1] // _ROWS
    columns = gcd(len(weight), _COLUMNS)
    return weight.reshape(-1, columns, parts, weight.shape[1] // parts).transpose(2, 0, 3, 1)


class _Layer:
    """Weights of one layer."""

    def __init__(self, number: int, both: Callable[[str], tuple[Floats, Floats]]) -> None:
        prefix = f"encoder.layer.{number}"
        parts = [both(f"{prefix}.{name}") for name in _ATTENTION]
        self.attention = Linear(np.concatenate([weight for weight, _ in parts]), np.concatenate([bias for _, bias in parts]))
        self.attended = Linear(*both(f"{prefix}.attention.output.dense"))
        self.attended_norm = both(f"{prefix}.attention.output.LayerNorm")
        self.inner = Linear(*both(f"{prefix}.intermediate.dense"))
        self.outer = Linear(*both(f"{prefix}.output.dense"))
        self.outer_norm = both(f"{prefix}.output.LayerNorm")

    def changed(self, number: int, changes: Changes) -> _Layer:
        """The layer with the changes to its matrices; raises KeyError where there is none for one of them."""

        def change(linear: Linear, *names: str) -> Linear:
            return linear.changed(*(changes[f"encoder.layer.{number}.{name}"] for name in names))

        other = copy.copy(self)
        other.attention = change(self.attention, *_ATTENTION)
        other.attended = change(self.attended, "attention.output.dense")
        other.inner = change(self.inner, "intermediate.dense")
        other.outer = change(self.outer, "output.dense")
        return other

    def __call__(self, states: Floats, heads: int, epsilon: float) -> Floats:
        """States of one text, shape (tokens, d), to those of the next layer."""
        tokens, dimension = states.shape
        # Each of shape (heads, tokens, d / heads).
        query, key, value = self.attention(states).reshape(tokens, 3, heads, -1).transpose(1, 2, 0, 3)
        weights: Floats = query @ key.transpose(0, 2, 1)
        weights /= np.float32(np.sqrt(dimension / heads))
        weights -= weights.max(axis=-1, keepdims=True)
        np.exp(weights, out=weights)
        weights /= weights.sum(axis=-1, keepdims=True)
        context = (weights @ value).transpose(1, 0, 2).reshape(tokens, dimension)
        states = _normalized(states + self.attended(context), self.attended_norm, epsilon)
        return _normalized(states + self.outer(gelu(self.inner(states))), self.outer_norm, epsilon)


def _normalized(states: Floats, norm: tuple[Floats, Floats], epsilon: float) -> Floats:
    """Every row scaled to mean 0 and deviation 1, and each of its numbers by the layer's own scale and shift."""
    states = states - states.mean(axis=1, keepdims=True)
    states /= np.sqrt(np.einsum("ij,ij->i", states, states) / np.float32(states.shape[1]) + np.float32(epsilon))[:, None]
    states *= norm[0]
    states += norm[1]
    return states


def gelu(x: Floats) -> Floats:
    """x · Φ(x), with the error function to 1.5e-7 (Abramowitz and Stegun 1964, 7.1.26): numpy has none."""
    # In place: of a long text every array is megabytes, and to get new ones from the system takes six times the arithmetic.
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


def _tokenizer(folder: Path, limit: int) -> Tokenizer:
    """The folder's tokeniser, set to cut at so many tokens and to pad nothing."""
    written = _json(folder / "tokenizer.json")
    said = _json(folder / "tokenizer_config.json")
    normalizer = written["normalizer"]
    if (
        written["model"].get("type", "WordPiece") != "WordPiece"
        or normalizer["type"] != "BertNormalizer"
        or any(
            said.get(name, normalizer[ours]) != normalizer[ours]
            for name, ours in (
                ("do_lower_case", "lowercase"),
                ("strip_accents", "strip_accents"),
                ("tokenize_chinese_chars", "handle_chinese_chars"),
            )
        )
    ):
        raise UnknownArchitecture(f"{folder}: tokenizer.json and tokenizer_config.json differ, or are none of BERT.")
    tokenizer = Tokenizer.from_str(json.dumps(written))
    tokenizer.no_padding()
    tokenizer.enable_truncation(limit)
    return tokenizer


def _json(path: Path) -> Any:  # noqa: ANN401
    return json.loads(path.read_text(encoding="utf-8"))
