"""The query side of the encoder: training it, and what it finds that the encoder as it is does not.

    python -m bench.query train      on the claims and the citing papers of the training parts; writes what comes with the product
    python -m bench.query held-out   the same with a fifth of the claims left out, asked for these; --fold says which
    python -m bench.query measure    asked for the judged sets, and for citing papers of the part that --split names

The last two print gains over the encoder as it is, at every stage, as Markdown. Vectors are kept in the cache.
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
from kb.models.query_adapter.training import Collection, Example, Plan, train
from kb.models.query_adapter.weights import SHIPPED, read, write
from kb.models.registry import DEFAULT_MODEL, default_folder
from kb.search.evaluate import Evaluation, build_collection, document_ids, evaluate, judged_queries
from kb.search.qrels import Judgements, Qrels, read_judgements
from kb.search.searcher import Searcher
from kb.text.sentences import split_sentences

_CITING = 2000  # citing papers to learn from
_ASKED = 300  # of them, to measure by
_FOLDS = 5
_TWIN = 0.9  # cosine from which on two claims are of the same matter


def citing(shared: Path, split: Split, number: int) -> Judgements:
    """What papers of a part cite, asked for by their titles and, as `ID_opening`, by the first sentences of their abstracts.

    So many citing papers are drawn with a fixed seed. The documents are they and what they cite; each of the part's papers that
    is among these asks, for what it cites of them.
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
    """The judgements of some of the queries."""
    chosen = {query for query in judgements.qrels if kept(query)}
    return replace(
        judgements,
        name=f"{judgements.name}, {name}",
        queries={query: text for query, text in judgements.queries.items() if query in chosen},
        qrels={query: grades for query, grades in judgements.qrels.items() if query in chosen},
    )


def folds(judgements: Judgements) -> dict[str, int]:
    """Of each query the part that it is in, of five drawn with a fixed seed."""
    order = np.random.default_rng(0).permutation(len(judgements.qrels)).tolist()
    return {query: number % _FOLDS for query, number in zip(judgements.qrels, order, strict=True)}


def without_twins(judgements: Judgements, others: Judgements, encoder: BertEncoder) -> Judgements:
    """Those queries that no one of the others is nearly the same as.

    SciFact has a claim and its denial, or a claim in other words, in both its parts.
    """
    known = encoder.encode(list(others.queries.values()))
    nearest = (encoder.encode(list(judgements.queries.values())) @ known.T).max(axis=1)
    alone = {query for query, cosine in zip(judgements.queries, nearest.tolist(), strict=True) if cosine < _TWIN}
    return part(judgements, "without twins", alone.__contains__)


def learned_from(judgements: Judgements, encoder: BertEncoder, vectors: Path) -> Collection:
    """The documents' vectors, and the queries with their answers."""
    with (
        TemporaryDirectory() as place,
        Searcher.open(build_collection(judgements, Path(place) / "kb", vectors, encoder)) as searcher,
    ):
        keys = searcher.index.keys()
        examples = [
            Example(
                question.query.text,
                np.searchsorted(keys, np.sort([key for key, grade in question.grades.items() if grade > 0])),
                None if question.source is None else int(np.searchsorted(keys, question.source)),
            )
            for question in judged_queries(judgements, searcher.catalogue)
        ]
        return Collection(searcher.index.vectors(keys), examples)


def found(judgements: Judgements, encoder: BertEncoder, vectors: Path) -> Evaluation:
    """The product's own pipeline with this encoder."""
    with TemporaryDirectory() as place:
        home = build_collection(judgements, Path(place) / "kb", vectors, encoder)
        with Searcher.open(home, encoder) as searcher:
            return evaluate(
                searcher, judged_queries(judgements, searcher.catalogue), document_ids(judgements.documents, searcher.catalogue)
            )


def compared(judgements: Judgements, encoders: tuple[BertEncoder, BertEncoder], vectors: Path) -> Iterator[str]:
    """Every stage and measure with the first encoder and with the second."""
    before, after = (found(judgements, encoder, vectors) for encoder in encoders)
    yield f"\n{judgements.name}: {before.queries} queries over {before.documents:,} documents"
    yield "\n| stage | measure | before | with the query side | gain |\n| --- | --- | --- | --- | --- |"
    for stage, measures in before.values.items():
        if stage != "lexical":
            for measure, values in measures.items():
                other = after.values[stage][measure]
                yield f"| {stage} | {measure} | {values.mean():.4f} | {other.mean():.4f} | {gain(values, other)} |"


def trained(claims: Judgements, shared: Path, encoder: BertEncoder, vectors: Path, path: Path) -> None:
    """Trains on these claims and on citing papers of the training part, and writes the changes."""
    from kb.cli.console import bars

    plan = Plan()
    collections = [learned_from(judgements, encoder, vectors) for judgements in (claims, citing(shared, "train", _CITING))]
    with bars() as progress:
        side = train(default_folder(), collections, plan, progress)
    write(path, side.changes(plan.share), encoder.fingerprint)


def main() -> int:
    parser = ArgumentParser(prog="python -m bench.query", description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("train", "held-out", "measure"))
    parser.add_argument("--fold", type=int, choices=range(_FOLDS), default=0)
    parser.add_argument("--split", choices=("dev", "test"), default="dev")
    asked = parser.parse_args()
    shared = Path(os.environ.get("KB_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared"))
    vectors = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "paper-kb" / "vectors"
    judged = shared / "data" / "eval"
    before, after = BertEncoder(default_folder(), DEFAULT_MODEL), BertEncoder(default_folder(), DEFAULT_MODEL)
    claims = read_judgements(judged / "scifact", "train")
    measured: list[Judgements] = []
    with TemporaryDirectory() as place:
        path = SHIPPED
        if asked.part == "train":
            trained(claims, shared, before, vectors, path)
        elif asked.part == "held-out":
            path = Path(place) / SHIPPED.name
            fold = folds(claims)
            rest = part(claims, "the others", lambda query: fold[query] != asked.fold)
            trained(rest, shared, before, vectors, path)
            held_out = part(claims, "held out", lambda query: fold[query] == asked.fold)
            measured = [held_out, without_twins(held_out, rest, before)]
        else:
            test = read_judgements(judged / "scifact")
            measured = [test, without_twins(test, claims, before), read_judgements(judged / "cranfield", binary=True)]
        measured += [citing(shared, asked.split, _ASKED)] if measured else []
        after.set_query_adapter(read(path, before.fingerprint) or {})
        for judgements in measured:
            for line in compared(judgements, (before, after), vectors):
                print(line, flush=True)  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
