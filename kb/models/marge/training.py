"""Training: pairs are mined with the retriever as it is, papers are reconstructed from them, and pairs are mined again."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kb.cluster import Cluster
from kb.encode.encoder import Vectors
from kb.errors import ModelError
from kb.files import replace_file
from kb.index.dense import NEAR_DUPLICATE
from kb.models.marge.corpus import Corpus
from kb.models.marge.model import PAD, Batch, Marge, Shape
from kb.models.marge.pairs import Group, Pairs, Rows, grow, mine
from kb.models.marge.states import TokenStates
from kb.progress import NoProgress, Progress

CHECKPOINT = "checkpoint.pt"
LOG = "log.jsonl"
_COUNTED = 2000  # texts over which the frequency of tokens is counted
#: Quality of an adapter by name of the measure, higher is better; what training logs beside its loss.
Measure = Callable[[Callable[[Vectors], Vectors]], dict[str, float]]


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that a training run is determined by, beside the corpus."""

    shape: Shape = field(default_factory=Shape)
    steps: int = 1600
    batches: int = 2
    """Batches a step, computed side by side with one thread each; the gradient is their mean."""
    targets: int = 16
    evidence: int = 24
    cluster: int = 4
    """Targets of a batch that grow from one seed."""
    neighbours: int = 6
    kept: int = 4
    """Pairs kept, per paper of a shard; those are the best of the shard, not of the paper."""
    refresh: int = 200
    """Steps between two minings."""
    rate: float = 3e-3
    adapter_rate: float = 1e-3
    hold: float = 0.1
    """Weight of the adapter's drift from its start in the loss."""
    alone: float = 0.2
    """Share of the targets that read one paper only, as a reranker's candidate is read."""
    unaided: float = 0.1
    """Share of the targets that read none, from which log p(x) is learned."""
    measure: int = 100
    save: int = 50
    seed: int = 0


PRESETS = {
    "tiny": Plan(
        Shape(width=32, heads=2, layers=1, inner=64, bottleneck=8, vocabulary=512, target_tokens=12, evidence_tokens=16),
        steps=12, targets=4, evidence=8, cluster=2, refresh=6, measure=6, save=3,
    ),
    "cpu": Plan(),
    "gpu": Plan(
        Shape(width=384, heads=6, layers=3, inner=1024, target_tokens=96, evidence_tokens=128),
        steps=20000, targets=32, evidence=48, cluster=8, refresh=2000, measure=1000, save=500,
    ),
}  # fmt: skip


