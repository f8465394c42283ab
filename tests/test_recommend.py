"""Recommendations: near to the list, new, explained, never twice."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from conftest import TOPICS, record

from ingest.jobs.run import run_index, run_snapshot
from kb.encode.encoder import Encoder
from kb.errors import QueryError
from kb.library import LIBRARY_FILE, Choices, Library
from kb.library.recommend import recommend
from kb.search.searcher import Searcher
from kb.store import Home

PAPERS = 50
Kb = Callable[..., subprocess.CompletedProcess[str]]


def paper(number: int) -> str:
    return f"arxiv:{record(number)['id']}"


def topic(title: str) -> int:
    return next(i for i, (start, _) in enumerate(TOPICS) if title.startswith(start))


@pytest.fixture
def stocked(home: Home, write_snapshot: Callable[..., Path], encoder: Encoder) -> Home:
    versions = [{"version": "v1", "created": "Wed, 1 Jan 2014 10:00:00 GMT"}]
    records = [record(n, **({"versions": versions} if n < 10 else {})) for n in range(PAPERS)]
    run_snapshot(home, [write_snapshot(records)])
    run_index(home, encoder)
    return home


@pytest.fixture
def searcher(stocked: Home, encoder: Encoder) -> Iterator[Searcher]:
    with Searcher.open(stocked, encoder) as searcher:
        yield searcher


def test_a_list_of_two_interests_gets_both(searcher: Searcher) -> None:
    liked = [paper(0), paper(5), paper(1), paper(6)]  # molecules and speech
    found = recommend(searcher, liked, k=10)
    assert [r.hit.rank for r in found] == list(range(1, 11))
    assert {topic(r.hit.paper.title) for r in found} == {0, 1}
    for r in found:
        assert {topic(p.title) for p in r.close_to} == {topic(r.hit.paper.title)}
        assert r.reason == f"Close to “{r.close_to[0].title}” and “{r.close_to[1].title}”."
    assert not {r.hit.paper.id for r in found} & set(liked)
    assert [r.hit.score for r in found] == sorted((r.hit.score for r in found), reverse=True)


def test_nothing_seen_disliked_or_old(searcher: Searcher) -> None:
    seen = [paper(10), paper(15)]
    found = recommend(searcher, [paper(0), paper(5)], [paper(20)], seen, date(2015, 1, 1), k=PAPERS)
    ids = {r.hit.paper.id for r in found}
    assert not ids & {paper(n) for n in (*range(10), 10, 15, 20)}
    assert len(ids) == PAPERS - 10 - 3
    assert all(topic(r.hit.paper.title) == 0 for r in found[:5])


def test_a_disliked_interest_counts_less(searcher: Searcher) -> None:
    liked = [paper(0), paper(5), paper(1), paper(6)]
    speech = [paper(11), paper(16), paper(21)]

    def closeness(disliked: list[str], of: int) -> float:
        """Mean cosine of the recommended papers on a topic, less what the disliked ones take away."""
        found = [r.hit.scores["dense"] for r in recommend(searcher, liked, disliked, speech, k=PAPERS)
                 if topic(r.hit.paper.title) == of]  # fmt: skip
        assert len(found) == {0: 8, 1: 5}[of]
        return sum(found) / len(found)

    lost = {of: closeness([], of) - closeness(speech, of) for of in (0, 1)}
    assert lost[1] > 2 * lost[0] > 0


def test_a_list_of_unknown_papers(searcher: Searcher) -> None:
    with pytest.raises(QueryError, match="None of these papers is in the knowledge base"):
        recommend(searcher, ["arxiv:1706.03762"])


def test_on_the_command_line(kb: Kb, stocked: Home) -> None:
    refused = kb("recommend")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "There is no paper on the list yet" in refused.stderr
    kb("list", "new", "Molecules", paper(0), paper(5))
    first = json.loads(kb("recommend", "--list", "Molecules", "-k", "4", "--since", "2015-01-01", "--json").stdout)
    assert [row["rank"] for row in first] == [1, 2, 3, 4]
    assert all(row["reason"].startswith("Close to “Graph neural networks for molecules, part ") for row in first)
    assert all(set(row["close_to"]) == {paper(0), paper(5)} for row in first)
    # The same day: the same. The next day: others, for this list alone.
    again = json.loads(kb("recommend", "--list", "molecules", "-k", "4", "--since", "2015-01-01", "--json").stdout)
    assert [row["id"] for row in again] == [row["id"] for row in first]
    choices = Choices(stocked.path / LIBRARY_FILE)
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    assert set(choices.recommended_before("Molecules", tomorrow)) == {row["id"] for row in first}
    assert choices.recommended_before("", tomorrow) == []
    dismissed = kb("recommend", "--list", "Molecules", "-k", "4", "--since", "2015-01-01", "--not", first[0]["id"], "--json")
    assert first[0]["id"] not in {row["id"] for row in json.loads(dismissed.stdout)}
    assert choices.dismissed() == [first[0]["id"]]
    # What is on another list already is not recommended.
    Library(stocked.path / LIBRARY_FILE).create("Read")
    kb("list", "add", "Read", first[1]["id"])
    rest = json.loads(kb("recommend", "--list", "Molecules", "-k", "4", "--since", "2015-01-01", "--json").stdout)
    assert not {first[0]["id"], first[1]["id"]} & {row["id"] for row in rest}
    assert kb("recommend", "--since", "yesterday").returncode == 2
    assert "close to" in kb("recommend", "-k", "2", "--since", "2015-01-01").stdout.lower()
