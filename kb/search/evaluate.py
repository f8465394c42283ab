"""Measures of every stage of the product's own pipeline, over judged queries."""

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
from kb.store import Catalogue, Home, Intake
from kb.text.facets import FACETS, Facet

STAGES = ("lexical", "dense", "fused", "reranked")
MEASURES = (nDCG @ 10, R @ 100, AP)
_RESAMPLES = 10_000
#: Documents and scores by query, best first.
Run = dict[str, list[tuple[str, float]]]


@dataclass(frozen=True, slots=True)
class Question:
    """One judged query."""

    id: str
    query: Query
    grades: dict[int, int]
    """Relevance by paper key."""
    own: int | None = None
    """Key of the paper that the query is made from: no answer to it."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A difference of means with its 95 % interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What an evaluation found."""

    documents: int
    runs: dict[str, Run]
    """Run by stage."""
    values: dict[str, dict[str, NDArray[np.float64]]]
    """Values by stage and measure, one a query, shape (queries,)."""

    @property
    def queries(self) -> int:
        return len(next(iter(self.runs.values())))

    def means(self, stage: str) -> dict[str, float]:
        """Mean of every measure at this stage."""
        return {measure: float(values.mean()) for measure, values in self.values[stage].items()}

    def gain(self, stage: str, before: str, measure: str) -> Interval:
        """What a stage adds to another one."""
        return paired_bootstrap(self.values[stage][measure] - self.values[before][measure])

    def as_json(self) -> dict[str, object]:
        """The evaluation in the form that `kb eval --json` prints."""
        return {
            "queries": self.queries,
            "documents": self.documents,
            "stages": {stage: self.means(stage) for stage in self.values},
        }


def collection(judgements: Judgements, folder: Path, vectors: Path, encoder: Encoder, progress: Progress | None = None) -> Home:
    """A knowledge base of these documents in an empty folder, indexed as any other; texts are embedded once into `vectors`."""
    home = Home(folder)
    home.vectors = vectors
    with home.draft() as draft:
        intake = Intake(draft.catalogue)
        intake.begin()
        intake.stage(
            [Paper(_document_id(number), d.title, d.text) for number, d in enumerate(judgements.documents)], marks_withdrawn=True
        )
        intake.merge()
        draft.publish()
    embed_missing(home, encoder, progress)
    with home.draft() as draft:
        build_indexes(draft, encoder)
        draft.publish()
    return home


def _document_id(number: int) -> str:
    # Ids of a collection are any text; those of papers are not.
    return f"url:https://collection.invalid/{number}"


def questions(judgements: Judgements, catalogue: Catalogue) -> list[Question]:
    """The judged queries, over a knowledge base that `collection` made."""
    by_id = {identifier: key for key, identifier in catalogue.identifiers().items()}
    keys = {d.id: by_id.get(_document_id(number)) for number, d in enumerate(judgements.documents)}
    return _questions(judgements, keys)


def questions_in_library(judgements: Judgements, catalogue: Catalogue) -> list[Question]:
    """The judged queries, over a knowledge base that holds some of the documents; answers that it lacks are left out.

    Raises SourceError where it holds none.
    """
    found = _questions(judgements, {d.id: catalogue.key_of(f"arxiv:{d.id}") for d in judgements.documents})
    if not found:
        raise SourceError(f"The knowledge base holds no paper that {judgements.name} judges relevant. Ingest them first.")
    return found


def _questions(judgements: Judgements, keys: Mapping[str, int | None]) -> list[Question]:
    own = judgements.own()
    found = [
        Question(
            query,
            Query(text=judgements.queries[query], facet=_facet(query) if own[query] != query else None),
            {key: grade for document, grade in grades.items() if (key := keys[document]) is not None},
            keys.get(own[query]),
        )
        for query, grades in judgements.qrels.items()
    ]
    return [question for question in found if any(grade > 0 for grade in question.grades.values())]


