"""Which sentences of an abstract tell of its background, method and result, and papers alike in one of these."""

from __future__ import annotations

import io
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard

from kb.encode.encoder import Encoder
from kb.index.build import build_indexes, embed_missing
from kb.papers import Paper
from kb.search.searcher import Searcher
from kb.store import Home, StagedPapers
from kb.text.facets import FACETS, facet_passage, sentence_facets
from kb.text.sentences import split_sentences

ABSTRACT = (
    "Deep networks have become large, and running them on a phone remains a challenge. Existing compression methods lack "
    "speed. We propose to remove attention heads by a learned mask. Specifically, the mask is trained with a penalty on "
    "latency. Experiments show that our networks are twice as fast at 0.3% lower accuracy. Code is available at our page."
)


def test_roles_of_an_abstract() -> None:
    assert sentence_facets(split_sentences(ABSTRACT)) == ["background", "background", "method", "method", "result", "result"]
    assert sentence_facets([]) == []


def test_cuts_lie_at_their_usual_places_where_no_cue_speaks() -> None:
    plain = [f"Word {letter}." for letter in "abcdefghij"]
    assert sentence_facets(plain) == ["background"] * 3 + ["method"] * 3 + ["result"] * 4


def test_the_passage_of_a_facet() -> None:
    parts = split_sentences(ABSTRACT)
    assert [facet_passage(ABSTRACT, facet) for facet in FACETS] == [" ".join(parts[i : i + 2]) for i in (0, 2, 4)]
    # A phrase is all that is asked, on whatever facet.
    assert facet_passage("pruning by learned masks", "result") == "pruning by learned masks"
    assert facet_passage("", "method") == ""


PROBLEMS = {
    "proteins": "Proteins fold into shapes that decide what they do. Predicting their shape remains a challenge.",
    "traffic": "Road traffic is often congested. Forecasting the traffic of a city remains a challenge.",
    "stars": "Stars are born in clouds of dust. Dating them remains a challenge.",
}
METHODS = {
    "graph": "We propose a graph neural network. Specifically, messages are passed along the edges of a graph.",
    "tree": "We propose boosted decision trees. Specifically, shallow trees are added one after the other by gradient boosting.",
    "survey": "We propose a questionnaire. Specifically, people are asked twice, a year apart.",
}
# The last is like none of the others: with two candidates alone, z-scores that disagree would cancel out.
SHARED = [("proteins", "graph"), ("proteins", "tree"), ("traffic", "graph"), ("stars", "survey")]


@pytest.fixture
def searcher(home: Home, encoder: Encoder) -> Searcher:
    papers = [
        Paper(f"arxiv:2001.0000{n}", f"Study {n}", f"{PROBLEMS[problem]} {METHODS[method]} Results show that errors are lower.")
        for n, (problem, method) in enumerate(SHARED, start=1)
    ]
    with home.draft() as draft:
        staged = StagedPapers(draft.catalogue)
        staged.begin()
        staged.stage(papers)
        staged.merge()
        draft.publish()
    embed_missing(home, encoder)
    with home.draft() as draft:
        build_indexes(draft, encoder)
        draft.publish()
    return Searcher.open(home, encoder)


def test_papers_alike_in_one_facet(searcher: Searcher) -> None:
    with searcher:
        by_problem = searcher.like(["2001.00001"], facet="background")
        by_method = searcher.like(["2001.00001"], facet="method")
        text = f"{PROBLEMS['traffic']} {METHODS['tree']} Results show that forecasts are better."
        first = {facet: searcher.search(text, facet=facet)[0].paper.title for facet in ("background", "method")}
    assert [hit.paper.title for hit in by_problem] == ["Study 2", "Study 3", "Study 4"]
    assert [hit.paper.title for hit in by_method] == ["Study 3", "Study 2", "Study 4"]
    assert first == {"background": "Study 3", "method": "Study 2"}


def test_the_option(searcher: Searcher, kb: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    searcher.close()
    done = kb("like", "2001.00001", "--facet", "method", "--json")
    assert [hit["title"] for hit in json.loads(done.stdout)] == ["Study 3", "Study 2", "Study 4"], done.stderr
    assert kb("like", "2001.00001", "--facet", "colour").returncode == 2


_HEADING = re.compile(r"\b(Background|Objectives?|Purpose|Introduction|Aims?|Motivation|Methods?|Results?|Conclusions?): ")


def structured(shared: Path) -> Iterator[list[tuple[str, str]]]:
    """Facet and sentence of every sentence of the abstracts that have headings for all three facets."""
    with (shared / "data" / "arxiv-2025-26.jsonl.zst").open("rb") as file:
        for line in io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(file), 1 << 20):
            if b"Results: " not in line or b"Methods: " not in line:
                continue
            pieces = _HEADING.split(" ".join(json.loads(line)["abstract"].split()))
            if pieces[0]:
                continue
            kinds = {"Me": "method", "Re": "result", "Co": "result"}
            told = [
                (kinds.get(heading[:2], "background"), sentence)
                for heading, text in zip(pieces[1::2], pieces[2::2], strict=True)
                for sentence in split_sentences(text)
            ]
            if {facet for facet, _ in told} == set(FACETS):
                yield told


def test_roles_of_real_structured_abstracts(shared: Path) -> None:
    """Abstracts whose headings (Background: … Methods: … Results: …) say what the sentences are, the headings taken out."""
    right = total = 0
    for told in structured(shared):
        parts = [sentence for _, sentence in told]
        right += sum(role == facet for (role, _), facet in zip(told, sentence_facets(parts), strict=True))
        total += len(told)
    assert total > 1000
    assert right / total > 0.85
