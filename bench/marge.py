"""The MARGE-style model, part by part: does it use its evidence, and does it find what held-out papers cite.

`python -m bench.marge MODEL HOME` takes a folder that `kb train marge` wrote, and the knowledge base with the papers that it was
trained on; it prints Markdown. Vectors of the 34,943 papers that are cited are kept in the cache: the first run embeds them.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kb.embed import Encoder
from kb.evaluate import Evaluation, Interval, collection, evaluate, names_of, paired_bootstrap, questions
from kb.indexing import build_indexes, embed_missing
from kb.judgements import Document, Judgements, Qrels
from kb.marge.corpus import Corpus, read_corpus
from kb.marge.encoder import Relevance
from kb.marge.model import Batch, Marge
from kb.marge.pairs import Group, Pairs, grow
from kb.marge.states import TokenStates
from kb.marge.training import PRESETS, Plan, batch_of
from kb.marge.weights import read_model
from kb.models import DEFAULT_MODEL, default_folder, load_encoder
from kb.retrieve import Query
from kb.search import Searcher
from kb.store import Home

Split = Literal["train", "dev", "test"]
_TARGETS = 480  # held-out papers that are reconstructed
_RERANKED = 150  # citing papers by which the reranker is measured


def split_of(paper: str) -> Split:
    """To which part a citing paper belongs: a tenth each is kept for development and for the test."""
    lot = hashlib.sha256(paper.encode()).digest()[0] % 10
    return "test" if lot == 0 else "dev" if lot == 1 else "train"


def citations(shared: Path, split: Split) -> Judgements:
    """The citing papers of a part as queries, what they cite as answers, over all papers of the collection."""
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


def retriever_test(
    shared: Path,
    ways: Sequence[tuple[Encoder, Relevance]],
    vectors: Path,
    split: Split = "test",
    limit: int | None = None,
) -> list[Evaluation]:
    """What each encoder, and comparing papers with examples so, finds of what a citing paper cites, itself being the example.

    A derived encoder follows its base, so that nothing is embedded twice. `limit` takes the first so many citing papers only.
    """
    judgements = citations(shared, split)
    found: list[Evaluation] = []
    with TemporaryDirectory() as place:
        home = collection(judgements, Path(place) / "kb", vectors, ways[0][0])
        for encoder, relevance in ways:
            embed_missing(home, encoder)
            with home.draft() as draft:
                build_indexes(draft, encoder)
                draft.publish()
            with Searcher.open(home, encoder, relevance) as searcher:
                found.append(_by_example(searcher, judgements, limit))
    return found


def reranker_test(
    shared: Path, rerankers: Sequence[str], vectors: Path, split: Split = "test", limit: int | None = None
) -> list[tuple[Evaluation, float]]:
    """The same with the default encoder and each of these rerankers, by the names that KB_RERANKER takes, and the seconds of
    processor time that a search took."""
    judgements = citations(shared, split)
    encoder = load_encoder(DEFAULT_MODEL)
    found: list[tuple[Evaluation, float]] = []
    with TemporaryDirectory() as place:
        home = collection(judgements, Path(place) / "kb", vectors, encoder)
        for reranker in rerankers:
            os.environ["KB_RERANKER"] = reranker
            with Searcher.open(home, encoder) as searcher:
                _by_example(searcher, judgements, 1)  # what is read once is no cost of a search
                began = time.process_time()
                evaluation = _by_example(searcher, judgements, limit)
                found.append((evaluation, (time.process_time() - began) / evaluation.queries))
    return found


def _by_example(searcher: Searcher, judgements: Judgements, limit: int | None) -> Evaluation:
    asked = [
        replace(question, query=Query(like=(question.own,)))
        for question in questions(judgements, searcher.catalogue)
        if question.own is not None
    ]
    return evaluate(searcher, asked[:limit], names_of(judgements.documents, searcher.catalogue))


def held_out_groups(corpus: Corpus, plan: Plan) -> list[Group]:
    """Batches of held-out papers with their nearest training papers as evidence."""
    known = np.concatenate(corpus.shards)
    targets = corpus.held_out[:_TARGETS]
    near = [np.argpartition(-(corpus.vectors[known] @ corpus.vectors[row]), plan.kept)[: plan.kept] for row in targets.tolist()]
    pairs = Pairs(np.repeat(targets, plan.kept), known[np.concatenate(near)])
    return list(grow(pairs, plan.targets, plan.evidence, plan.cluster, np.random.default_rng(0)))


@torch.inference_mode()
def reconstruction(model: Marge, corpus: Corpus, states: TokenStates, plan: Plan) -> dict[str, NDArray[np.float64]]:
    """Nats per token of held-out papers, shape (papers,), with the model as it is and with each of its parts taken away."""
    groups = held_out_groups(corpus, plan)

    def start(batch: Batch) -> Tensor:
        return batch.target_vectors @ batch.evidence_vectors.T

    found: dict[str, list[float]] = {}
    beta = model.beta.detach().clone()
    for number, group in enumerate(groups):
        batch = batch_of(group, corpus, states, plan.shape)
        other = batch_of(Group(group.targets, groups[(number + 1) % len(groups)].evidence), corpus, states, plan.shape)
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


def _said(interval: Interval) -> str:
    return f"{interval.mean:+.4f} [{interval.low:+.4f}, {interval.high:+.4f}]"


def main() -> int:
    folder, home = Path(sys.argv[1]), Home(Path(sys.argv[2]))
    shared = Path(os.environ.get("KB_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared"))
    vectors = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "paper-kb" / "vectors"
    states = TokenStates(default_folder())
    model = read_model(folder, states.words)
    with Searcher.open(home) as searcher:
        corpus = read_corpus(searcher.catalogue, searcher.index)
    losses = reconstruction(model, corpus, states, replace(PRESETS["cpu"], shape=model.shape))
    whole = losses["as trained"]
    print(f"| reconstruction of {len(whole)} held-out papers | nats per token | worse by |\n| --- | --- | --- |")  # noqa: T201
    for name, values in losses.items():
        print(f"| {name} | {values.mean():.4f} | {_said(paired_bootstrap(values - whole))} |")  # noqa: T201
    base, as_it_is = load_encoder(DEFAULT_MODEL), Relevance(1.0, None)
    ways = [(base, as_it_is), (base, Relevance.read(folder, base.fingerprint)), (load_encoder(str(folder)), as_it_is)]
    start, by_example, everywhere = retriever_test(shared, ways, vectors)
    print(f"\n| what {start.queries} held-out papers cite | start | examples compared by g | gain | g in all vectors | gain |")  # noqa: T201
    print("| --- | --- | --- | --- | --- | --- |")  # noqa: T201
    for stage, measures in start.values.items():
        for measure in ("R@100", "nDCG@10"):
            told = [f"{measures[measure].mean():.4f}"]
            for other in (by_example, everywhere):
                after = other.values[stage][measure]
                told += [f"{after.mean():.4f}", str(_said(paired_bootstrap(after - measures[measure])))]
            print(f"| {stage}, {measure} | {' | '.join(told)} |")  # noqa: T201
    (start, cost), (trained, dearer) = reranker_test(shared, ["feedback", str(folder)], vectors, limit=_RERANKED)
    print(f"\n| reranked, {start.queries} of those papers | default | trained | gain |\n| --- | --- | --- | --- |")  # noqa: T201
    for measure, before in start.values["reranked"].items():
        after = trained.values["reranked"][measure]
        print(f"| {measure} | {before.mean():.4f} | {after.mean():.4f} | {_said(paired_bootstrap(after - before))} |")  # noqa: T201
    print(f"| processor time of a search, ms | {1e3 * cost:.0f} | {1e3 * dearer:.0f} | × {dearer / cost:.1f} |")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
