"""The public Python API: it mirrors the command line, its examples are true, and importing it is cheap."""

from __future__ import annotations

import doctest
import inspect
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import record

import kb
import kb.api.knowledge_base
from kb.api.results import list_as_json, recommendation_as_json, report_as_json
from kb.errors import QueryError, StoreError
from kb.papers import plain_text
from kb.sample import SAMPLE_NOTES, SAMPLE_PAPERS

Kb = Callable[..., subprocess.CompletedProcess[str]]
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kb.KnowledgeBase]:
    """The sample, ingested and indexed by the API itself."""
    with kb.KnowledgeBase(tmp_path_factory.mktemp("sample") / "kb") as base:
        base.ingest_snapshot(SAMPLE_PAPERS, index=False)
        base.ingest_notes(SAMPLE_NOTES)
        yield base


def test_every_method_is_documented() -> None:
    for name, method in inspect.getmembers(kb.KnowledgeBase, inspect.isfunction):
        if not name.startswith("_"):
            assert inspect.getdoc(method), name


def test_the_examples_of_the_reference(sample: kb.KnowledgeBase, tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("# Papers\n\n- [GPipe](https://arxiv.org/abs/1811.06965) – pipelines over accelerators\n")
    names = {"base": sample, "folder": sample.path, "folder_of_notes": tmp_path, "SAMPLE_NOTES": SAMPLE_NOTES}
    runner = doctest.DocTestRunner()
    tests = doctest.DocTestFinder().find(kb.api.knowledge_base, extraglobs=names)
    for test in tests:
        runner.run(test)
    assert runner.tries >= 20
    assert runner.failures == 0


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_the_examples_of_the_guide(page: Path, sample: kb.KnowledgeBase) -> None:
    failed, _ = doctest.testfile(str(page), module_relative=False, globs={"base": sample}, optionflags=doctest.ELLIPSIS)
    assert failed == 0


def test_the_command_line_prints_what_the_api_returns(sample: kb.KnowledgeBase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KB_HOME", str(sample.path))

    def printed(*arguments: str) -> object:
        command = [sys.executable, "-c", "from kb.cli import main; main()", *arguments]
        return json.loads(subprocess.run(command, capture_output=True, text=True, check=False, timeout=300).stdout)

    def plain(value: object) -> object:
        return json.loads(json.dumps(value))

    sample.list_new("Mirror", ["1706.03762"])
    found = sample.search("attention", k=3, categories=["cs"], years="2015..", has_code=True)
    assert printed("search", "attention", "-k", "3", "--category", "cs", "--year", "2015..", "--has-code", "--json") == plain(
        [hit.as_json() for hit in found]
    )
    near = sample.like(["1706.03762"], ["1512.03385"], "translation", k=2)
    assert printed("like", "1706.03762", "--not", "1512.03385", "--text", "translation", "-k", "2", "--json") == plain(
        [hit.as_json() for hit in near]
    )
    assert printed("show", "1706.03762", "--json") == plain(sample.show("1706.03762").as_json())
    assert printed("list", "show", "Mirror", "--json") == plain(list_as_json(sample.list_show("Mirror")))
    assert printed("status", "--json") == plain(sample.status().as_json())
    assert printed("doctor", "--json") == plain(sample.doctor().as_json())
    assert printed("match", "--json") == plain([note.as_json() for note in sample.match()])
    answers = sample.recommend("Mirror", k=2)
    assert printed("recommend", "--list", "Mirror", "-k", "2", "--json") == plain(
        [recommendation_as_json(answer) for answer in answers]
    )


def test_a_search_sees_what_a_job_published(tmp_path: Path, write_snapshot: Callable[..., Path]) -> None:
    with kb.KnowledgeBase(tmp_path / "kb") as base:
        assert not base.exists()
        with pytest.raises(StoreError, match="There is no knowledge base"):
            base.search("chess")
        report = base.ingest_snapshot(write_snapshot([record(0)]))
        assert report_as_json(report)["counts"]["new"] == 1
        assert [hit.paper.title for hit in base.search("chess")] == ["Graph neural networks for molecules, part 0"]
        base.ingest_snapshot([write_snapshot([record(3)])], index=False)
        base.index()
        assert base.search("chess", k=1)[0].paper.title == "Learning to plan in board games, part 3"


def test_threads_share_an_instance(sample: kb.KnowledgeBase) -> None:
    found: list[str] = []

    def ask() -> None:
        found.append(sample.search("Deep Residual Learning for Image Recognition", k=1)[0].paper.id)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["arxiv:1512.03385"] * 8


def test_passages_are_sentences_of_abstract_and_notes(sample: kb.KnowledgeBase) -> None:
    found = sample.passages("attention author:Vaswani", k=1)
    assert {passage.paper_id for passage in found} == {"arxiv:1706.03762"}
    details = sample.show("1706.03762").hit
    texts = {"abstract": details.paper.abstract} | {f"{n.source}:{n.line}": plain_text(n.body) for n in details.notes}
    assert found[0].source == "abstract"
    assert all(passage.text in texts[passage.source] and "ttention" in passage.text for passage in found)


def test_wrong_use(sample: kb.KnowledgeBase) -> None:
    with pytest.raises(QueryError, match="Choose one of"):
        sample.ingest_arxiv(categories=["cs.CL"], query="ti:attention")
    with pytest.raises(QueryError, match="Name a category"):
        sample.ingest_oai()
    with pytest.raises(QueryError, match="There is no format 'word'"):
        sample.export("Mirror", "word")
    with pytest.raises(QueryError, match=r"config\.toml has no job"):
        sample.schedule_run_job("ingest oai", lambda _: 0)


def modules_after(statement: str) -> set[str]:
    """Modules loaded in a fresh process after the statement."""
    code = f"{statement}\nimport sys; print(' '.join(sys.modules))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_importing_is_cheap() -> None:
    ours = {name for name in modules_after("import kb; kb.__version__") if name.split(".")[0] in {"kb", "ingest", "app"}}
    assert ours == {"kb"}
    heavy = {"torch", "sentence_transformers", "streamlit", "faiss", "sklearn", "tantivy", "ray", "requests", "arxiv"}
    assert not heavy & modules_after("import kb; kb.KnowledgeBase")
    errors = {name for name in modules_after("import kb.errors") if name.split(".")[0] == "kb"}
    assert errors == {"kb", "kb.errors"}


def test_version(kb: Kb) -> None:
    import kb as package

    assert kb("--version").stdout == f"{package.__version__}\n"
    assert (ROOT / "kb" / "py.typed").is_file()
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        package.Nothing  # noqa: B018
