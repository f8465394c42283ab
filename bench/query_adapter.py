"""Trains and evaluates the query adapter.

    python -m bench.query_adapter train      train on claims and citing papers of the training splits; writes the bundled adapter
    python -m bench.query_adapter held-out   train without a fifth of the claims (--fold) and evaluate on that fifth
    python -m bench.query_adapter measure    evaluate on judged collections, and on citing papers of --split

The last two print gains over the encoder alone by stage, as Markdown. Vectors are cached.
"""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from bench.marge import Split, citations, gain
from kb.encode.encoder import BertEncoder
from kb.models.query_adapter.training import TrainingConfig, TrainingQuery, TrainingSet, train
from kb.models.query_adapter.weights import BUNDLED, read_query_adapter, write_query_adapter
from kb.models.registry import DEFAULT_MODEL, default_model_folder
from kb.search.evaluate import Evaluation, build_collection, document_ids, evaluate, judged_queries
from kb.search.qrels import Judgements, Qrels, read_judgements
from kb.search.searcher import Searcher
from kb.text.sentences import split_sentences

_TRAINING_PAPERS = 2000  # citing papers of the training set
_TEST_PAPERS = 300  # citing papers of the evaluation
_FOLDS = 5
_TWIN_COSINE = 0.9  # least cosine of two claims that count as the same claim


def citing(shared: Path, split: Split, number: int) -> Judgements:
    """Citing papers as queries, by title and, as `ID_opening`, by the first sentence of the abstract; cited papers are relevant.

    Draws `number` citing papers of a split with a fixed seed. Documents are these and what they cite; each paper of the split
    among the documents is a query for what it cites of them.
    """
    whole = citations(shared, split)
    order = np.random.default_rng(0).permutation(len(whole.qrels))
    drawn = np.asarray(sorted(whole.qrels))[order[:number]].tolist()
    kept = {document for paper in drawn for document in (paper, *whole.qrels[paper])}
    documents = {document.id: document for document in whole.documents if document.id in kept}
    queries: dict[str, str] = {}
    qrels: Qrels = {}
    for paper, cited in whole.qrels.items():
        answers = {document: grade for document, grade in cited.items() if document in kept}
        if paper in kept and answers:
            for query, text in (
                (paper, documents[paper].title),
                (f"{paper}_opening", split_sentences(documents[paper].text)[:1]),
            ):
                if text:
                    queries[query], qrels[query] = "".join(text), answers
    return Judgements(f"citing papers, {split}", tuple(documents.values()), queries, qrels)


def part(judgements: Judgements, name: str, kept: Callable[[str], bool]) -> Judgements:
    """The judgements of the queries for which `kept` is true."""
    chosen = {query for query in judgements.qrels if kept(query)}
    return replace(
        judgements,
        name=f"{judgements.name}, {name}",
        queries={query: text for query, text in judgements.queries.items() if query in chosen},
        qrels={query: grades for query, grades in judgements.qrels.items() if query in chosen},
    )


def folds(judgements: Judgements) -> dict[str, int]:
    """Fold of each query, 0 to 4, drawn with a fixed seed."""
    order = np.random.default_rng(0).permutation(len(judgements.qrels)).tolist()
    return {query: number % _FOLDS for query, number in zip(judgements.qrels, order, strict=True)}


def without_twins(judgements: Judgements, others: Judgements, encoder: BertEncoder) -> Judgements:
    """The judgements of queries without a near-duplicate among the others.

    SciFact has claims in both splits that are paraphrases or negations of each other.
    """
    known = encoder.encode(list(others.queries.values()))
    nearest = (encoder.encode(list(judgements.queries.values())) @ known.T).max(axis=1)
    alone = {query for query, cosine in zip(judgements.queries, nearest.tolist(), strict=True) if cosine < _TWIN_COSINE}
    return part(judgements, "without twins", alone.__contains__)


