"""Evaluates every stage of the search pipeline on judged queries."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import ir_measures
import numpy as np
from ir_measures import AP, R, nDCG
from numpy.typing import NDArray

from kb.encode.encoder import Encoder
from kb.errors import QueryError, SourceError
from kb.index.build import build_indexes, embed_missing
from kb.papers import Paper
from kb.progress import NoProgress, Progress
from kb.search.qrels import Document, Judgements, Qrels
from kb.search.retriever import Query
from kb.search.searcher import Searcher, final_scores
from kb.store import Catalogue, Home, StagedPapers
from kb.text.facets import FACETS, Facet

STAGES = ("lexical", "dense", "fused", "reranked")
MEASURES = (nDCG @ 10, R @ 100, AP)
_RESAMPLES = 10_000
#: Document ids and scores by query, in descending order of the score.
Run = dict[str, list[tuple[str, float]]]


@dataclass(frozen=True, slots=True)
class JudgedQuery:
    """One query with its relevance judgements."""

    id: str
    query: Query
    grades: dict[int, int]
    """Relevance by paper key."""
    source: int | None = None
    """Key of the paper that the query is made from, which is left out of its run."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean difference with its 95 % confidence interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Runs and measures of an evaluation."""

    documents: int
    runs: dict[str, Run]
    """Runs by stage."""
    values: dict[str, dict[str, NDArray[np.float64]]]
    """Values by stage and measure, each of shape (queries,)."""
    unanswerable: int = 0
    """Judged queries left out because the knowledge base holds none of their relevant documents."""

    @property
    def queries(self) -> int:
        """Number of judged queries."""
        return len(next(iter(self.runs.values())))

    def means(self, stage: str) -> dict[str, float]:
        """Means over the queries by measure, at this stage."""
        return {measure: float(values.mean()) for measure, values in self.values[stage].items()}

    def gain(self, stage: str, before: str, measure: str) -> Interval:
        """Mean difference of a measure from one stage to another, with its interval."""
        return paired_bootstrap(self.values[stage][measure] - self.values[before][measure])

    def as_json(self) -> dict[str, object]:
        """The evaluation in the form that `kb eval --json` prints."""
        return {
            "queries": self.queries,
            "documents": self.documents,
            "stages": {stage: self.means(stage) for stage in self.values},
        }


def build_collection(
    judgements: Judgements, folder: Path, vectors: Path, encoder: Encoder, progress: Progress | None = None
) -> Home:
    """Build and index a knowledge base of the judged documents in an empty folder; `vectors` caches their embeddings.

    Raises StoreError if the disk is full.
    """
    home = Home(folder)
    home.vectors = vectors
    with home.draft() as draft:
        staged = StagedPapers(draft.catalogue)
        staged.begin()
        staged.stage(
            [Paper(_document_id(number), d.title, d.text) for number, d in enumerate(judgements.documents)], marks_withdrawn=True
        )
        staged.merge()
        draft.publish()
    embed_missing(home, encoder, progress)
    with home.draft() as draft:
        build_indexes(draft, encoder)
        draft.publish()
    return home


def _document_id(number: int) -> str:
    # A document id is any text; a paper id is not.
    return f"url:https://collection.invalid/{number}"


def judged_queries(judgements: Judgements, catalogue: Catalogue) -> list[JudgedQuery]:
    """The judged queries for a knowledge base that `build_collection` built."""
    by_id = {identifier: key for key, identifier in catalogue.identifiers().items()}
    keys = {d.id: by_id.get(_document_id(number)) for number, d in enumerate(judgements.documents)}
    return _with_keys(judgements, keys)


def judged_queries_in_library(judgements: Judgements, catalogue: Catalogue) -> list[JudgedQuery]:
    """The judged queries for a knowledge base that holds some of the documents; judgements of the others are left out.

    Raises SourceError if it holds no relevant document.
    """
    found = _with_keys(judgements, {d.id: catalogue.key_of(f"arxiv:{d.id}") for d in judgements.documents})
    if not found:
        raise SourceError(f"The knowledge base holds no paper that {judgements.name} judges relevant. Ingest them first.")
    return found


def _with_keys(judgements: Judgements, keys: Mapping[str, int | None]) -> list[JudgedQuery]:
    sources = judgements.source_documents()
    found = [
        JudgedQuery(
            query,
            Query(text=judgements.queries[query], facet=_facet(query) if sources[query] != query else None),
            {key: grade for document, grade in grades.items() if (key := keys[document]) is not None},
            keys.get(sources[query]),
        )
        for query, grades in judgements.qrels.items()
    ]
    return [judged for judged in found if any(grade > 0 for grade in judged.grades.values())]


def _facet(query: str) -> Facet | None:
    """The facet in the id of a query made from a document, as in `docid_method`; None without one."""
    return next((facet for facet in FACETS if query.endswith(f"_{facet}")), None)


