"""Eight clients search, through what the app's pages share, while a job beside them imports and publishes again and again."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import record

from app import resources
from bench.serving import CLIENTS, Answer, ask, edition, fault, questions
from ingest.jobs.run import run_index, run_snapshot
from kb.encode.encoder import Encoder
from kb.encode.vector_store import VectorStore
from kb.index.dense import DENSE_FILE, DenseIndex
from kb.index.lexical import LEXICAL_FOLDER, LexicalIndex
from kb.jobs.background import Background
from kb.models.ranker.weights import RankerWeights
from kb.search.ranker import LearnedReranker
from kb.search.retriever import Retriever
from kb.search.searcher import Searcher
from kb.store import Generation, Home

RECORDS = [record(number) for number in range(60)]
CHANGING = {f"arxiv:{each['id']}" for each in RECORDS[:8]}


@pytest.fixture
def editions(home: Home, write_snapshot: Callable[..., Path], encoder: Encoder) -> list[Path]:
    """A knowledge base of sixty papers, eight of them in their first edition, and files with three more editions."""
    run_snapshot(home, [write_snapshot(RECORDS)])
    paths = [write_snapshot([json.dumps(each) for each in edition(RECORDS[:8], n, 6)], f"{n}.jsonl") for n in range(4)]
    run_snapshot(home, paths[:1])
    run_index(home, encoder)
    return paths[1:]


def faults(home: Home, encoder: Encoder, answers: list[Answer]) -> list[str]:
    queries = {text: encoder.encode([text])[0] for text in questions()}
    store = VectorStore.for_encoder(home.vectors, encoder)
    return [found for answer in answers if (found := fault(answer, queries, store, CHANGING))]


@pytest.mark.slow
def test_searches_while_jobs_publish(home: Home, editions: list[Path], encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KB_HOME", str(home.path))
    job = Background(home)
    job.start("Imports", [["ingest", "snapshot", str(path)] for path in editions])
    answers = ask(questions(), job.running, pause=0.2)
    assert (last := job.last()) is not None
    assert (last.exit_code, last.finished != "") == (0, True), job.log()
    assert len(answers) >= CLIENTS
    assert len({answer.generation for answer in answers}) > 1
    assert all(len(answer.hits) == 10 for answer in answers)
    assert faults(home, encoder, answers) == []
    with resources.searcher() as searcher:
        assert searcher.generation.name == home.current_name()
        assert searcher.generation.manifest.papers == 60 + 4 * 6


@pytest.mark.parametrize(
    ("mixed", "brought", "told"),
    [
        ("the dense index", "changed", r"has the cosine"),
        ("the lexical index", "changed", r"has the cosine"),  # what a hit shows is its
        ("the lexical index", "new", r"of which the lexical index knows nothing"),
    ],
)
def test_an_answer_of_two_generations_is_noticed(
    home: Home,
    editions: list[Path],
    encoder: Encoder,
    write_snapshot: Callable[..., Path],
    tmp_path: Path,
    mixed: str,
    brought: str,
    told: str,
) -> None:
    """What the test above looks for is seen where one index is of the generation before; of a catalogue nothing is shown."""
    assert editions
    shutil.copytree(home.path, tmp_path / "before")
    before = Home(tmp_path / "before").open()
    second = list(edition(RECORDS[:8], 1, 6))
    run_snapshot(home, [write_snapshot(second[:8] if brought == "changed" else second[8:], "second.jsonl")])
    run_index(home, encoder)
    after = home.open()

    def answers(catalogue: Generation, dense: Generation, lexical: Generation) -> list[Answer]:
        searcher = Searcher(catalogue, encoder)
        index, words = DenseIndex.read(dense.file(DENSE_FILE)), LexicalIndex.read(lexical.subfolder(LEXICAL_FOLDER))
        searcher._retriever = Retriever(index, words, lambda: encoder, searcher._texts, searcher.relevance.adapt)
        searcher._reranker = LearnedReranker(RankerWeights.read())
        return [Answer(text, "", 0.0, 0.0, searcher.search(text)) for text in questions()]

    try:
        assert faults(home, encoder, answers(after, after, after)) == []
        assert faults(home, encoder, answers(before, before, before)) == []
        assert answers(before, after, after) == answers(after, after, after)
        parts = {name: before if name == mixed else after for name in ("the dense index", "the lexical index")}
        found = faults(home, encoder, answers(after, *parts.values()))
        assert found
        assert all(re.search(told, each) for each in found)
    finally:
        before.close()
        after.close()
