"""The model: an adapter over the encoder's vectors, and a decoder that writes a paper from the tokens of its evidence.

Lewis et al. 2020, Pre-training via Paraphrasing (arXiv 2006.15020), cited here as MARGE, by the headings of its second section.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

PAD = 0  # [PAD] in the vocabulary of BERT


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of the model."""

    encoder: int = 384
    """Dimension of the encoder's vectors, token states and word embeddings."""
    width: int = 256
    heads: int = 4
    layers: int = 2
    inner: int = 768
    bottleneck: int = 64
    vocabulary: int = 8192
    """Tokens that the decoder can write; the others are read, and no loss is taken of them."""
    target_tokens: int = 48
    evidence_tokens: int = 64


@dataclass(frozen=True, slots=True)
class Batch:
    """Targets and the evidence that they share. T targets of at most L tokens, M papers of evidence with K tokens in all."""

    targets: Tensor
    """Token ids, shape (T, L), closed by PAD."""
    target_vectors: Tensor
    """The encoder's vectors of the targets, shape (T, d)."""
    evidence: Tensor
    """Token ids of the evidence, paper after paper without padding, shape (K,)."""
    states: Tensor
    """The encoder's state of each of these tokens, shape (K, d)."""
    paper: Tensor
    """To which paper each of these tokens belongs, shape (K,)."""
    evidence_vectors: Tensor
    """The encoder's vectors of the evidence, shape (M, d)."""
    allowed: Tensor
    """Which paper a target may read, shape (T, M): not itself, not its near-duplicates."""


class Adapter(nn.Module):
    """g: the encoder's vector and a small correction of it, of unit length. It begins as the encoder's vector itself.

    Houlsby et al. 2019, Parameter-Efficient Transfer Learning for NLP, section 2.1, on the pooled vector.
    """

    def __init__(self, dimension: int, bottleneck: int) -> None:
        super().__init__()
        self.down = nn.Linear(dimension, bottleneck)
        self.up = nn.Linear(bottleneck, dimension)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)
        self._scale = dimension**0.5  # entries of a unit vector are of the size of 1/√d

    def forward(self, vectors: Tensor) -> Tensor:
        """Unit vectors to unit vectors, shape (…, d)."""
        correction = self.up(functional.gelu(self.down(vectors * self._scale))) / self._scale
        adapted: Tensor = functional.normalize(vectors + correction, dim=-1)
        return adapted