def training_set(judgements: Judgements, encoder: BertEncoder, vectors: Path) -> TrainingSet:
    """Vectors of the documents, and the queries with their relevant documents."""
    with (
        TemporaryDirectory() as place,
        Searcher.open(build_collection(judgements, Path(place) / "kb", vectors, encoder)) as searcher,
    ):
        keys = searcher.index.keys()
        queries = [
            TrainingQuery(
                judged.query.text,
                np.searchsorted(keys, np.sort([key for key, grade in judged.grades.items() if grade > 0])),
                None if judged.source is None else int(np.searchsorted(keys, judged.source)),
            )
            for judged in judged_queries(judgements, searcher.catalogue)
        ]
        return TrainingSet(searcher.index.vectors(keys), queries)


def evaluation(judgements: Judgements, encoder: BertEncoder, vectors: Path) -> Evaluation:
    """Evaluate the search pipeline with this encoder."""
    with TemporaryDirectory() as place:
        home = build_collection(judgements, Path(place) / "kb", vectors, encoder)
        with Searcher.open(home, encoder) as searcher:
            return evaluate(
                searcher, judged_queries(judgements, searcher.catalogue), document_ids(judgements.documents, searcher.catalogue)
            )


def comparison(judgements: Judgements, encoders: tuple[BertEncoder, BertEncoder], vectors: Path) -> Iterator[str]:
    """A Markdown table of the second encoder against the first, by stage and measure."""
    before, after = (evaluation(judgements, encoder, vectors) for encoder in encoders)
    yield f"\n{judgements.name}: {before.queries} queries over {before.documents:,} documents"
    yield "\n| stage | measure | before | with the query adapter | gain |\n| --- | --- | --- | --- | --- |"
    for stage, measures in before.values.items():
        if stage != "lexical":
            for measure, values in measures.items():
                other = after.values[stage][measure]
                yield f"| {stage} | {measure} | {values.mean():.4f} | {other.mean():.4f} | {gain(values, other)} |"


def train_adapter(claims: Judgements, shared: Path, encoder: BertEncoder, vectors: Path, path: Path) -> None:
    """Train on these claims and on citing papers of the training split, and write the adapter."""
    from kb.cli.console import bars

    config = TrainingConfig()
    training_sets = [
        training_set(judgements, encoder, vectors) for judgements in (claims, citing(shared, "train", _TRAINING_PAPERS))
    ]
    with bars() as progress:
        adapter = train(default_model_folder(), training_sets, config, progress)
    write_query_adapter(path, adapter.lora_weights(config.scale), encoder.fingerprint)


def main() -> int:
    parser = ArgumentParser(
        prog="python -m bench.query_adapter", description=__doc__, formatter_class=RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=("train", "held-out", "measure"))
    parser.add_argument("--fold", type=int, choices=range(_FOLDS), default=0)
    parser.add_argument("--split", choices=("dev", "test"), default="dev")
    arguments = parser.parse_args()
    shared = Path(os.environ.get("KB_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared"))
    vectors = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "paper-kb" / "vectors"
    judged = shared / "data" / "eval"
    before, after = BertEncoder(default_model_folder(), DEFAULT_MODEL), BertEncoder(default_model_folder(), DEFAULT_MODEL)
    claims = read_judgements(judged / "scifact", "train")
    measured: list[Judgements] = []
    with TemporaryDirectory() as place:
        path = BUNDLED
        if arguments.part == "train":
            train_adapter(claims, shared, before, vectors, path)
        elif arguments.part == "held-out":
            path = Path(place) / BUNDLED.name
            fold = folds(claims)
            rest = part(claims, "the others", lambda query: fold[query] != arguments.fold)
            train_adapter(rest, shared, before, vectors, path)
            held_out = part(claims, "held out", lambda query: fold[query] == arguments.fold)
            measured = [held_out, without_twins(held_out, rest, before)]
        else:
            test = read_judgements(judged / "scifact")
            measured = [test, without_twins(test, claims, before), read_judgements(judged / "cranfield", binary=True)]
        measured += [citing(shared, arguments.split, _TEST_PAPERS)] if measured else []
        after.set_query_adapter(read_query_adapter(path, before.fingerprint) or {})
        for judgements in measured:
            for line in comparison(judgements, (before, after), vectors):
                print(line, flush=True)  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