class Training:
    """One run, in a folder of its own that holds its checkpoint and its log; begun again, it goes on where it was."""

    def __init__(
        self,
        corpus: Corpus,
        states: TokenStates,
        plan: Plan,
        folder: Path,
        begin: Marge | None = None,
        cluster: Cluster | None = None,
    ) -> None:
        """A new run has the weights of `begin`, if given; pairs are mined on the cluster, if one is. Raises ModelError where
        `begin` is of another shape, or where the folder holds a run of another plan or over other papers."""
        self.corpus = corpus
        self.plan = plan
        self.log: list[dict[str, float]] = []
        self.step = 0
        self._states = states
        self._folder = folder
        self._cluster = cluster
        self._losses: list[dict[str, float]] = []  # since the last entry of the log
        self._mined = -1
        self._pairs = Pairs(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))
        torch.manual_seed(plan.seed)
        if begin is not None and begin.shape != plan.shape:
            raise ModelError("The model to begin with is of another size than the preset. Choose that which it was trained by.")
        self.model = Marge(plan.shape, states.words, begin.written if begin else self._written()).to(states.device)
        if begin is not None:
            self.model.load_state_dict(begin.state_dict())
        gate = [*self.model.adapter.parameters()]
        slow = {id(p) for p in gate}
        rest = [p for p in self.model.parameters() if id(p) not in slow]
        self._optimizer = torch.optim.AdamW(
            [{"params": rest, "start": plan.rate}, {"params": gate, "start": plan.adapter_rate}],
            lr=plan.rate, weight_decay=0.01, betas=(0.9, 0.98),
        )  # fmt: skip
        self._determined = _determined(plan, corpus, begin)
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / CHECKPOINT).is_file():
            self._resume()

    def run(self, measure: Measure, progress: Progress | None = None) -> None:
        """Trains to the end of the plan."""
        progress = progress or NoProgress()
        plan = self.plan
        progress.start("Training", plan.steps, "steps")
        progress.advance(self.step)
        if not self.log:
            self._note({"step": 0} | measure(self.adapt))
        losses = self._losses
        groups: Iterator[Group] = iter(())
        mined = -1
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with ThreadPoolExecutor(plan.batches, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                while self.step < plan.steps:
                    if mined != self.step // plan.refresh:
                        mined = self.step // plan.refresh
                        groups = self._groups(mined)
                    losses.append(self._take(pool, [next(groups) for _ in range(plan.batches)]))
                    self.step += 1
                    if self.step % plan.measure == 0 or self.step == plan.steps:
                        means = {name: float(np.mean([loss[name] for loss in losses])) for name in losses[0]}
                        losses.clear()
                        self._note({"step": self.step, "refreshes": mined + 1} | means | measure(self.adapt))
                    if self.step % plan.save == 0 or self.step == plan.steps:
                        self._save()
                    progress.advance(1)
        finally:
            torch.set_num_threads(threads)

    @torch.no_grad()
    def adapt(self, vectors: Vectors) -> Vectors:
        """g of the encoder's vectors, shape (n, d)."""
        device = self._states.device
        parts = [self.model.adapter(part.to(device)).cpu() for part in torch.split(torch.from_numpy(vectors), 65536)]
        return np.asarray(torch.cat(parts).numpy(), dtype=np.float32)

    def batch(self, group: Group, random: np.random.Generator) -> Batch:
        """The tensors of a batch. `random` draws which targets read one paper only, or none."""
        batch = batch_of(group, self.corpus, self._states, self.plan.shape)
        allowed = batch.allowed.cpu().numpy().copy()
        for row, lot in enumerate(random.random(len(allowed))):
            if lot < self.plan.unaided:
                allowed[row] = False
            elif lot < self.plan.unaided + self.plan.alone and allowed[row].any():
                # Near and far ones alike, so that the likelihood tells them apart.
                one = random.choice(np.flatnonzero(allowed[row]))
                allowed[row] = np.arange(len(allowed[row])) == one
        return replace(batch, allowed=torch.from_numpy(allowed).to(batch.allowed.device))

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """What is descended on, and what is logged of it."""
        plan = self.plan
        relevance = self.model.relevance(batch)
        with torch.autocast(self._states.device.type, dtype=torch.bfloat16):
            found, counts = self.model.log_likelihood(batch, relevance)
        reconstruction = -found.sum() / counts.sum().clamp(min=1)
        drift = self.model.drift(torch.cat([batch.target_vectors, batch.evidence_vectors]))
        loss = reconstruction + plan.hold * drift
        parts = {"loss": float(reconstruction.detach()), "drift": float(drift.detach()), "beta": float(self.model.beta.detach())}
        return loss, parts

    # Steps -----------------------------------------------------------------------------------------------------------

    def _take(self, pool: ThreadPoolExecutor, groups: list[Group]) -> dict[str, float]:
        """One step: the batches side by side, the mean of their gradients, in an order that does not depend on timing."""
        parameters = [p for p in self.model.parameters() if p.requires_grad]

        def gradients(number: int) -> tuple[tuple[Tensor | None, ...], dict[str, float]]:
            random = np.random.default_rng((self.plan.seed, self.step, number))
            loss, parts = self.loss(self.batch(groups[number], random))
            return torch.autograd.grad(loss, parameters, allow_unused=True), parts

        found = list(pool.map(gradients, range(len(groups))))
        for number, parameter in enumerate(parameters):
            parts = [grads[number] for grads, _ in found if grads[number] is not None]
            parameter.grad = torch.stack(parts).mean(dim=0) if parts else None  # type: ignore[arg-type]
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        for settings in self._optimizer.param_groups:
            settings["lr"] = settings["start"] * self._share()
        self._optimizer.step()
        return {name: float(np.mean([parts[name] for _, parts in found])) for name in found[0][1]}

    def _share(self) -> float:
        """Of the learning rate at this step: up over the first twentieth, then down in a line to a tenth."""
        warm = max(1, self.plan.steps // 20)
        return min((self.step + 1) / warm, 1 - 0.9 * self.step / self.plan.steps)

    def _groups(self, mined: int) -> Iterator[Group]:
        """The batches of this mining, from the place that the run has reached in them."""
        plan = self.plan
        if self._mined != mined:
            self._pairs = self._mine(mined)
            self._mined = mined
        if not len(self._pairs.target):
            raise ModelError("No two papers of a shard are near enough to explain each other. Train on more papers.")
        behind = (self.step - mined * plan.refresh) * plan.batches

        def endless() -> Iterator[Group]:
            again = 0
            while True:
                yield from grow(
                    self._pairs, plan.targets, plan.evidence, plan.cluster, np.random.default_rng((plan.seed, mined, again))
                )
                again += 1

        groups = endless()
        for _ in range(behind):
            next(groups)
        return groups

    def _mine(self, mined: int) -> Pairs:
        """The pairs of so many shards, drawn anew each time, as hold the targets until the next mining."""
        plan, corpus = self.plan, self.corpus
        enough = plan.refresh * plan.batches * plan.targets
        shards: list[Rows] = []
        for number in np.random.default_rng((plan.seed, mined)).permutation(len(corpus.shards)).tolist():
            if sum(map(len, shards)) < enough:
                shards.append(corpus.shards[number])
        rows = np.concatenate(shards)
        adapted = np.zeros_like(corpus.vectors)
        adapted[rows] = self.adapt(corpus.vectors[rows])
        return mine(adapted, corpus.vectors, shards, plan.neighbours, plan.kept, self._cluster)

    def _written(self) -> Tensor:
        """Ids of the tokens that the decoder can write: the most frequent of the training papers, the most frequent first."""
        rows = np.concatenate(self.corpus.shards)
        rows = np.random.default_rng(self.plan.seed).permutation(rows)[:_COUNTED]
        tokens = np.concatenate(self._states.tokenize([self.corpus.texts[row] for row in rows]))
        counts = np.bincount(tokens, minlength=len(self._states.words))
        return torch.from_numpy(np.argsort(-counts, kind="stable")[: self.plan.shape.vocabulary].copy())

    # Files -----------------------------------------------------------------------------------------------------------

    def _note(self, entry: dict[str, float]) -> None:
        self.log.append(entry)
        replace_file(self._folder / LOG, "".join(json.dumps(row) + "\n" for row in self.log).encode())

    def _save(self) -> None:
        content = io.BytesIO()
        torch.save(
            {
                "determined": self._determined,
                "step": self.step,
                "log": self.log,
                "losses": self._losses,
                "mined": self._mined,
                "pairs": (torch.from_numpy(self._pairs.target), torch.from_numpy(self._pairs.evidence)),
                "model": self.model.state_dict(),
                "optimizer": self._optimizer.state_dict(),
            },
            content,
        )
        replace_file(self._folder / CHECKPOINT, content.getvalue())

    def _resume(self) -> None:
        state: dict[str, Any] = torch.load(self._folder / CHECKPOINT, weights_only=True, map_location=self._states.device)
        if state.get("determined") != self._determined:
            raise ModelError(f"{self._folder} holds a run with other settings or papers. Delete it, or train with those.")
        self.step, self.log, self._mined = state["step"], state["log"], state["mined"]
        self._losses = state["losses"]
        self._pairs = Pairs(*(rows.cpu().numpy() for rows in state["pairs"]))
        self.model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])


