"""Many texts at once: the layers of `kb.bert` by torch, in bfloat16 where the processor computes with it.

Importing torch takes a second or two, so this module is imported where there is much to embed, and by nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from torch.nn import functional

from kb.encode.bert_numpy import Bert, Floats, Tokens


def has_bfloat16() -> bool:
    """Whether the processor multiplies matrices of bfloat16: two to five times as fast, cosine to float32 0.9999."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


class _Linear:
    """A matrix with its bias, laid out for the processor once; oneDNN would do so again at every product."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        self._packed = weight.dtype == torch.bfloat16 and bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight) if self._packed else weight
        self._bias = bias

    def __call__(self, states: torch.Tensor, gelu: bool = False) -> torch.Tensor:
        if self._packed:  # the operator that torch's compiler puts in place of a linear layer with an activation
            activation, variant = ("gelu", "none") if gelu else ("none", "")
            packed = torch.ops.mkldnn._linear_pointwise(states, self._weight, self._bias, activation, [], variant)
            return cast(torch.Tensor, packed)
        result = functional.linear(states, self._weight, self._bias)
        return functional.gelu(result) if gelu else result


class BulkBert:
    """A model for batches. Safe to share between threads."""

    def __init__(self, bert: Bert) -> None:
        self._type = torch.bfloat16 if has_bfloat16() else torch.float32
        self._heads = bert.heads
        self._epsilon = bert.epsilon
        with torch.inference_mode():
            self._words = self._tensor(bert.words)
            self._positions = self._tensor(bert.positions)
            self._norm = self._pair(*bert.norm)
            self._layers = [
                (
                    _Linear(*self._pair(layer.attention.weight, layer.attention.bias)),
                    _Linear(*self._pair(layer.attended.weight, layer.attended.bias)),
                    self._pair(*layer.attended_norm),
                    _Linear(*self._pair(layer.inner.weight, layer.inner.bias)),
                    _Linear(*self._pair(layer.outer.weight, layer.outer.bias)),
                    self._pair(*layer.outer_norm),
                )
                for layer in bert.layers
            ]

    def _tensor(self, array: Floats) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._type)

    def _pair(self, weight: Floats, bias: Floats) -> tuple[torch.Tensor, torch.Tensor]:
        return self._tensor(weight), self._tensor(bias)

    def encode(self, batch: Sequence[Tokens]) -> Floats:
        """The unit vectors of texts of like length, shape (texts, d); computed by the calling thread alone."""
        torch.set_num_threads(1)
        with torch.inference_mode():
            lengths = torch.tensor([len(tokens) for tokens in batch])
            longest = int(lengths.max())
            ids = torch.zeros((len(batch), longest), dtype=torch.long)
            for row, tokens in enumerate(batch):
                ids[row, : len(tokens)] = torch.from_numpy(tokens)
            valid = torch.arange(longest) < lengths[:, None]
            states = self._states(ids, valid).float().masked_fill_(~valid[:, :, None], 0)
            # The mean's direction is the sum's.
            return np.asarray(functional.normalize(states.sum(dim=1), dim=-1).numpy(), dtype=np.float32)

    def _states(self, ids: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """The last layer's states, shape (texts, tokens, d)."""
        texts, tokens = ids.shape
        mask = None
        if not bool(valid.all()):
            mask = torch.zeros((texts, 1, 1, tokens), dtype=self._type).masked_fill_(~valid[:, None, None], float("-inf"))
        states = self._normalized(self._words[ids] + self._positions[:tokens], self._norm).flatten(0, 1)
        for attention, attended, attended_norm, inner, outer, outer_norm in self._layers:
            # Each of shape (texts, heads, tokens, d / heads).
            query, key, value = attention(states).view(texts, tokens, 3, self._heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
            context = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
            states = self._normalized(states + attended(context.transpose(1, 2).reshape(texts * tokens, -1)), attended_norm)
            states = self._normalized(states + outer(inner(states, gelu=True)), outer_norm)
        return states.view(texts, tokens, -1)

    def _normalized(self, states: torch.Tensor, norm: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        return functional.layer_norm(states, states.shape[-1:], *norm, self._epsilon)