def judged_queries_from_lists(lists: Mapping[str, Sequence[str]], catalogue: Catalogue) -> list[JudgedQuery]:
    """One query a paper of a reading list: find it by the other papers of the list.

    Raises QueryError if no list has two papers of the knowledge base.
    """
    found: list[JudgedQuery] = []
    for name, identifiers in lists.items():
        keys = list(dict.fromkeys(key for i in identifiers if (key := catalogue.key_of(i)) is not None))
        if len(keys) > 1:
            found += [JudgedQuery(f"{name}/{key}", Query(like=tuple(k for k in keys if k != key)), {key: 1}) for key in keys]
    if not found:
        raise QueryError("No reading list has two papers of the knowledge base. Add to one: `kb list add NAME ID…`.")
    return found


def evaluate(
    searcher: Searcher,
    queries: Sequence[JudgedQuery],
    document_id: Callable[[int], str] = str,
    progress: Progress | None = None,
    hops: int = 1,
    judged_only: bool = False,
) -> Evaluation:
    """Run every query through the pipeline and measure each stage. `document_id` maps keys to the ids in the runs.

    `judged_only` leaves documents without a judgement out of the runs, for collections whose judgements are far from complete
    (condensed lists: Sakai, Alternatives to Bpref, SIGIR 2007).

    Candidates are those of a search for 100 papers; a document that is not among them counts as not found. Raises QueryError if
    no paper is embedded yet.
    """
    progress = progress or NoProgress()
    progress.start("Searching", len(queries), "queries")
    runs: dict[str, Run] = {stage: {} for stage in STAGES}
    qrels: Qrels = {}
    for judged in queries:
        qrels[judged.id] = {document_id(key): grade for key, grade in judged.grades.items()}
        for stage, ranking in _rankings(searcher, replace(judged.query, hops=hops)).items():
            kept = [row for row in ranking if row[0] != judged.source and (not judged_only or row[0] in judged.grades)]
            runs[stage][judged.id] = [(document_id(key), score) for key, score in kept]
        progress.advance(1)
    values = {stage: _values(qrels, run) for stage, run in runs.items()}
    return Evaluation(searcher.generation.manifest.embedded, runs, values)


def _rankings(searcher: Searcher, query: Query) -> dict[str, list[tuple[int, float]]]:
    """Keys and scores by stage, in descending order of the score."""
    found, reranked = searcher.candidates(query, 100)
    keys = found.keys.tolist()

    def ranking(scores: Iterable[float]) -> list[tuple[int, float]]:
        return sorted(zip(keys, map(float, scores), strict=True), key=lambda row: (-row[1], row[0]))

    return {
        "lexical": [row for row in ranking(found.lexical) if row[1] > 0],
        "dense": ranking(found.dense),
        "fused": ranking(found.fused),
        "reranked": ranking(final_scores(found, reranked)),
    }


def _values(qrels: Qrels, run: Run) -> dict[str, NDArray[np.float64]]:
    """Values by measure, each of shape (queries,), in the order of the qrels; 0 for a query without results."""
    # Ranks in place of scores: measuring tools break ties of scores by document id.
    ranked = {query: {name: -float(rank) for rank, (name, _) in enumerate(rows)} for query, rows in run.items() if rows}
    order = {query: number for number, query in enumerate(qrels)}
    values = {str(measure): np.zeros(len(qrels)) for measure in MEASURES}
    for value in ir_measures.iter_calc(list(MEASURES), qrels, ranked):
        values[str(value.measure)][order[value.query_id]] = value.value
    return values


def paired_bootstrap(differences: NDArray[np.float64]) -> Interval:
    """Mean of paired differences, shape (queries,), with its 95 % percentile interval over 10,000 resamples with a fixed seed.

    Sakai 2006, Evaluating evaluation metrics based on the bootstrap, SIGIR.
    """
    random = np.random.default_rng(0)
    means = [random.choice(differences, len(differences)).mean() for _ in range(_RESAMPLES)]
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(float(differences.mean()), float(low), float(high))


def write_run(path: Path, run: Run, tag: str) -> None:
    """Write a run in TREC format: query, Q0, document, rank, score, tag. Blanks in ids become `_`.

    Raises OSError if the file cannot be written.
    """
    with path.open("w", encoding="utf-8") as file:
        for query, rows in run.items():
            for rank, (document, score) in enumerate(rows, start=1):
                file.write(f"{_column(query)} Q0 {_column(document)} {rank} {score:.6f} {tag}\n")


def _column(name: str) -> str:
    return "_".join(name.split())


def document_ids(documents: Sequence[Document], catalogue: Catalogue) -> Callable[[int], str]:
    """Function from paper keys to document ids, for a knowledge base that `build_collection` built."""
    names = {_document_id(number): document.id for number, document in enumerate(documents)}
    return {key: names[identifier] for key, identifier in catalogue.identifiers().items()}.__getitem__
