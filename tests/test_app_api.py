"""The app's HTTP routes for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

import kb
from app import api
from app.access import Access
from kb.sample import SAMPLE_NOTES, SAMPLE_PAPERS


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kb.KnowledgeBase]:
    """The sample with one reading list."""
    with kb.KnowledgeBase(tmp_path_factory.mktemp("sample") / "kb") as base:
        base.ingest_snapshot(SAMPLE_PAPERS, index=False)
        base.ingest_notes(SAMPLE_NOTES)
        base.list_new("Thesis / part 1", ["1706.03762", "1512.03385"])
        yield base


@pytest.fixture
def client(sample: kb.KnowledgeBase, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    monkeypatch.setenv("KB_HOME", str(sample.path))
    monkeypatch.delenv("KB_API_TOKEN", raising=False)
    monkeypatch.setattr(Access, "current", staticmethod(lambda: Access()))
    api._base.cache_clear()
    return TestClient(Starlette(routes=api.routes()), "http://localhost", client=("127.0.0.1", 50000))


def test_search(client: TestClient, sample: kb.KnowledgeBase) -> None:
    answer = client.get("/api/search", params={"q": "transformers", "k": 3, "category": ["cs.CL", "cs.CV"], "years": "2019.."})
    assert answer.status_code == 200
    expected = sample.search("transformers", 3, categories=["cs.CL", "cs.CV"], years="2019..")
    assert answer.json() == json.loads(json.dumps([hit.as_json() for hit in expected]))


@pytest.mark.parametrize(
    ("query", "said"), [("q=", "empty"), ("q=a&k=0", "1 to 100"), ("q=a&k=x", "1 to 100"), ("q=a&years=z", "'z'")]
)
def test_wrong_use_of_search(client: TestClient, query: str, said: str) -> None:
    answer = client.get(f"/api/search?{query}")
    assert answer.status_code == 400
    assert said in answer.json()["error"]


def test_papers(client: TestClient) -> None:
    assert client.get("/api/papers/arxiv:1706.03762").json()["title"] == "Attention Is All You Need"
    assert client.get("/api/papers/https://arxiv.org/abs/1706.03762v2").json()["id"] == "arxiv:1706.03762"
    missing = client.get("/api/papers/2501.99999")
    assert missing.status_code == 404
    assert "is not in the knowledge base" in missing.json()["error"]


def test_lists_and_their_exports(client: TestClient, sample: kb.KnowledgeBase) -> None:
    assert client.get("/api/lists").json() == [{"name": "Thesis / part 1", "papers": 2, "unread": 2}]
    at = "/api/lists/Thesis%20%2F%20part%201"
    assert [paper["id"] for paper in client.get(at).json()["papers"]] == ["arxiv:1706.03762", "arxiv:1512.03385"]
    answer = client.get(f"{at}/list.bib")
    assert answer.headers["content-type"] == "application/x-bibtex"
    assert answer.text == sample.export("Thesis / part 1", "bibtex")
    assert client.get(f"{at}/list.atom").text == sample.export("Thesis / part 1", "atom")
    assert client.get(f"{at}/list.doc").status_code == 404
    assert client.get("/api/lists/Nothing/list.bib").status_code == 404
    assert client.post("/api/lists").status_code == 405


def test_who_is_answered(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    app = client.app
    assert client.get("/api/lists").status_code == 200
    assert client.get("/api/lists", headers={"host": "evil.example"}).status_code == 401
    assert TestClient(app, "http://localhost", client=("10.0.0.9", 50000)).get("/api/lists").status_code == 401
    monkeypatch.setattr(Access, "current", staticmethod(lambda: Access(sign_in=True)))
    assert client.get("/api/lists").status_code == 401
    monkeypatch.setenv("KB_API_TOKEN", "a-secret")
    assert client.get("/api/lists").status_code == 401
    assert client.get("/api/lists", headers={"authorization": "Bearer a-secre"}).status_code == 401
    assert client.get("/api/lists", headers={"authorization": "Bearer a-secret"}).status_code == 200
    assert client.get("/api/papers/x", headers={"authorization": "Basic a-secret"}).status_code == 401


def test_without_a_knowledge_base(client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KB_HOME", str(tmp_path / "nothing"))
    api._base.cache_clear()
    answer = client.get("/api/search?q=chess")
    assert answer.status_code == 503
    assert "There is no knowledge base" in answer.json()["error"]
    api._base.cache_clear()
