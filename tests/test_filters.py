"""Filters inside the search: k results whenever k exist, of every kind of filter and at every share of papers that pass."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pytest

from kb.encode.encoder import Vectors
from kb.index.build import build_indexes, embed_missing
from kb.papers import Author, CodeLink, Note, Paper
from kb.search.retriever import CANDIDATE_DEPTH, Query
from kb.search.searcher import Searcher
from kb.store import Filters, Home, StagedPapers

PAPERS = 10_000
#: Every how many-th paper: 50 %, 10 %, 1 %, 0.1 % and 0.01 % of them.
STEPS = (2, 10, 100, 1000, 10_000)
FIRST_DAY = date(1995, 1, 1)


class RandomEncoder:
    """Vectors in a random direction for every text: what is tested is which papers are scored, not how well."""

    model_id, fingerprint, dimension = "random", "0" * 64, 16

    def encode(self, texts: Sequence[str], progress: Callable[[int], None] | None = None) -> Vectors:  # noqa: ARG002
        seeds = [int.from_bytes(hashlib.md5(text.encode(), usedforsecurity=False).digest()[:8]) for text in texts]
        vectors = np.stack([np.random.default_rng(seed).normal(size=self.dimension) for seed in seeds]).astype(np.float32)
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def paper(number: int) -> Paper:
    """One whose attributes tell which of the filters it passes."""
    random = np.random.default_rng(number)
    words = " ".join(f"term{n}" for n in random.zipf(1.3, 12) % 300)
    steps = [step for step in STEPS if number % step == 0]
    return Paper(
        f"arxiv:{1501 + number // 9000:04d}.{number % 9000 + 1:05d}",
        f"Paper {number} of term{number % 7}",
        words,
        tuple(Author(f"Every{step}th", "A.") for step in steps),
        ("cs.XX", *(f"cs.E{step}" for step in steps)),
        published=FIRST_DAY + timedelta(days=number),
        year=2000 + sum(number < PAPERS // step for step in STEPS),
    )


@pytest.fixture(scope="module")
def searcher(tmp_path_factory: pytest.TempPathFactory) -> Searcher:
    home = Home(tmp_path_factory.mktemp("filters") / "kb")
    papers = [paper(number) for number in range(PAPERS)]
    with home.draft() as draft:
        staged = StagedPapers(draft.catalogue)
        staged.begin()
        staged.stage(papers)
        staged.merge()
        links = [(papers[n].id, CodeLink(f"https://github.com/example/{n}", "abstract")) for n in range(0, PAPERS, 100)]
        draft.catalogue.add_code_links(links)
        draft.catalogue.notes.replace("n.md", [Note("n.md", n, papers[n].id, papers[n].title, "Good.") for n in range(10)], [])
        draft.catalogue.notes.settle()
        draft.publish()
    embed_missing(home, RandomEncoder())
    with home.draft() as draft:
        build_indexes(draft, RandomEncoder())
        draft.publish()
    return Searcher.open(home, RandomEncoder())


@dataclass(frozen=True)
class Case:
    filters: Filters
    passes: Callable[[int], bool]
    """By the number of the paper."""


def every(step: int) -> Callable[[int], bool]:
    return lambda number: number % step == 0


def below(count: int) -> Callable[[int], bool]:
    return lambda number: number < count


def ids(step: int) -> tuple[str, ...]:
    return tuple(paper(number).id for number in range(0, PAPERS, step))


CASES = {
    **{f"category, 1 in {s}": Case(Filters(categories=(f"cs.E{s}",)), every(s)) for s in STEPS},
    **{f"author, 1 in {s}": Case(Filters(author=f"every{s}th"), every(s)) for s in STEPS},
    **{f"year, 1 in {s}": Case(Filters(years=(2001 + i, None)), below(PAPERS // s)) for i, s in enumerate(STEPS)},
    **{f"list, 1 in {s}": Case(Filters(ids=ids(s)), every(s)) for s in STEPS},
    **{
        f"since, 1 in {s}": Case(
            Filters(since=FIRST_DAY + timedelta(days=PAPERS - PAPERS // s)), lambda n, s=s: n >= PAPERS - PAPERS // s
        )
        for s in STEPS
    },
    "code": Case(Filters(has_code=True), every(100)),
    "source notes": Case(Filters(source="notes"), below(10)),
    "source arxiv": Case(Filters(source="arxiv"), below(PAPERS)),
    "code and category": Case(Filters(has_code=True, categories=("cs.E1000",)), every(1000)),
    "notes, year and author": Case(
        Filters(source="notes", years=(2001, None), author="every2th"), lambda n: n < 10 and n % 2 == 0
    ),
    "nothing passes": Case(Filters(categories=("cs.E2",), author="nobody"), lambda _: False),
}


@pytest.mark.parametrize("name", CASES)
def test_a_filter_finds_what_brute_force_finds(searcher: Searcher, name: str) -> None:
    case = CASES[name]
    allowed = {paper(n).id for n in range(PAPERS) if case.passes(n)}
    for k in (10, 300):
        hits = searcher.search("term1 and term250 beside term7", k, case.filters)
        assert len(hits) == min(k, len(allowed))
        assert len({hit.paper.id for hit in hits}) == len(hits)
        assert {hit.paper.id for hit in hits} <= allowed


@pytest.mark.parametrize("name", CASES)
def test_the_candidates_are_the_best_of_those_that_pass(searcher: Searcher, name: str) -> None:
    """Each index gives its best of all papers that pass: those that a scan of everything, filtered afterwards, has on top."""
    text = "term1 and term250 beside term7"
    identifiers = searcher.catalogue.identifiers()
    allowed = {paper(n).id for n in range(PAPERS) if CASES[name].passes(n)}
    everything = searcher._require_retriever().candidates(Query(text), PAPERS, None)
    passes = np.asarray([identifiers[key] in allowed for key in everything.keys.tolist()])
    found, _ = searcher.candidates(Query(text, filters=CASES[name].filters), 10)
    rows = {key: row for row, key in enumerate(everything.keys.tolist())}
    same = [rows[key] for key in found.keys.tolist()]
    np.testing.assert_allclose(found.dense, everything.dense[same], atol=1e-6)
    np.testing.assert_allclose(found.lexical, everything.lexical[same], atol=1e-5)
    for scores, ours in ((everything.dense, found.dense), (everything.lexical, found.lexical)):
        best = np.sort(scores[passes])[::-1][:CANDIDATE_DEPTH]
        best = best[best > 0] if scores is everything.lexical else best
        np.testing.assert_allclose(np.sort(ours)[::-1][: len(best)], best, atol=1e-5)