def _facet(query: str) -> Facet | None:
    """The facet that the id of a query made from a document asks for: `docid_method`; None for one that is no facet of ours."""
    return next((facet for facet in FACETS if query.endswith(f"_{facet}")), None)


def questions_of_lists(lists: Mapping[str, Sequence[str]], catalogue: Catalogue) -> list[Question]:
    """Each paper of a reading list, to be found by the other papers of the list.

    Raises QueryError where no list has two papers that the knowledge base holds.
    """
    found: list[Question] = []
    for name, identifiers in lists.items():
        keys = list(dict.fromkeys(key for i in identifiers if (key := catalogue.key_of(i)) is not None))
        if len(keys) > 1:
            found += [Question(f"{name}/{key}", Query(like=tuple(k for k in keys if k != key)), {key: 1}) for key in keys]
    if not found:
        raise QueryError("No reading list has two papers of the knowledge base. Add to one: `kb list add NAME ID…`.")
    return found


def evaluate(
    searcher: Searcher,
    asked: Sequence[Question],
    names: Callable[[int], str] = str,
    progress: Progress | None = None,
    hops: int = 1,
) -> Evaluation:
    """Runs every question through the pipeline and measures each of its stages. `names` gives documents their ids in the runs.

    The candidates are those of a search for 100 papers, so a document that is none of them counts as not found.
    """
    progress = progress or NoProgress()
    progress.start("Searching", len(asked), "queries")
    runs: dict[str, Run] = {stage: {} for stage in STAGES}
    qrels: Qrels = {}
    for question in asked:
        qrels[question.id] = {names(key): grade for key, grade in question.grades.items()}
        for stage, ranking in _rankings(searcher, replace(question.query, hops=hops)).items():
            runs[stage][question.id] = [(names(key), score) for key, score in ranking if key != question.own]
        progress.advance(1)
    values = {stage: _values(qrels, run) for stage, run in runs.items()}
    return Evaluation(searcher.generation.manifest.embedded, runs, values)


def _rankings(searcher: Searcher, query: Query) -> dict[str, list[tuple[int, float]]]:
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
    """Values by measure in the order of the queries; 0 for one that found nothing."""
    # By rank, not by score: measuring tools break ties of scores by document id.
    ranked = {query: {name: -float(rank) for rank, (name, _) in enumerate(rows)} for query, rows in run.items() if rows}
    order = {query: number for number, query in enumerate(qrels)}
    values = {str(measure): np.zeros(len(qrels)) for measure in MEASURES}
    for value in ir_measures.iter_calc(list(MEASURES), qrels, ranked):
        values[str(value.measure)][order[value.query_id]] = value.value
    return values


def paired_bootstrap(differences: NDArray[np.float64]) -> Interval:
    """Mean of paired differences, shape (queries,), and its 95 % percentile interval over resampled queries.

    Sakai, Evaluating evaluation metrics based on the bootstrap, SIGIR 2006. The same differences give the same interval.
    """
    random = np.random.default_rng(0)
    means = [random.choice(differences, len(differences)).mean() for _ in range(_RESAMPLES)]
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(float(differences.mean()), float(low), float(high))


def write_run(path: Path, run: Run, tag: str) -> None:
    """Writes a run in TREC's form: query, Q0, document, rank, score, tag. Blanks in ids become `_`, since columns end at them."""
    with path.open("w", encoding="utf-8") as file:
        for query, rows in run.items():
            for rank, (document, score) in enumerate(rows, start=1):
                file.write(f"{_column(query)} Q0 {_column(document)} {rank} {score:.6f} {tag}\n")


def _column(name: str) -> str:
    return "_".join(name.split())


def names_of(documents: Sequence[Document], catalogue: Catalogue) -> Callable[[int], str]:
    """Paper keys to document ids, for a knowledge base that `collection` made."""
    names = {_document_id(number): document.id for number, document in enumerate(documents)}
    return {key: names[identifier] for key, identifier in catalogue.identifiers().items()}.__getitem__
