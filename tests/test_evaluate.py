"""Measures of a small judged collection, beside values worked out by hand."""

from __future__ import annotations

import gzip
import json
import subprocess
from collections.abc import Callable
from math import log2
from pathlib import Path

import numpy as np
import pytest

from kb.encode.encoder import Encoder
from kb.errors import SourceError
from kb.search.evaluate import (
    STAGES,
    build_collection,
    document_ids,
    evaluate,
    judged_queries,
    judged_queries_from_lists,
    paired_bootstrap,
    write_run,
)
from kb.search.qrels import read_judgements
from kb.search.searcher import Searcher
from kb.store import Home

CORPUS = {
    "chess": ("Chess by tree search", "A learned value function guides the search for moves."),
    "go": ("Mastering go", "Tree search and deep networks play the game of go."),
    "speech": ("Speech recognition", "Transcribing audio with few labels."),
    "proteins": ("Protein folding", "The structure of proteins is predicted from their sequence."),
    "empty": ("", ""),
}
QUERIES = {
    "q1": "tree search for board games",
    "q2": "recognising speech",
    "chess": "chess by tree search",
    "go_method": "tree search",
}
QRELS = [("q1", "chess", 2), ("q1", "go", 1), ("q2", "speech", 1), ("q2", "go", 0), ("chess", "go", 1), ("go_method", "chess", 1)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "judged"
    (place / "qrels").mkdir(parents=True)
    rows = "".join(json.dumps({"_id": i, "title": t, "text": x}) + "\n" for i, (t, x) in CORPUS.items())
    (place / "corpus.jsonl.gz").write_bytes(gzip.compress(rows.encode()))
    (place / "queries.jsonl").write_text("".join(json.dumps({"_id": i, "text": x}) + "\n" for i, x in QUERIES.items()))
    (place / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(f"{q}\t{d}\t{g}\n" for q, d, g in QRELS))
    return place


def test_measures_are_those_of_the_ranking(folder: Path, tmp_path: Path, encoder: Encoder) -> None:
    judgements = read_judgements(folder)
    home = build_collection(judgements, tmp_path / "kb", tmp_path / "vectors", encoder)
    with Searcher.open(home, encoder) as searcher:
        names = document_ids(judgements.documents, searcher.catalogue)
        found = evaluate(searcher, judged_queries(judgements, searcher.catalogue), names)
    assert (found.queries, found.documents) == (4, 5)
    assert tuple(found.runs) == STAGES
    for stage, run in found.runs.items():
        for row, (query, grades) in enumerate(judgements.qrels.items()):
            ranking = [document for document, _ in run[query]]
            gains = [grades.get(document, 0) for document in ranking]
            best = sorted(grades.values(), reverse=True)
            ideal = sum(g / log2(rank + 1) for rank, g in enumerate(best, start=1))
            ndcg = sum(g / log2(rank + 1) for rank, g in enumerate(gains[:10], start=1)) / ideal
            assert found.values[stage]["nDCG@10"][row] == pytest.approx(ndcg)
            relevant = sum(g > 0 for g in best)
            hits = [rank for rank, g in enumerate(gains, start=1) if g > 0]
            assert found.values[stage]["R@100"][row] == pytest.approx(len(hits) / relevant)
            assert found.values[stage]["AP"][row] == pytest.approx(sum(n / r for n, r in enumerate(hits, start=1)) / relevant)
    # A query made from a document, or from a facet of it, does not find that document.
    assert all("chess" not in dict(run["chess"]) and "go" not in dict(run["go_method"]) for run in found.runs.values())
    assert found.as_json()["stages"].keys() == set(STAGES)  # type: ignore[attr-defined]
    assert found.means("dense")["R@100"] == 1


def test_a_query_made_from_a_document_with_an_unusual_id(tmp_path: Path, encoder: Encoder) -> None:
    """Ids are any text, one within another; only a whole id, or one before `_facet`, is the query's own."""
    ids = ["10.1000/a b", "x_y", "x", "x_y_method", "_", "É:1"]
    queries = {
        "10.1000/a b": "",
        "x_y": "",
        "x_y_result": "x_y",
        "x_y_method": "",
        "É:1_background": "É:1",
        "x_colour": "x",
        "y": None,
    }
    rows = "".join(json.dumps({"_id": i, "title": f"Study {n}", "text": "Of chess."}) + "\n" for n, i in enumerate(ids))
    (tmp_path / "qrels").mkdir()
    (tmp_path / "corpus.jsonl").write_text(rows)
    (tmp_path / "queries.jsonl").write_text("".join(json.dumps({"_id": i, "text": "chess"}) + "\n" for i in queries))
    (tmp_path / "qrels" / "test.tsv").write_text("".join(f"{q}\t_\t1\n" for q in queries))
    judgements = read_judgements(tmp_path)
    home = build_collection(judgements, tmp_path / "kb", tmp_path / "vectors", encoder)
    with Searcher.open(home, encoder) as searcher:
        asked = judged_queries(judgements, searcher.catalogue)
        found = evaluate(searcher, asked, document_ids(judgements.documents, searcher.catalogue))
    for query, own in queries.items():
        left_out = set() if own is None else {own or query}
        assert all({name for name, _ in run[query]} == set(ids) - left_out for run in found.runs.values() if run[query]), query
    facets = {question.id: question.query.facet for question in asked}
    assert facets == dict.fromkeys(queries, None) | {"x_y_result": "result", "É:1_background": "background"}


def test_the_papers_of_a_list_are_found_by_each_other(
    home: Home, encoder: Encoder, kb: Callable[..., subprocess.CompletedProcess[str]], write_snapshot: Callable[..., Path]
) -> None:
    from conftest import record

    kb("ingest", "snapshot", str(write_snapshot([record(i) for i in range(12)])))
    kb("list", "new", "go")
    kb("list", "add", "go", record(3)["id"], record(8)["id"])
    done = kb("eval", "--lists", "--json")
    found = json.loads(done.stdout)
    assert (found["queries"], found["documents"]) == (2, 12)
    # Both are on the one topic, which no other paper is on: each is the first answer to the other.
    assert found["stages"]["reranked"] == {"nDCG@10": 1, "R@100": 1, "AP": 1}
    with Searcher.open(home, encoder) as searcher:
        keys = [searcher.catalogue.key_of(f"arxiv:{record(i)['id']}") for i in (3, 8)]
        asked = judged_queries_from_lists(
            {"go": [f"arxiv:{record(i)['id']}" for i in (3, 8)], "one": [f"arxiv:{record(1)['id']}"]}, searcher.catalogue
        )
    assert [(q.query.like, q.grades) for q in asked] == [((keys[1],), {keys[0]: 1}), ((keys[0],), {keys[1]: 1})]


def test_a_run_in_trec_form(tmp_path: Path) -> None:
    write_run(tmp_path / "run", {"q 1": [("a", 2.5), ("b c", -1)], "q2": []}, "tag")
    assert (tmp_path / "run").read_text() == "q_1 Q0 a 1 2.500000 tag\nq_1 Q0 b_c 2 -1.000000 tag\n"


def test_the_bootstrap_of_equal_differences_is_that_difference() -> None:
    found = paired_bootstrap(np.full(20, 0.25))
    assert (found.mean, found.low, found.high) == (0.25, 0.25, 0.25)
    spread = paired_bootstrap(np.asarray([-1.0, 1.0] * 50))
    assert spread.mean == 0
    assert -0.25 < spread.low < -0.15  # 1.96 standard errors of 0.1
    assert 0.15 < spread.high < 0.25


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("queries.jsonl", '{"_id": "q1", "text": "x"}\n{"_id": ', r"queries\.jsonl:2: the line is no JSON"),
        ("queries.jsonl", "[1]\n", r"queries\.jsonl:1: the line is no JSON object"),
        ("queries.jsonl", '{"_id": "q1"}\n', r"queries\.jsonl:1: 'text' is missing"),
        ("qrels/test.tsv", "query-id\tcorpus-id\tscore\nq1\tchess\n", r"test\.tsv:2: 2 columns"),
        ("qrels/test.tsv", "q1\tchess\thigh\n", r"test\.tsv:1: the score 'high'"),
        ("qrels/test.tsv", "q1\tnowhere\t1\n", r"test\.tsv:1: the document 'nowhere' is not in corpus"),
        ("qrels/test.tsv", "q9\tchess\t1\n", r"test\.tsv:1: the query 'q9' is not in queries"),
        ("qrels/test.tsv", "q1\tchess\t0\n", "judges no document relevant"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_line(folder: Path, file: str, content: str, message: str) -> None:
    (folder / file).write_text(content)
    with pytest.raises(SourceError, match=message):
        read_judgements(folder)


def test_a_missing_or_damaged_corpus(folder: Path) -> None:
    corpus = folder / "corpus.jsonl.gz"
    corpus.write_bytes(corpus.read_bytes()[:40])
    with pytest.raises(SourceError, match=r"corpus\.jsonl\.gz:1: the file cannot be read on"):
        read_judgements(folder)
    corpus.unlink()
    with pytest.raises(SourceError, match=r"corpus\.jsonl is missing"):
        read_judgements(folder)


def test_grades_made_binary(folder: Path) -> None:
    assert read_judgements(folder, binary=True).qrels["q1"] == {"chess": 1, "go": 1}


def test_the_command(folder: Path, tmp_path: Path, kb: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    run = tmp_path / "run.txt"
    done = kb("eval", str(folder), "--json", "--run-out", str(run), XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["queries"], found["documents"]) == (4, 5)
    assert {stage: sorted(values) for stage, values in found["stages"].items()} == {s: ["AP", "R@100", "nDCG@10"] for s in STAGES}
    assert {line.split()[0] for line in run.read_text().splitlines()} == set(QUERIES)
    again = kb("eval", str(folder), "--json", "--hops", "2", XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert json.loads(again.stdout) == found  # of five documents the first hop finds all
    assert kb("eval", str(folder), "--hops", "3").returncode == 2
    (folder / "queries.jsonl").write_text("{\n")
    failed = kb("eval", str(folder))
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "queries.jsonl:1" in failed.stderr


def test_answers_without_texts_are_looked_for_in_the_knowledge_base(
    tmp_path: Path, kb: Callable[..., subprocess.CompletedProcess[str]], write_snapshot: Callable[..., Path]
) -> None:
    from conftest import record

    kb("ingest", "snapshot", str(write_snapshot([record(i) for i in range(12)])))
    place = tmp_path / "answers"
    (place / "qrels").mkdir(parents=True)
    rows = [{"_id": record(i)["id"], "title": record(i)["title"], "text": ""} for i in (3, 8, 4000)]
    (place / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (place / "queries.jsonl").write_text('{"_id": "a", "text": "board games"}\n{"_id": "b", "text": "absent"}\n')
    judged = "".join(f"a\t{row['_id']}\t1\n" for row in rows) + f"b\t{rows[2]['_id']}\t1\n"
    (place / "qrels" / "test.tsv").write_text(judged)
    done = kb("eval", str(place), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["documents"] == 12
    assert json.loads(done.stdout)["queries"] == 1
    assert json.loads(done.stdout)["stages"]["reranked"]["R@100"] == 1
    assert "1 of 2 queries" in done.stderr
