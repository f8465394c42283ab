"""Training: a query is brought near to the papers that answer it, among all papers of its collection.

Only the query side moves. Karpukhin et al. 2020 (DPR, arXiv 2004.04906) for two sides; Zhan et al. 2021 (ADORE, arXiv 2104.08051)
for training that of queries over the whole collection, whose vectors stay; Hu et al. 2021 (LoRA, arXiv 2106.09685) for changes of
low rank.
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
class Example:
    """A query to learn from."""

    text: str
    answers: NDArray[np.int64]
    """Rows of the papers that answer it, shape (at least 1,)."""
    own: int | None = None
    """Row of the paper that the query is made from: neither an answer nor a wrong one."""


@dataclass(frozen=True, slots=True)
class Collection:
    """Papers, by their unit vectors of shape (n, d), with queries about them."""

    vectors: Vectors
    examples: Sequence[Example]


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that a training run is determined by, beside its collections."""

    rank: int = 16
    steps: int = 300
    batch: int = 32
    """Queries of each collection a step."""
    rate: float = 5e-4
    temperature: float = 0.05
    share: float = 0.85
    """Of what was learned so much is kept: queries unlike those learned from fare better nearer to the start (Wortsman et al.
    2022, Robust fine-tuning of zero-shot models, arXiv 2109.01903)."""
    seed: int = 0


class QuerySide(nn.Module):
    """The encoder with changes of low rank to each matrix of its layers, which begin at nothing."""

    def __init__(self, folder: Path, rank: int) -> None:
        """Raises UnsupportedArchitecture where the folder holds another model than kb.encode.bert_numpy computes."""
        super().__init__()
        self._tokens = Bert(folder)
        logging.set_verbosity_error()  # type: ignore[no-untyped-call]
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        model: Any = BertModel.from_pretrained(folder, add_pooling_layer=False)
        self._model = model.requires_grad_(False).eval()
        self._changed = {name: _Changed(part, rank) for name, part in self._model.named_modules() if isinstance(part, nn.Linear)}
        for name, part in self._changed.items():
            parent, _, own = name.rpartition(".")
            setattr(self._model.get_submodule(parent), own, part)

    def forward(self, texts: Sequence[str]) -> Tensor:
        """The unit vectors of texts, shape (len(texts), d): the mean of their tokens' states."""
        tokens = self._tokens.tokenize(texts)
        padded, mask = _padded(tokens)
        states = self._model(input_ids=padded, attention_mask=mask).last_hidden_state
        return functional.normalize((states * mask[:, :, None]).sum(dim=1), dim=-1)

    def changes(self, share: float = 1.0) -> LoraWeights:
        """So much of what was learned so far."""
        return {
            name: (part.down.detach().numpy().copy(), (share * part.up.detach()).numpy()) for name, part in self._changed.items()
        }


class _Changed(nn.Module):
    """A linear layer and a change to it."""

    def __init__(self, layer: nn.Linear, rank: int) -> None:
        super().__init__()
        self._layer = layer
        self.down = nn.Parameter(torch.randn(rank, layer.in_features) / layer.in_features**0.5)
        self.up = nn.Parameter(torch.zeros(layer.out_features, rank))

    def forward(self, states: Tensor) -> Tensor:
        return cast(Tensor, self._layer(states)) + functional.linear(functional.linear(states, self.down), self.up)


def train(folder: Path, collections: Sequence[Collection], plan: Plan, progress: Progress | None = None) -> QuerySide:
    """Trains the query side of the model in the folder. The same arguments give the same changes on one machine."""
    progress = progress or NoProgress()
    torch.manual_seed(plan.seed)
    random = np.random.default_rng(plan.seed)
    side = QuerySide(folder, plan.rank)
    optimizer = torch.optim.AdamW([p for p in side.parameters() if p.requires_grad], lr=plan.rate, weight_decay=0.01)
    turns = [_Turn(collection, random) for collection in collections]
    progress.start("Training", plan.steps, "steps")
    for step in range(1, plan.steps + 1):
        for settings in optimizer.param_groups:
            settings["lr"] = plan.rate * min(step / max(1, plan.steps // 16), 1 - 0.9 * (step - 1) / plan.steps)
        optimizer.zero_grad()
        for turn in turns:
            batch = turn.take(plan.batch)
            loss(side([example.text for example in batch]), torch.from_numpy(turn.vectors), batch, plan.temperature).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        progress.advance(1)
    return side


def loss(queries: Tensor, papers: Tensor, examples: Sequence[Example], temperature: float) -> Tensor:
    """Cross-entropy of the answers of each query, all alike, under the softmax of its cosines to all papers over the temperature.

    `queries` of shape (len(examples), d), `papers` of shape (n, d), both of unit length. The mean over the queries.
    """
    logits = queries @ papers.T / temperature
    wanted = torch.zeros_like(logits)
    for row, example in enumerate(examples):
        wanted[row, example.answers] = 1 / len(example.answers)
        if example.own is not None:
            logits[row, example.own] = -1e4
    return -(wanted * functional.log_softmax(logits, dim=1)).sum(dim=1).mean()


class _Turn:
    """The queries of a collection, over and over, each time in another order."""

    def __init__(self, collection: Collection, random: np.random.Generator) -> None:
        self.vectors = collection.vectors
        self._examples = collection.examples
        self._random = random
        self._waiting: list[int] = []

    def take(self, number: int) -> list[Example]:
        while len(self._waiting) < number:
            self._waiting += self._random.permutation(len(self._examples)).tolist()
        taken, self._waiting = self._waiting[:number], self._waiting[number:]
        return [self._examples[row] for row in taken]


def _padded(tokens: Sequence[Tokens]) -> tuple[Tensor, Tensor]:
    """Ids and a mask, 1 where there is a token, both of shape (texts, tokens of the longest)."""
    lengths = torch.tensor([len(each) for each in tokens])
    mask = (torch.arange(int(lengths.max()))[None] < lengths[:, None]).long()
    padded = torch.zeros_like(mask)
    padded[mask.bool()] = torch.from_numpy(np.concatenate(tokens))
    return padded, mask