def batch_of(group: Group, corpus: Corpus, states: TokenStates, shape: Shape) -> Batch:
    """The tensors of a batch in which every target may read all of the evidence but its near-duplicates, itself among them."""
    targets = [t[: shape.target_tokens] for t in states.tokenize([corpus.texts[row] for row in group.targets])]
    evidence = [t[: shape.evidence_tokens] for t in states.tokenize([corpus.texts[row] for row in group.evidence])]
    padded = np.full((len(targets), max(map(len, targets))), PAD)
    for row, tokens in enumerate(targets):
        padded[row, : len(tokens)] = tokens
    vectors, others = corpus.vectors[group.targets], corpus.vectors[group.evidence]
    return Batch(
        torch.from_numpy(padded).to(states.device),
        torch.from_numpy(vectors).to(states.device),
        torch.from_numpy(np.concatenate(evidence)).to(states.device),
        states.of(evidence).clone(),  # an inference tensor takes no part in a gradient
        torch.repeat_interleave(torch.arange(len(evidence)), torch.tensor([len(t) for t in evidence])).to(states.device),
        torch.from_numpy(others).to(states.device),
        torch.from_numpy(vectors @ others.T < NEAR_DUPLICATE).to(states.device),
    )


def _determined(plan: Plan, corpus: Corpus, begin: Marge | None) -> str:
    """SHA-256 of all that a run is determined by."""
    digest = hashlib.sha256(repr(plan).encode())
    for text in corpus.texts:
        digest.update(hashlib.sha256(text.encode()).digest())
    for tensor in begin.state_dict().values() if begin else ():
        digest.update(tensor.cpu().numpy().tobytes())
    return digest.hexdigest()
