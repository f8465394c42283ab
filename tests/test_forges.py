"""Hugging Face and GitHub, against a local server that speaks as they do."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from conftest import record

from ingest.jobs.run import run_code_check, run_snapshot
from kb.papers import CodeLink
from kb.store import Home

FIRST, SECOND, THIRD = (record(n)["id"] for n in range(3))


class Forge(BaseHTTPRequestHandler):
    """Answers from `pages`: path to status, headers and JSON; asked again with its ETag, it says 304."""

    pages: ClassVar[dict[str, tuple[int, dict[str, str], Any]]] = {}
    asked: ClassVar[list[tuple[str, str, str]]] = []

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers.get("If-None-Match", ""), self.headers.get("Authorization", "")))
        status, headers, body = self.pages.get(self.path, (404, {}, {"message": "Not Found"}))
        if headers.get("ETag") and headers["ETag"] == self.headers.get("If-None-Match"):
            status, body = 304, None
        data = b"" if body is None else body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """The test tells enough."""


@pytest.fixture
def forge(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Forge]]:
    Forge.pages, Forge.asked = {}, []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Forge)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("KB_HF_URL", f"{address}/")
    monkeypatch.setenv("KB_GITHUB_API_URL", address)
    monkeypatch.delenv("GITHUB_TOKEN", raising=False)
    yield Forge
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def stocked(home: Home, write_snapshot: Callable[..., Path]) -> Home:
    code = "Code: https://github.com/Lab/one and https://github.com/lab/two and https://github.com/lab/three"
    run_snapshot(home, [write_snapshot([record(0, comments=code), *(record(n, comments=None) for n in (1, 2))])])
    return home


def code_of(home: Home, identifier: str) -> list[CodeLink]:
    generation = home.open()
    try:
        return generation.catalogue.code_of([f"arxiv:{identifier}"]).get(f"arxiv:{identifier}", [])
    finally:
        generation.close()


def repository(name: str, stars: int, archived: bool = False) -> dict[str, Any]:
    return {"full_name": name, "stargazers_count": stars, "archived": archived}


def test_stars_moves_and_ends(stocked: Home, forge: type[Forge], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "secret")
    forge.pages = {
        "/repos/Lab/one": (200, {"ETag": '"a"'}, repository("Lab/one", 12)),
        "/repos/lab/two": (301, {"Location": "/repositories/2"}, {"message": "Moved Permanently"}),
        "/repositories/2": (200, {}, repository("fresh/two", 34, archived=True)),
        f"/api/papers/{SECOND}": (
            200,
            {},
            {
                "id": SECOND,
                "githubRepo": "https://github.com/hf/found.git",
                "githubStars": 5,
                "projectPage": "https://x.github.io",
            },
        ),
        f"/api/papers/{THIRD}": (200, {}, {"id": THIRD, "githubRepo": None}),
    }
    report = run_code_check(stocked, 10)
    assert report.counts == {
        "papers asked about": 3,
        "with a repository": 1,
        "repositories asked about": 3,
        "gone": 1,
        "moved": 1,
        "archived": 1,
    }
    assert sorted((x.url, x.stars, x.archived) for x in code_of(stocked, FIRST)) == [
        ("https://github.com/Lab/one", 12, False),
        ("https://github.com/fresh/two", 34, True),
    ]
    (found,) = code_of(stocked, SECOND)
    assert (found.url, found.source, found.stars) == ("https://github.com/hf/found", "huggingface", 5)
    assert {token for path, _, token in forge.asked if "/repo" in path} == {"Bearer secret"}
    assert {token for path, _, token in forge.asked if "/api/" in path} == {""}

    forge.asked.clear()
    forge.pages[f"/api/papers/{SECOND}"] = (200, {}, {"githubRepo": "javascript:alert(1)", "projectPage": "javascript:x"})
    report = run_code_check(stocked, 10)
    assert ("/repos/Lab/one", '"a"', "Bearer secret") in forge.asked
    assert report.counts["repositories asked about"] == 4
    assert code_of(stocked, SECOND) == []
    assert sorted((x.url, x.stars) for x in code_of(stocked, FIRST)) == [
        ("https://github.com/Lab/one", 12),
        ("https://github.com/fresh/two", 34),
    ]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            (403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1760000000"}, {"message": "API rate limit exceeded"}),
            r"The rate limit of 127\.0\.0\.1:\d+ is used up until 08:53 UTC\. Set GITHUB_TOKEN to raise it\.",
        ),
        ((403, {"Retry-After": "60"}, {"message": "secondary rate limit"}), r"The rate limit of 127\.0\.0\.1:\d+ is used up\."),
        ((401, {}, {"message": "Bad credentials"}), "answers 401"),
        ((429, {"Retry-After": "60"}, {}), r"The rate limit of 127\.0\.0\.1:\d+ is used up\."),
        ((502, {}, "<html>"), "answers 502"),
        ((200, {}, "<html>"), "is no JSON object"),
        ((200, {}, [1]), "is no JSON object"),
        ((200, {}, {"message": "?"}), "without the repository's full name"),
    ],
)
def test_what_was_said_before_a_limit_is_kept(
    stocked: Home, forge: type[Forge], answer: tuple[int, dict[str, str], object], message: str
) -> None:
    forge.pages = {"/repos/Lab/one": (200, {}, repository("lab/one", 12)), "/repos/lab/three": answer}
    report = run_code_check(stocked, 10)
    assert report.counts["repositories asked about"] == 1
    (skipped,) = report.skipped
    assert re.search(message, skipped.reason)
    assert skipped.reason.endswith("What is left is asked first by the next `kb ingest code --check`.")
    assert next(x.stars for x in code_of(stocked, FIRST) if x.url.lower().endswith("one")) == 12
    forge.pages["/repos/lab/three"] = (200, {}, repository("lab/three", 3))
    forge.asked.clear()
    run_code_check(stocked, 1)
    assert [path for path, _, _ in forge.asked if "/repos/" in path] == ["/repos/lab/three"]


def test_the_last_answer_that_the_limit_allows(stocked: Home, forge: type[Forge]) -> None:
    spent = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1760000000"}
    forge.pages = {"/repos/Lab/one": (200, spent, repository("lab/one", 12))}
    report = run_code_check(stocked, 10)
    assert [path for path, _, _ in forge.asked if "/repos/" in path] == ["/repos/Lab/one"]
    assert report.counts["repositories asked about"] == 1
    (skipped,) = report.skipped
    assert "is used up until 08:53 UTC. Set GITHUB_TOKEN to raise it. What is left" in skipped.reason
    # Nothing is left over where it was the last to be asked.
    forge.pages["/repos/lab/three"] = (304, spent, None)
    assert not run_code_check(stocked, 1).skipped


def test_an_answer_that_does_not_end_is_refused(stocked: Home, forge: type[Forge]) -> None:
    forge.pages = {"/repos/Lab/one": (200, {}, " " * (5 << 20))}
    report = run_code_check(stocked, 10)
    assert "gives no answer: the answer is larger than 4 MiB" in report.skipped[0].reason


def test_no_answer_at_all(stocked: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KB_HF_URL", "KB_GITHUB_API_URL"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    report = run_code_check(stocked, 2)
    assert [s.reason.split(":")[0] for s in report.skipped] == ["http", "http"]
    assert all("gives no answer" in s.reason for s in report.skipped)
    assert len(code_of(stocked, FIRST)) == 3