class Layer(nn.Module):
    """One layer of the decoder: the target so far, its evidence, and a feed-forward network, each behind a norm."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width = shape.width
        self.heads = shape.heads
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.own = nn.Linear(width, 3 * width)
        self.own_out = nn.Linear(width, width)
        self.query = nn.Linear(width, width)
        self.memory = nn.Linear(width, 2 * width)
        self.read = nn.Linear(width, width)
        self.inner = nn.Linear(width, shape.inner)
        self.outer = nn.Linear(shape.inner, width)

    def forward(self, states: Tensor, memory: Tensor, bias: Tensor, paper: Tensor) -> Tensor:
        """States of the targets, shape (T, L, w), after one layer more.

        `memory` has shape (K, w), `bias` (T, M) is added to the logits of all tokens of a paper, `paper` (K, M) is one-hot.
        """
        targets, length, width = states.shape
        query, key, value = self._heads(self.own(self.norms[0](states)), 3)
        own = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        states = states + self.own_out(own.transpose(1, 2).reshape(targets, length, width))
        # All targets read one memory, so that their tokens are one long row of queries.
        (query,) = self._heads(self.query(self.norms[1](states)).reshape(1, targets * length, width), 1)
        key, value = self._heads(self.memory(memory)[None], 2)
        rows = bias.repeat_interleave(length, dim=0)[None, None].to(query.dtype)
        read = biased_attention(query, key, value, rows, paper[None, None].to(query.dtype))
        states = states + self.read(read.transpose(1, 2).reshape(targets, length, width))
        written: Tensor = self.outer(functional.gelu(self.inner(self.norms[2](states))))
        return states + written

    def _heads(self, x: Tensor, parts: int) -> Iterator[Tensor]:
        """Cut into `parts` and heads, each of shape (B, heads, tokens, w / heads)."""
        batch, tokens, _ = x.shape
        return iter(x.view(batch, tokens, parts, self.heads, -1).permute(2, 0, 3, 1, 4))


def biased_attention(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, paper: Tensor) -> Tensor:
    """softmax(q·k / √w + bias of the key's paper) v, of shape (B, heads, queries, w).

    `bias` has shape (B, 1, queries, M) and `paper`, one-hot, (B, 1, keys, M). The bias is M more dimensions of the queries, of
    which each key has one: so the fused kernel computes it, and its gradient, without the matrix of all logits.
    """
    width, heads = query.shape[-1], query.shape[1]
    query = torch.cat([query * width**-0.5, bias.expand(-1, heads, -1, -1)], dim=-1)
    key = torch.cat([key, paper.expand(-1, heads, -1, -1)], dim=-1)
    value = functional.pad(value, (0, paper.shape[-1]))  # the kernel wants all three of one width
    return functional.scaled_dot_product_attention(query, key, value, scale=1.0)[..., :width]


class Marge(nn.Module):
    """The adapter, the decoder, and β."""

    words: Tensor
    written: Tensor
    row: Tensor

    def __init__(self, shape: Shape, words: Tensor, written: Tensor) -> None:
        """`words` are the encoder's word embeddings, shape (tokens, d), which stay as they are; `written` the ids of the tokens
        that the decoder can write, shape (at most vocabulary,), the most frequent first."""
        super().__init__()
        self.shape = shape
        self.adapter = Adapter(shape.encoder, shape.bottleneck)
        self.beta = nn.Parameter(torch.tensor(10.0))
        self.nothing = nn.Parameter(torch.tensor(2.0))
        """What is added to the logit of the one token that stands for no evidence."""
        self.no_evidence = nn.Parameter(torch.zeros(1, shape.width))
        self.enter = nn.Linear(shape.encoder, shape.width, bias=False)
        self.enter_states = nn.Linear(shape.encoder, shape.width)
        self.memory_norm = nn.LayerNorm(shape.width)
        self.positions = nn.Parameter(torch.randn(shape.target_tokens, shape.width) * 0.02)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = nn.LayerNorm(shape.width)
        self.leave = nn.Linear(shape.width, shape.encoder)
        self.frequency = nn.Parameter(-torch.log(torch.arange(len(written)) + 10.0))  # Zipf's law to begin with
        row = torch.full((len(words),), -1)
        row[written] = torch.arange(len(written))
        self.register_buffer("words", functional.normalize(words, dim=-1) * shape.width**0.5, persistent=False)
        self.register_buffer("written", written)
        self.register_buffer("row", row, persistent=False)

    def relevance(self, batch: Batch) -> Tensor:
        """f(x, z) = cos(g(x), g(z)), shape (T, M). MARGE, Relevance Scores; gradients reach g on both sides."""
        targets, evidence = self.adapter(batch.target_vectors), self.adapter(batch.evidence_vectors)
        return torch.matmul(targets, evidence.T)

    def log_likelihood(self, batch: Batch, relevance: Tensor) -> tuple[Tensor, Tensor]:
        """log p(x | z₁…z_M, f) of every token of the targets but the first, and which of them count; both of shape (T, L − 1).

        MARGE, Reconstruction Model: the relevance of a paper, times β, is added to the logits of all of its tokens.
        """
        closed = torch.finfo(torch.bfloat16).min / 4
        bias = torch.where(batch.allowed, self.beta * relevance, closed)
        bias = torch.cat([bias, self.nothing.expand(len(bias), 1)], dim=1)
        paper = functional.one_hot(batch.paper, bias.shape[1])
        paper = torch.cat([paper, functional.one_hot(paper.new_tensor([bias.shape[1] - 1]), bias.shape[1])])
        memory = self.memory_norm(self.enter_states(batch.states) + self.enter(self.words[batch.evidence]))
        memory = torch.cat([memory, self.no_evidence.to(memory.dtype)])
        read = batch.targets[:, :-1]
        states = self.enter(self.words[read]) + self.positions[: read.shape[1]]
        for layer in self.layers:
            states = layer(states, memory, bias, paper)
        rows = self.row[batch.targets[:, 1:]]
        counts = (batch.targets[:, 1:] != PAD) & (rows >= 0)
        # Only where a token counts: the vocabulary is the widest product of all.
        hidden = self.leave(self.norm(states[counts]))
        logits = hidden @ self.words[self.written].T.to(hidden.dtype) * self.shape.encoder**-0.5 + self.frequency
        found = torch.zeros(counts.shape, device=logits.device)
        found[counts] = -functional.cross_entropy(logits.float(), rows[counts], reduction="none")
        return found, counts

    def drift(self, vectors: Tensor) -> Tensor:
        """How far g is from its start: the mean of 1 − cos(g(x), x)."""
        return torch.mean(1 - (self.adapter(vectors) * vectors).sum(dim=-1))
