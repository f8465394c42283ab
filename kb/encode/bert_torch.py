"""Batched BERT forward pass in PyTorch (bfloat16 where the processor supports it).

Importing torch takes a second or two: this module is imported only when there are many texts to embed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import cast

import numpy as np
import torch
from torch.nn import functional

from kb.encode.bert_numpy import Bert, Floats, Tokens


def has_bfloat16() -> bool:
    """True if the processor multiplies bfloat16 matrices: two to five times as fast as float32, at a cosine of 0.9999 to it."""
    checks = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(check() for check in checks if check)


@cache
def has_packed_linear() -> bool:
    """True if torch has its compiler's private operators for linear layers in oneDNN's layout, as they are called here."""
    try:
        weight = torch.ops.mkldnn._reorder_linear_weight(torch.ones((1, 2), dtype=torch.bfloat16))
        two = torch.ops.mkldnn._linear_pointwise(torch.ones((1, 2), dtype=torch.bfloat16), weight, None, "none", [], "")
    except (AttributeError, RuntimeError, TypeError):
        return False
    return bool(two.item() == 2)


class _Linear:
    """A linear layer. In bfloat16 its weights are kept in oneDNN's layout, which saves converting them at every product."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        """Take the weight, shape (out, in), and the bias, shape (out,)."""
        self._packed = weight.dtype == torch.bfloat16 and has_packed_linear()
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight) if self._packed else weight
        self._bias = bias

    def __call__(self, states: torch.Tensor, gelu: bool = False) -> torch.Tensor:
        """Map states of shape (tokens, in) to shape (tokens, out), with GELU after it if asked for."""
        if self._packed:
            activation, variant = ("gelu", "none") if gelu else ("none", "")
            packed = torch.ops.mkldnn._linear_pointwise(states, self._weight, self._bias, activation, [], variant)
            return cast(torch.Tensor, packed)
        result = functional.linear(states, self._weight, self._bias)
        return functional.gelu(result) if gelu else result


class TorchBert:
    """A BERT model for batches of texts. Safe to share between threads."""

    def __init__(self, bert: Bert) -> None:
        """Copy the weights of a model, in bfloat16 if the processor supports it."""
        self._type = torch.bfloat16 if has_bfloat16() else torch.float32
        self._heads = bert.heads
        self._epsilon = bert.epsilon
        with torch.inference_mode():
            self._word_embeddings = self._tensor(bert.word_embeddings)
            self._position_embeddings = self._tensor(bert.position_embeddings)
            self._embedding_norm = self._pair(*bert.embedding_norm)
            self._layers = [
                (
                    _Linear(*self._pair(layer.qkv.weight, layer.qkv.bias)),
                    _Linear(*self._pair(layer.attention_output.weight, layer.attention_output.bias)),
                    self._pair(*layer.attention_norm),
                    _Linear(*self._pair(layer.intermediate.weight, layer.intermediate.bias)),
                    _Linear(*self._pair(layer.output.weight, layer.output.bias)),
                    self._pair(*layer.output_norm),
                )
                for layer in bert.layers
            ]

    def _tensor(self, array: Floats) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._type)

    def _pair(self, weight: Floats, bias: Floats) -> tuple[torch.Tensor, torch.Tensor]:
        return self._tensor(weight), self._tensor(bias)

    def encode(self, batch: Sequence[Tokens]) -> Floats:
        """Unit vectors of texts, padded to the longest, shape (texts, d); computed on the calling thread."""
        torch.set_num_threads(1)
        with torch.inference_mode():
            lengths = torch.tensor([len(tokens) for tokens in batch])
            longest = int(lengths.max())
            ids = torch.zeros((len(batch), longest), dtype=torch.long)
            for row, tokens in enumerate(batch):
                ids[row, : len(tokens)] = torch.from_numpy(tokens)
            valid = torch.arange(longest) < lengths[:, None]
            states = self._states(ids, valid).float().masked_fill_(~valid[:, :, None], 0)
            # The sum has the same direction as the mean.
            return np.asarray(functional.normalize(states.sum(dim=1), dim=-1).numpy(), dtype=np.float32)

    def _states(self, ids: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """States of the last layer, shape (texts, tokens, d); ids, and valid (False for padding) of shape (texts, tokens)."""
        texts, tokens = ids.shape
        mask = None
        if not bool(valid.all()):
            mask = torch.zeros((texts, 1, 1, tokens), dtype=self._type).masked_fill_(~valid[:, None, None], float("-inf"))
        embedded = self._word_embeddings[ids] + self._position_embeddings[:tokens]
        states = self._layer_norm(embedded, self._embedding_norm).flatten(0, 1)
        for qkv, attention_output, attention_norm, intermediate, output, output_norm in self._layers:
            # Each of shape (texts, heads, tokens, d / heads).
            query, key, value = qkv(states).view(texts, tokens, 3, self._heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
            context = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
            context = context.transpose(1, 2).reshape(texts * tokens, -1)
            states = self._layer_norm(states + attention_output(context), attention_norm)
            states = self._layer_norm(states + output(intermediate(states, gelu=True)), output_norm)
        return states.view(texts, tokens, -1)

    def _layer_norm(self, states: torch.Tensor, norm: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        return functional.layer_norm(states, states.shape[-1:], *norm, self._epsilon)
