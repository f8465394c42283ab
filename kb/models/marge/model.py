"""The MARGE model: an adapter over the encoder's vectors, and a decoder that reconstructs a paper from its evidence papers.

Lewis et al. 2020, Pre-training via Paraphrasing (arXiv 2006.15020), cited here as MARGE, by the headings of its second section.
Names of modules and parameters are those of the weights on disk.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

PAD = 0  # [PAD] in the vocabulary of BERT


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sizes of the model's layers and inputs."""

    encoder: int = 384
    """Dimension d of the encoder's vectors, token states and word embeddings."""
    width: int = 256
    heads: int = 4
    layers: int = 2
    inner: int = 768
    bottleneck: int = 64
    vocabulary: int = 8192
    """Tokens that the decoder can predict; others are inputs only and have no loss."""
    target_tokens: int = 48
    evidence_tokens: int = 64


@dataclass(frozen=True, slots=True)
class Batch:
    """T target papers of at most L tokens, and the M evidence papers that they share, with K tokens in all."""

    targets: Tensor
    """Token ids of the targets, shape (T, L), padded with PAD."""
    target_vectors: Tensor
    """The encoder's vectors of the targets, shape (T, d)."""
    evidence: Tensor
    """Token ids of the evidence, concatenated without padding, shape (K,)."""
    states: Tensor
    """The encoder's last hidden states of the evidence tokens, shape (K, d)."""
    paper: Tensor
    """Index of the evidence paper of each token, shape (K,)."""
    evidence_vectors: Tensor
    """The encoder's vectors of the evidence, shape (M, d)."""
    allowed: Tensor
    """Attention mask: True where a target may attend to an evidence paper, shape (T, M)."""


class Adapter(nn.Module):
    """Residual bottleneck adapter g over unit vectors; the identity when initialised.

    Houlsby et al. 2019, Parameter-Efficient Transfer Learning for NLP, section 2.1, applied to the pooled vector.
    """

    def __init__(self, dimension: int, bottleneck: int) -> None:
        super().__init__()
        self.down = nn.Linear(dimension, bottleneck)
        self.up = nn.Linear(bottleneck, dimension)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)
        self._scale = dimension**0.5  # entries of a unit vector are of the size of 1/√d

    def forward(self, vectors: Tensor) -> Tensor:
        """Map unit vectors to unit vectors, both of shape (…, d)."""
        correction = self.up(functional.gelu(self.down(vectors * self._scale))) / self._scale
        adapted: Tensor = functional.normalize(vectors + correction, dim=-1)
        return adapted


