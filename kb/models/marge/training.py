"""Training loop: mine pairs with the current retriever, learn to reconstruct papers from their evidence, mine again."""

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
from kb.models.marge.model import PAD, Batch, Marge, Sizes
from kb.models.marge.pairs import BatchRows, Pairs, Rows, group_batches, mine_pairs
from kb.models.marge.states import TokenStates
from kb.progress import NoProgress, Progress

CHECKPOINT = "checkpoint.pt"
LOG = "log.jsonl"
_FREQUENCY_SAMPLE = 2000  # texts whose tokens are counted for the vocabulary
#: Measures an adapter: quality by name of the measure, higher is better; logged beside the loss.
Measure = Callable[[Callable[[Vectors], Vectors]], dict[str, float]]


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """Hyperparameters of a training run."""

    sizes: Sizes = field(default_factory=Sizes)
    steps: int = 1600
    batches_per_step: int = 2
    """Batches of one optimiser step, each computed by its own thread; gradients are averaged."""
    targets_per_batch: int = 16
    evidence_per_batch: int = 24
    targets_per_seed: int = 4
    """Related targets that a batch takes from one seed, see `group_batches`."""
    neighbours: int = 6
    """Nearest neighbours of each paper that are considered as evidence."""
    pairs_per_paper: int = 4
    """Pairs kept per paper of a shard, on average: the best of the whole shard are kept."""
    mining_interval: int = 200
    """Steps between two minings of pairs."""
    learning_rate: float = 3e-3
    """Peak learning rate of the decoder and β."""
    adapter_learning_rate: float = 1e-3
    """Peak learning rate of the adapter."""
    drift_weight: float = 0.1
    """Weight of the adapter's distance from the identity in the loss, see `Marge.drift`."""
    single_evidence_share: float = 0.2
    """Share of the targets with a single evidence paper, as in reranking."""
    no_evidence_share: float = 0.1
    """Share of the targets without evidence, to learn log p(x)."""
    measure_interval: int = 100
    """Steps between two entries of the log."""
    save_interval: int = 50
    """Steps between two checkpoints."""
    seed: int = 0


PRESETS = {
    "tiny": TrainingConfig(
        Sizes(width=32, heads=2, layers=1, inner=64, bottleneck=8, vocabulary=512, target_tokens=12, evidence_tokens=16),
        steps=12, targets_per_batch=4, evidence_per_batch=8, targets_per_seed=2,
        mining_interval=6, measure_interval=6, save_interval=3,
    ),
    "cpu": TrainingConfig(),
    "gpu": TrainingConfig(
        Sizes(width=384, heads=6, layers=3, inner=1024, target_tokens=96, evidence_tokens=128),
        steps=20000, targets_per_batch=32, evidence_per_batch=48, targets_per_seed=8,
        mining_interval=2000, measure_interval=1000, save_interval=500,
    ),
}  # fmt: skip


