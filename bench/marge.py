"""Evaluates MARGE models: use of the evidence, retrieval and reranking.

    python -m bench.marge reconstruction MODEL --home HOME    ablations: nats per token of held-out papers
    python -m bench.marge retriever MODEL…                    g for examples and in all vectors, by stage
    python -m bench.marge reranker MODEL                      the reranker beside the default, with the time of a search

The last two use held-out citing papers as queries, with the cited papers as relevant ones, or the judged queries of --folder.
Each prints Markdown. Vectors are cached: the first run embeds, for citing papers 34,943 texts.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import os
import sys
import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kb.encode.encoder import Encoder
from kb.index.build import build_indexes, embed_missing
from kb.models.marge.corpus import Corpus, read_corpus
from kb.models.marge.encoder import RelevanceModel
from kb.models.marge.model import Batch, Marge
from kb.models.marge.pairs import BatchRows, Pairs, group_batches
from kb.models.marge.states import TokenStates
from kb.models.marge.training import PRESETS, TrainingConfig, batch_of
from kb.models.marge.weights import read_model
from kb.models.registry import DEFAULT_MODEL, default_model_folder, load_encoder, marge_model_folder
from kb.search.evaluate import Evaluation, JudgedQuery, build_collection, document_ids, evaluate, judged_queries, paired_bootstrap
from kb.search.qrels import Document, Judgements, Qrels, read_judgements
from kb.search.retriever import Query
from kb.search.searcher import Searcher
from kb.store import Home

Split = Literal["train", "dev", "test"]
_TARGETS = 480  # held-out papers to reconstruct


def split_of(paper: str) -> Split:
    """Split of a citing paper by the hash of its id: a tenth each for development and test."""
    lot = hashlib.sha256(paper.encode()).digest()[0] % 10
    return "test" if lot == 0 else "dev" if lot == 1 else "train"


def citations(shared: Path, split: Split) -> Judgements:
    """Citing papers of a split as queries, with the cited papers as relevant ones, over all papers of the collection."""
    folder = shared / "data" / "citations"
    with gzip.open(folder / "papers.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    documents = {row["id"]: Document(row["id"], row["title"], row["abstract"] or "") for row in rows}
    qrels: Qrels = {}
    with gzip.open(folder / "pairs.tsv.gz", "rt", encoding="utf-8") as lines:
        for row in csv.DictReader(lines, delimiter="\t"):
            citing, cited = row["citing"], row["cited"]
            if citing in documents and cited in documents and citing != cited and split_of(citing) == split:
                qrels.setdefault(citing, {})[cited] = 1
    queries = {query: f"{documents[query].title}. {documents[query].text}" for query in qrels}
    return Judgements(f"citations-{split}", tuple(documents.values()), queries, qrels)


@dataclass(frozen=True, slots=True)
class QuerySet:
    """A selection of judged queries."""

    judgements: Judgements
    by_example: bool
    """True if queries are documents of the collection, as in `citations`, and are searched by example."""
    limit: int | None = None
    """Number of queries, drawn with a fixed seed; None for all."""

    def select(self, searcher: Searcher) -> list[JudgedQuery]:
        """The selected queries for a knowledge base that `build_collection` built."""
        judged = judged_queries(self.judgements, searcher.catalogue)
        if self.by_example:
            judged = [replace(q, query=Query(like=(q.source,))) for q in judged if q.source is not None]
        drawn = np.sort(np.random.default_rng(0).permutation(len(judged))[: self.limit])
        return [judged[number] for number in drawn.tolist()]


def evaluate_retrievers(queries: QuerySet, ways: Sequence[tuple[Encoder, RelevanceModel]], vectors: Path) -> list[Evaluation]:
    """Evaluate pairs of an encoder and a relevance model.

    A derived encoder follows its base, so that nothing is embedded twice.
    """
    judgements = queries.judgements
    found: list[Evaluation] = []
    with TemporaryDirectory() as place:
        home = build_collection(judgements, Path(place) / "kb", vectors, ways[0][0])
        for encoder, relevance in ways:
            embed_missing(home, encoder)
            with home.draft() as draft:
                build_indexes(draft, encoder)
                draft.publish()
            with Searcher.open(home, encoder, relevance) as searcher:
                found.append(evaluate(searcher, queries.select(searcher), document_ids(judgements.documents, searcher.catalogue)))
    return found


def evaluate_rerankers(queries: QuerySet, rerankers: Sequence[str], vectors: Path) -> list[tuple[Evaluation, float, float]]:
    """Evaluate rerankers, by the names that KB_RERANKER takes, with processor and wall seconds of a search."""
    encoder = load_encoder(DEFAULT_MODEL)
    found: list[tuple[Evaluation, float, float]] = []
    with TemporaryDirectory() as place:
        home = build_collection(queries.judgements, Path(place) / "kb", vectors, encoder)
        for reranker in rerankers:
            os.environ["KB_RERANKER"] = reranker
            with Searcher.open(home, encoder) as searcher:
                selected = queries.select(searcher)
                names = document_ids(queries.judgements.documents, searcher.catalogue)
                evaluate(searcher, selected[:1], names)  # loads what is loaded once
                processor, wall = time.process_time(), time.perf_counter()
                evaluation = evaluate(searcher, selected, names)
                taken = time.process_time() - processor, time.perf_counter() - wall
                found.append((evaluation, *(seconds / evaluation.queries for seconds in taken)))
    return found


def held_out_groups(corpus: Corpus, config: TrainingConfig) -> list[BatchRows]:
    """Batches of held-out papers with their nearest training papers as evidence."""
    known = np.concatenate(corpus.shards)
    targets = corpus.held_out[:_TARGETS]
    number = config.pairs_per_paper
    near = [np.argpartition(-(corpus.vectors[known] @ corpus.vectors[row]), number)[:number] for row in targets.tolist()]
    pairs = Pairs(np.repeat(targets, number), known[np.concatenate(near)])
    sizes = config.targets_per_batch, config.evidence_per_batch, config.targets_per_seed
    return list(group_batches(pairs, *sizes, np.random.default_rng(0)))


@torch.inference_mode()
def reconstruction(model: Marge, corpus: Corpus, states: TokenStates, config: TrainingConfig) -> dict[str, NDArray[np.float64]]:
    """Nats per token of held-out papers, shape (papers,), by ablation."""
    groups = held_out_groups(corpus, config)

    def start(batch: Batch) -> Tensor:
        return batch.target_vectors @ batch.evidence_vectors.T

    found: dict[str, list[float]] = {}
    beta = model.beta.detach().clone()
    for number, group in enumerate(groups):
        batch = batch_of(group, corpus, states, config.sizes)
        other = batch_of(BatchRows(group.targets, groups[(number + 1) % len(groups)].evidence), corpus, states, config.sizes)
        nobody = replace(batch, allowed=torch.zeros_like(batch.allowed))
        variants: dict[str, tuple[Batch, Callable[[Batch], Tensor], Tensor]] = {
            "as trained": (batch, model.relevance, beta),
            "f of the untrained encoder": (batch, start, beta),
            "β = 0": (batch, model.relevance, torch.zeros_like(beta)),
            "the evidence of others": (other, model.relevance, beta),
            "no evidence": (nobody, model.relevance, beta),
        }
        for name, (what, relevance, strength) in variants.items():
            model.beta.copy_(strength)
            with torch.autocast(states.device.type, dtype=torch.bfloat16):
                likelihood, counts = model.log_likelihood(what, relevance(what))
            found.setdefault(name, []).extend((-likelihood.sum(dim=1) / counts.sum(dim=1).clamp(min=1)).tolist())
        model.beta.copy_(beta)
    return {name: np.asarray(values) for name, values in found.items()}


def gain(before: NDArray[np.float64], after: NDArray[np.float64]) -> str:
    """Mean gain with its 95 % interval, of values of shape (queries,)."""
    interval = paired_bootstrap(after - before)
    return f"{interval.mean:+.4f} [{interval.low:+.4f}, {interval.high:+.4f}]"


def _reconstruction(folder: Path, home: Home) -> Iterator[str]:
    states = TokenStates(default_model_folder())
    model = read_model(folder, states.words)
    with Searcher.open(home, load_encoder(DEFAULT_MODEL)) as searcher:
        corpus = read_corpus(searcher.catalogue, searcher.index)
    losses = reconstruction(model, corpus, states, replace(PRESETS["cpu"], sizes=model.sizes))
    whole = losses["as trained"]
    yield f"| reconstruction of {len(whole)} held-out papers | nats per token | worse by |\n| --- | --- | --- |"
    for name, values in losses.items():
        yield f"| {name} | {values.mean():.4f} | {gain(whole, values)} |"


def _retriever(models: Sequence[str], queries: QuerySet, vectors: Path) -> Iterator[str]:
    base, as_it_is = load_encoder(DEFAULT_MODEL), RelevanceModel(1.0, None)
    ways = {"start": (base, as_it_is)}
    for model in models:
        ways[f"{model}, examples compared by g"] = base, RelevanceModel.read(marge_model_folder(model), base.fingerprint)
        ways[f"{model}, in all vectors"] = load_encoder(model), as_it_is
    start, *others = evaluate_retrievers(queries, list(ways.values()), vectors)
    yield f"{queries.judgements.name}: {start.queries} queries over {start.documents:,} documents; gains over the start"
    yield f"\n| stage | measure | {' | gain | '.join(ways)} | gain |".replace("start | gain", "start")
    yield f"| --- | --- | --- {'| --- | --- ' * len(others)}|"
    for stage, measures in start.values.items():
        for measure, before in measures.items():
            after = [other.values[stage][measure] for other in others]
            told = [f"{before.mean():.4f}", *(f"{values.mean():.4f} | {gain(before, values)}" for values in after)]
            yield f"| {stage} | {measure} | {' | '.join(told)} |"


def _reranker(model: str, queries: QuerySet, vectors: Path) -> Iterator[str]:
    (start, *cost), (trained, *dearer) = evaluate_rerankers(queries, ["learned", model], vectors)
    yield f"| {queries.judgements.name}, {start.queries} queries | default | with the reranker | gain |"
    yield "| --- | --- | --- | --- |"
    for measure, before in start.values["reranked"].items():
        after = trained.values["reranked"][measure]
        yield f"| {measure} | {before.mean():.4f} | {after.mean():.4f} | {gain(before, after)} |"
    for name, one, other in zip(("processor", "wall"), cost, dearer, strict=True):
        yield f"| {name} time of a search, ms | {1e3 * one:.0f} | {1e3 * other:.0f} | × {other / one:.1f} |"


def main() -> int:
    parser = ArgumentParser(prog="python -m bench.marge", description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("reconstruction", "retriever", "reranker"))
    parser.add_argument("model", nargs="+", help="`marge`, or folders that `kb train marge` wrote")
    parser.add_argument("--home", type=Path, help="the knowledge base with the papers that the model was trained on")
    parser.add_argument("--folder", type=Path, help="judgements, instead of what papers cite")
    parser.add_argument("--split", choices=("train", "dev", "test"), default="test")
    parser.add_argument("--binary", action="store_true", help="count every grade above 0 alike")
    parser.add_argument("--limit", type=int, help="so many queries, drawn with a fixed seed")
    arguments = parser.parse_args()
    shared = Path(os.environ.get("KB_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared"))
    vectors = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "paper-kb" / "vectors"
    if arguments.part == "reconstruction":
        if arguments.home is None:
            parser.error("reconstruction needs --home")
        lines = _reconstruction(marge_model_folder(arguments.model[0]), Home(arguments.home))
    else:
        folder, split = arguments.folder, arguments.split
        judgements = read_judgements(folder, split, arguments.binary) if folder else citations(shared, split)
        queries = QuerySet(judgements, by_example=folder is None, limit=arguments.limit)
        retriever = arguments.part == "retriever"
        lines = _retriever(arguments.model, queries, vectors) if retriever else _reranker(arguments.model[0], queries, vectors)
    for line in lines:
        print(line, flush=True)  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