class DecoderLayer(nn.Module):
    """Decoder layer: causal self-attention, cross-attention to the evidence and a feed-forward network, each with pre-norm."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        width = sizes.width
        self.heads = sizes.heads
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.own = nn.Linear(width, 3 * width)
        self.own_out = nn.Linear(width, width)
        self.query = nn.Linear(width, width)
        self.memory = nn.Linear(width, 2 * width)
        self.read = nn.Linear(width, width)
        self.inner = nn.Linear(width, sizes.inner)
        self.outer = nn.Linear(sizes.inner, width)

    def forward(self, states: Tensor, memory: Tensor, bias: Tensor, paper: Tensor) -> Tensor:
        """Compute the next states of the targets, shape (T, L, w).

        `states` has shape (T, L, w), `memory` (K, w); `bias`, shape (T, M), is added to the attention logits of all tokens of an
        evidence paper; `paper`, shape (K, M), is one-hot.
        """
        targets, length, width = states.shape
        query, key, value = self._heads(self.own(self.norms[0](states)), 3)
        own = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        states = states + self.own_out(own.transpose(1, 2).reshape(targets, length, width))
        # All targets share one memory, so their tokens are queries of one attention.
        (query,) = self._heads(self.query(self.norms[1](states)).reshape(1, targets * length, width), 1)
        key, value = self._heads(self.memory(memory)[None], 2)
        rows = bias.repeat_interleave(length, dim=0)[None, None].to(query.dtype)
        read = biased_attention(query, key, value, rows, paper[None, None].to(query.dtype))
        states = states + self.read(read.transpose(1, 2).reshape(targets, length, width))
        written: Tensor = self.outer(functional.gelu(self.inner(self.norms[2](states))))
        return states + written

    def _heads(self, x: Tensor, parts: int) -> Iterator[Tensor]:
        """Split (B, tokens, parts * w) into `parts` tensors of shape (B, heads, tokens, w / heads)."""
        batch, tokens, _ = x.shape
        return iter(x.view(batch, tokens, parts, self.heads, -1).permute(2, 0, 3, 1, 4))


def biased_attention(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, paper: Tensor) -> Tensor:
    """softmax(q·k / √w + bias of the key's paper) · v, shape (B, heads, queries, w).

    `query`, `key` and `value` have shape (B, heads, queries or keys, w), `bias` (B, 1, queries, M), `paper`, one-hot,
    (B, 1, keys, M). The bias is appended to the queries as M dimensions and `paper` to the keys, so that the fused kernel
    computes it and its gradient without a matrix of all logits.
    """
    width, heads = query.shape[-1], query.shape[1]
    query = torch.cat([query * width**-0.5, bias.expand(-1, heads, -1, -1)], dim=-1)
    key = torch.cat([key, paper.expand(-1, heads, -1, -1)], dim=-1)
    value = functional.pad(value, (0, paper.shape[-1]))  # the kernel needs equal widths
    return functional.scaled_dot_product_attention(query, key, value, scale=1.0)[..., :width]


class Marge(nn.Module):
    """The MARGE model: adapter, decoder and β."""

    words: Tensor
    written: Tensor
    row: Tensor

    def __init__(self, sizes: Sizes, words: Tensor, written: Tensor) -> None:
        """Initialise the weights.

        `words` holds the encoder's word embeddings, shape (tokens, d), which stay frozen; `written` the ids of the tokens that
        the decoder can predict, shape (at most vocabulary,), in descending order of their frequency.
        """
        super().__init__()
        self.sizes = sizes
        self.adapter = Adapter(sizes.encoder, sizes.bottleneck)
        self.beta = nn.Parameter(torch.tensor(10.0))
        self.nothing = nn.Parameter(torch.tensor(2.0))
        """Bias of the logit of the token `no_evidence`, which a target can attend to in place of evidence."""
        self.no_evidence = nn.Parameter(torch.zeros(1, sizes.width))
        self.enter = nn.Linear(sizes.encoder, sizes.width, bias=False)
        self.enter_states = nn.Linear(sizes.encoder, sizes.width)
        self.memory_norm = nn.LayerNorm(sizes.width)
        self.positions = nn.Parameter(torch.randn(sizes.target_tokens, sizes.width) * 0.02)
        self.layers = nn.ModuleList(DecoderLayer(sizes) for _ in range(sizes.layers))
        self.norm = nn.LayerNorm(sizes.width)
        self.leave = nn.Linear(sizes.width, sizes.encoder)
        self.frequency = nn.Parameter(-torch.log(torch.arange(len(written)) + 10.0))  # Zipf's law
        row = torch.full((len(words),), -1)
        row[written] = torch.arange(len(written))
        self.register_buffer("words", functional.normalize(words, dim=-1) * sizes.width**0.5, persistent=False)
        self.register_buffer("written", written)
        self.register_buffer("row", row, persistent=False)

    def relevance(self, batch: Batch) -> Tensor:
        """f(x, z) = cos(g(x), g(z)), shape (T, M); differentiable in both arguments. MARGE, Relevance Scores."""
        targets, evidence = self.adapter(batch.target_vectors), self.adapter(batch.evidence_vectors)
        return torch.matmul(targets, evidence.T)

    def log_likelihood(self, batch: Batch, relevance: Tensor) -> tuple[Tensor, Tensor]:
        """Log p(x | z₁…z_M, f) in nats by token of the targets except the first, and a mask of the predictable tokens.

        Both have shape (T, L − 1), `relevance` has shape (T, M). MARGE, Reconstruction Model: β times the relevance of a paper is
        added to the attention logits of all of its tokens.
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
        # Only for predictable tokens: the product with the vocabulary is the largest one.
        hidden = self.leave(self.norm(states[counts]))
        logits = hidden @ self.words[self.written].T.to(hidden.dtype) * self.sizes.encoder**-0.5 + self.frequency
        found = torch.zeros(counts.shape, device=logits.device)
        found[counts] = -functional.cross_entropy(logits.float(), rows[counts], reduction="none")
        return found, counts

    def drift(self, vectors: Tensor) -> Tensor:
        """Mean of 1 − cos(g(x), x) over the vectors x, shape (n, d): the distance of g from the identity. A scalar."""
        return torch.mean(1 - (self.adapter(vectors) * vectors).sum(dim=-1))