class Training:
    """One training run with its folder of checkpoint and log; resumes from the checkpoint if there is one."""

    def __init__(
        self,
        corpus: Corpus,
        states: TokenStates,
        config: TrainingConfig,
        folder: Path,
        initial: Marge | None = None,
        cluster: Cluster | None = None,
    ) -> None:
        """Prepare or resume a run.

        A new run starts from the weights of `initial`, if given. Pairs are mined on the cluster, if given. Raises ModelError if
        `initial` has other sizes, or if the folder holds a run with another configuration or other papers.
        """
        self.corpus = corpus
        self.config = config
        self.log: list[dict[str, float]] = []
        self.step = 0
        self._states = states
        self._folder = folder
        self._cluster = cluster
        self._losses: list[dict[str, float]] = []  # since the last entry of the log
        self._mined = -1
        self._pairs = Pairs(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))
        torch.manual_seed(config.seed)
        if initial is not None and initial.sizes != config.sizes:
            raise ModelError(
                "The model to begin with is of another size than the preset. Choose the preset that it was trained with."
            )
        self.model = Marge(config.sizes, states.words, initial.written if initial else self._written()).to(states.device)
        if initial is not None:
            self.model.load_state_dict(initial.state_dict())
        adapter = [*self.model.adapter.parameters()]
        own = {id(p) for p in adapter}
        others = [p for p in self.model.parameters() if id(p) not in own]
        self._optimizer = torch.optim.AdamW(
            [
                {"params": others, "start": config.learning_rate},
                {"params": adapter, "start": config.adapter_learning_rate},
            ],
            lr=config.learning_rate, weight_decay=0.01, betas=(0.9, 0.98),
        )  # fmt: skip
        self._digest = _run_digest(config, corpus, initial)
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / CHECKPOINT).is_file():
            self._resume()

    def run(self, measure: Measure, progress: Progress | None = None) -> None:
        """Train to the last step. Raises ModelError if the corpus yields no pairs."""
        progress = progress or NoProgress()
        config = self.config
        progress.start("Training", config.steps, "steps")
        progress.advance(self.step)
        if not self.log:
            self._append_log({"step": 0} | measure(self.adapt))
        losses = self._losses
        batches: Iterator[BatchRows] = iter(())
        mined = -1
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with ThreadPoolExecutor(config.batches_per_step, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                while self.step < config.steps:
                    if mined != self.step // config.mining_interval:
                        mined = self.step // config.mining_interval
                        batches = self._batches(mined)
                    losses.append(self._optimize(pool, [next(batches) for _ in range(config.batches_per_step)]))
                    self.step += 1
                    if self.step % config.measure_interval == 0 or self.step == config.steps:
                        means = {name: float(np.mean([loss[name] for loss in losses])) for name in losses[0]}
                        losses.clear()
                        self._append_log({"step": self.step, "refreshes": mined + 1} | means | measure(self.adapt))
                    if self.step % config.save_interval == 0 or self.step == config.steps:
                        self._save()
                    progress.advance(1)
        finally:
            torch.set_num_threads(threads)

    @torch.no_grad()
    def adapt(self, vectors: Vectors) -> Vectors:
        """G of the encoder's vectors; both have shape (n, d)."""
        device = self._states.device
        parts = [self.model.adapter(part.to(device)).cpu() for part in torch.split(torch.from_numpy(vectors), 65536)]
        return np.asarray(torch.cat(parts).numpy(), dtype=np.float32)

    def batch(self, rows: BatchRows, random: np.random.Generator) -> Batch:
        """Assemble a batch. `random` draws the targets with a single evidence paper, or with none."""
        batch = batch_of(rows, self.corpus, self._states, self.config.sizes)
        allowed = batch.allowed.cpu().numpy().copy()
        for row, drawn in enumerate(random.random(len(allowed))):
            if drawn < self.config.no_evidence_share:
                allowed[row] = False
            elif drawn < self.config.no_evidence_share + self.config.single_evidence_share and allowed[row].any():
                # Drawn uniformly, so that the likelihood learns from near and distant evidence.
                one = random.choice(np.flatnonzero(allowed[row]))
                allowed[row] = np.arange(len(allowed[row])) == one
        return replace(batch, allowed=torch.from_numpy(allowed).to(batch.allowed.device))

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """The loss, and its parts for the log."""
        config = self.config
        relevance = self.model.relevance(batch)
        with torch.autocast(self._states.device.type, dtype=torch.bfloat16):
            likelihood, counts = self.model.log_likelihood(batch, relevance)
        reconstruction = -likelihood.sum() / counts.sum().clamp(min=1)
        drift = self.model.drift(torch.cat([batch.target_vectors, batch.evidence_vectors]))
        loss = reconstruction + config.drift_weight * drift
        parts = {"loss": float(reconstruction.detach()), "drift": float(drift.detach()), "beta": float(self.model.beta.detach())}
        return loss, parts

    # Steps -----------------------------------------------------------------------------------------------------------

    def _optimize(self, pool: ThreadPoolExecutor, batches: list[BatchRows]) -> dict[str, float]:
        """One optimiser step on the mean gradient of the batches, summed in a fixed order. Returns mean loss parts."""
        parameters = [p for p in self.model.parameters() if p.requires_grad]

        def gradients(number: int) -> tuple[tuple[Tensor | None, ...], dict[str, float]]:
            random = np.random.default_rng((self.config.seed, self.step, number))
            loss, parts = self.loss(self.batch(batches[number], random))
            return torch.autograd.grad(loss, parameters, allow_unused=True), parts

        found = list(pool.map(gradients, range(len(batches))))
        for number, parameter in enumerate(parameters):
            parts = [grads[number] for grads, _ in found if grads[number] is not None]
            parameter.grad = torch.stack(parts).mean(dim=0) if parts else None  # type: ignore[arg-type]
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        for settings in self._optimizer.param_groups:
            settings["lr"] = settings["start"] * self._learning_rate_scale()
        self._optimizer.step()
        return {name: float(np.mean([parts[name] for _, parts in found])) for name in found[0][1]}

    def _learning_rate_scale(self) -> float:
        """Schedule: linear warm-up over the first twentieth of the steps, then linear decay to a tenth."""
        warm = max(1, self.config.steps // 20)
        return min((self.step + 1) / warm, 1 - 0.9 * self.step / self.config.steps)

    def _batches(self, mined: int) -> Iterator[BatchRows]:
        """Batches of this mining from the current step on. Raises ModelError if the mining finds no pairs."""
        config = self.config
        if self._mined != mined:
            self._pairs = self._mine(mined)
            self._mined = mined
        if not len(self._pairs.target):
            raise ModelError("No two papers of a shard are near enough to explain each other. Train on more papers.")
        done = (self.step - mined * config.mining_interval) * config.batches_per_step

        def endless() -> Iterator[BatchRows]:
            epoch = 0
            while True:
                yield from group_batches(
                    self._pairs,
                    config.targets_per_batch,
                    config.evidence_per_batch,
                    config.targets_per_seed,
                    np.random.default_rng((config.seed, mined, epoch)),
                )
                epoch += 1

        batches = endless()
        for _ in range(done):
            next(batches)
        return batches

    def _mine(self, mined: int) -> Pairs:
        """Mine pairs in randomly drawn shards with enough targets until the next mining."""
        config, corpus = self.config, self.corpus
        enough = config.mining_interval * config.batches_per_step * config.targets_per_batch
        shards: list[Rows] = []
        for number in np.random.default_rng((config.seed, mined)).permutation(len(corpus.shards)).tolist():
            if sum(map(len, shards)) < enough:
                shards.append(corpus.shards[number])
        rows = np.concatenate(shards)
        adapted = np.zeros_like(corpus.vectors)
        adapted[rows] = self.adapt(corpus.vectors[rows])
        return mine_pairs(adapted, corpus.vectors, shards, config.neighbours, config.pairs_per_paper, self._cluster)

    def _written(self) -> Tensor:
        """Ids of the decoder's vocabulary: the most frequent tokens of the training papers, in descending order."""
        rows = np.concatenate(self.corpus.shards)
        rows = np.random.default_rng(self.config.seed).permutation(rows)[:_FREQUENCY_SAMPLE]
        tokens = np.concatenate(self._states.tokenize([self.corpus.texts[row] for row in rows]))
        counts = np.bincount(tokens, minlength=len(self._states.words))
        return torch.from_numpy(np.argsort(-counts, kind="stable")[: self.config.sizes.vocabulary].copy())

    # Files -----------------------------------------------------------------------------------------------------------

    def _append_log(self, entry: dict[str, float]) -> None:
        """Add an entry and rewrite the log file."""
        self.log.append(entry)
        replace_file(self._folder / LOG, "".join(json.dumps(row) + "\n" for row in self.log).encode())

    def _save(self) -> None:
        """Write the checkpoint."""
        content = io.BytesIO()
        torch.save(
            {
                "determined": self._digest,
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
        """Load the checkpoint. Raises ModelError if it is of another run."""
        state: dict[str, Any] = torch.load(self._folder / CHECKPOINT, weights_only=True, map_location=self._states.device)
        if state.get("determined") != self._digest:
            raise ModelError(f"{self._folder} holds a run with other settings or papers. Delete it, or train with those.")
        self.step, self.log, self._mined = state["step"], state["log"], state["mined"]
        self._losses = state["losses"]
        self._pairs = Pairs(*(rows.cpu().numpy() for rows in state["pairs"]))
        self.model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])


def batch_of(rows: BatchRows, corpus: Corpus, states: TokenStates, sizes: Sizes) -> Batch:
    """Assemble a batch in which each target may attend to all evidence except itself and its near-duplicates."""
    targets = [t[: sizes.target_tokens] for t in states.tokenize([corpus.texts[row] for row in rows.targets])]
    evidence = [t[: sizes.evidence_tokens] for t in states.tokenize([corpus.texts[row] for row in rows.evidence])]
    padded = np.full((len(targets), max(map(len, targets))), PAD)
    for row, tokens in enumerate(targets):
        padded[row, : len(tokens)] = tokens
    vectors, others = corpus.vectors[rows.targets], corpus.vectors[rows.evidence]
    return Batch(
        torch.from_numpy(padded).to(states.device),
        torch.from_numpy(vectors).to(states.device),
        torch.from_numpy(np.concatenate(evidence)).to(states.device),
        states.hidden_states(evidence).clone(),  # a clone, since autograd refuses inference tensors
        torch.repeat_interleave(torch.arange(len(evidence)), torch.tensor([len(t) for t in evidence])).to(states.device),
        torch.from_numpy(others).to(states.device),
        torch.from_numpy(vectors @ others.T < NEAR_DUPLICATE).to(states.device),
    )


def _run_digest(config: TrainingConfig, corpus: Corpus, initial: Marge | None) -> str:
    """SHA-256 of everything that determines a run."""
    digest = hashlib.sha256(repr(config).encode())
    for text in corpus.texts:
        digest.update(hashlib.sha256(text.encode()).digest())
    for tensor in initial.state_dict().values() if initial else ():
        digest.update(tensor.cpu().numpy().tobytes())
    return digest.hexdigest()
