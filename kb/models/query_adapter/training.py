"""Trains the query adapter: cross-entropy of the relevant papers under a softmax over all papers of the collection.

Karpukhin et al. 2020 (DPR, arXiv 2004.04906) for separate query and document encoders; Zhan et al. 2021 (ADORE, arXiv 2104.08051)
for training the query encoder over the whole collection with fixed document vectors; Hu et al. 2021 (LoRA, arXiv 2106.09685) for
the low-rank adapter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from transformers import BertModel
from transformers.utils import logging

from kb.encode.bert_numpy import Bert, LoraWeights, Tokens
from kb.encode.encoder import Vectors
from kb.progress import NoProgress, Progress


@dataclass(frozen=True, slots=True)
class TrainingQuery:
    """One training query."""

    text: str
    relevant: NDArray[np.int64]
    """Rows of the relevant papers, shape (at least 1,)."""
    source: int | None = None
    """Row of the paper that the query is made from, which is left out of the softmax."""


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """A collection of papers and training queries over it."""

    vectors: Vectors
    """Unit vectors of the papers, shape (n, d)."""
    queries: Sequence[TrainingQuery]


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """Hyperparameters of a training run."""

    rank: int = 16
    """Rank of the LoRA matrices."""
    steps: int = 300
    batch_size: int = 32
    """Queries of each training set in a step."""
    learning_rate: float = 5e-4
    """Peak learning rate."""
    temperature: float = 0.05
    """Temperature of the softmax over cosines."""
    scale: float = 0.85
    """Factor of the trained weights when they are written: interpolation with the encoder alone generalises better (WiSE-FT,
    Wortsman et al. 2022, Robust fine-tuning of zero-shot models, arXiv 2109.01903)."""
    seed: int = 0


class QueryAdapter(nn.Module):
    """The encoder with LoRA matrices in each linear layer, initialised to the encoder itself."""

    def __init__(self, folder: Path, rank: int) -> None:
        """Load the encoder. Raises UnsupportedArchitecture if kb.encode.bert_numpy cannot compute it."""
        super().__init__()
        self._tokens = Bert(folder)
        logging.set_verbosity_error()  # type: ignore[no-untyped-call]
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        model: Any = BertModel.from_pretrained(folder, add_pooling_layer=False)
        self._model = model.requires_grad_(False).eval()
        self._adapted = {
            name: _LoraLinear(part, rank) for name, part in self._model.named_modules() if isinstance(part, nn.Linear)
        }
        for name, part in self._adapted.items():
            parent, _, own = name.rpartition(".")
            setattr(self._model.get_submodule(parent), own, part)

    def forward(self, texts: Sequence[str]) -> Tensor:
        """Encode texts: unit vectors, shape (texts, d), the means of their last hidden states."""
        tokens = self._tokens.tokenize(texts)
        padded, mask = _padded(tokens)
        states = self._model(input_ids=padded, attention_mask=mask).last_hidden_state
        return functional.normalize((states * mask[:, :, None]).sum(dim=1), dim=-1)

    def lora_weights(self, scale: float = 1.0) -> LoraWeights:
        """LoRA matrices by layer, times a factor."""
        return {
            name: (part.down.detach().numpy().copy(), (scale * part.up.detach()).numpy()) for name, part in self._adapted.items()
        }


class _LoraLinear(nn.Module):
    """A frozen linear layer with a trained low-rank correction."""

    def __init__(self, layer: nn.Linear, rank: int) -> None:
        super().__init__()
        self._layer = layer
        self.down = nn.Parameter(torch.randn(rank, layer.in_features) / layer.in_features**0.5)
        self.up = nn.Parameter(torch.zeros(layer.out_features, rank))

    def forward(self, states: Tensor) -> Tensor:
        return cast(Tensor, self._layer(states)) + functional.linear(functional.linear(states, self.down), self.up)


def train(
    folder: Path, training_sets: Sequence[TrainingSet], config: TrainingConfig, progress: Progress | None = None
) -> QueryAdapter:
    """Train a query adapter of the encoder in a folder. The same arguments give the same weights on one machine.

    Raises UnsupportedArchitecture if the folder holds another architecture.
    """
    progress = progress or NoProgress()
    torch.manual_seed(config.seed)
    random = np.random.default_rng(config.seed)
    adapter = QueryAdapter(folder, config.rank)
    optimizer = torch.optim.AdamW(
        [p for p in adapter.parameters() if p.requires_grad], lr=config.learning_rate, weight_decay=0.01
    )
    samplers = [_QuerySampler(training_set, random) for training_set in training_sets]
    progress.start("Training", config.steps, "steps")
    for step in range(1, config.steps + 1):
        for settings in optimizer.param_groups:
            settings["lr"] = config.learning_rate * min(step / max(1, config.steps // 16), 1 - 0.9 * (step - 1) / config.steps)
        optimizer.zero_grad()
        for sampler in samplers:
            batch = sampler.sample(config.batch_size)
            loss(
                adapter([query.text for query in batch]), torch.from_numpy(sampler.vectors), batch, config.temperature
            ).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        progress.advance(1)
    return adapter


def loss(vectors: Tensor, papers: Tensor, queries: Sequence[TrainingQuery], temperature: float) -> Tensor:
    """Mean cross-entropy of the relevant papers, equally weighted, under softmax(cosine / temperature) over all papers.

    `vectors`, those of the queries, has shape (queries, d), `papers` (n, d); both hold unit vectors. A scalar.
    """
    logits = vectors @ papers.T / temperature
    target = torch.zeros_like(logits)
    for row, query in enumerate(queries):
        target[row, query.relevant] = 1 / len(query.relevant)
        if query.source is not None:
            logits[row, query.source] = -1e4
    return -(target * functional.log_softmax(logits, dim=1)).sum(dim=1).mean()


class _QuerySampler:
    """Samples the queries of a training set without replacement, reshuffled in each epoch."""

    def __init__(self, training_set: TrainingSet, random: np.random.Generator) -> None:
        self.vectors = training_set.vectors
        self._queries = training_set.queries
        self._random = random
        self._waiting: list[int] = []

    def sample(self, number: int) -> list[TrainingQuery]:
        """The next queries, as many as asked for."""
        while len(self._waiting) < number:
            self._waiting += self._random.permutation(len(self._queries)).tolist()
        taken, self._waiting = self._waiting[:number], self._waiting[number:]
        return [self._queries[row] for row in taken]


def _padded(tokens: Sequence[Tokens]) -> tuple[Tensor, Tensor]:
    """Token ids padded with 0, and a mask that is 1 for tokens, both of shape (texts, tokens of the longest)."""
    lengths = torch.tensor([len(each) for each in tokens])
    mask = (torch.arange(int(lengths.max()))[None] < lengths[:, None]).long()
    padded = torch.zeros_like(mask)
    padded[mask.bool()] = torch.from_numpy(np.concatenate(tokens))
    return padded, mask
