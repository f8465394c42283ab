"""Clients of Hugging Face and GitHub: the repository of a paper, and the state of a repository.

Requests are paced and not retried: what a rate limit leaves over is requested first by the next run.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any
from urllib.parse import quote

import requests

from ingest.report import Report
from ingest.response_body import read_body
from kb.errors import IdentifierError, SourceError
from kb.identifiers import clean_url, repository_url
from kb.papers import CodeLink
from kb.progress import Progress
from kb.store import Catalogue, CodeCatalogue, Home, RepositoryState

HF_URL = "https://huggingface.co"
GITHUB_URL = "https://api.github.com"
_TIMEOUT = 30.0  # seconds
_MAX_BYTES = 4 << 20  # of an answer; a repository's has some 10 kB
_PAUSE = 0.2  # seconds between two requests to one service
_GITHUB = "https://github.com/"


class RateLimitError(SourceError):
    """A rate limit is used up; what the service said before stands."""


@dataclass(frozen=True, slots=True)
class PaperAnswer:
    """Answer of Hugging Face about a paper; both fields are empty if it does not know it."""

    paper_id: str
    checked: datetime
    project_page: str = ""
    link: CodeLink | None = None


@dataclass(slots=True)
class Answers:
    """Answers of one run."""

    papers: list[PaperAnswer] = field(default_factory=list)
    states: list[RepositoryState] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class HuggingFace:
    """Client of Hugging Face's paper pages at KB_HF_URL."""

    def __init__(self) -> None:
        self._base = os.environ.get("KB_HF_URL", HF_URL).rstrip("/")
        self._session = _session()

    def paper(self, identifier: str) -> PaperAnswer:
        """Look up an arXiv paper by canonical id. Raises RateLimitError, and SourceError for an invalid answer."""
        checked = _now()
        answer = _get(self._session, f"{self._base}/api/papers/{quote(identifier.removeprefix('arxiv:'))}", {})
        if answer.status_code == 404:
            return PaperAnswer(identifier, checked)
        found = _object(answer)
        link = None
        try:
            url = repository_url(str(found.get("githubRepo") or ""))
            link = CodeLink(url, "huggingface", None, _count(found.get("githubStars")), 0.9, "its page on Hugging Face names it")
        except IdentifierError:
            pass  # most pages name none
        try:
            project_page = clean_url(str(found.get("projectPage") or ""))
        except IdentifierError:
            project_page = ""
        return PaperAnswer(identifier, checked, project_page, link)


class GitHub:
    """Client of GitHub's API at KB_GITHUB_API_URL; GITHUB_TOKEN raises the limit from 60 to 5,000 requests an hour."""

    def __init__(self) -> None:
        self._base = os.environ.get("KB_GITHUB_API_URL", GITHUB_URL).rstrip("/")
        self._session = _session()
        self._session.headers["Accept"] = "application/vnd.github+json"
        if token := os.environ.get("GITHUB_TOKEN", ""):
            self._session.headers["Authorization"] = f"Bearer {token}"
        self._exhausted: RateLimitError | None = None

    def repository(self, url: str, etag: str = "") -> RepositoryState | None:
        """Look up a repository by canonical address; `None` if nothing changed since `etag`.

        Raises RateLimitError if the rate limit is used up, without a request if the answer before said so, and SourceError
        for an invalid answer.
        """
        if self._exhausted is not None:
            raise self._exhausted
        checked = _now()
        headers = {"If-None-Match": etag} if etag else {}
        answer = _get(self._session, f"{self._base}/repos/{quote(url.removeprefix(_GITHUB))}", headers)
        if _is_exhausted(answer):
            self._exhausted = _limit(self._session, answer)
        if answer.status_code == 304:
            return None
        if answer.status_code in {404, 410, 451}:
            return RepositoryState(url, checked, gone=True)
        found = _object(answer)
        try:
            address = repository_url(_GITHUB + str(found.get("full_name") or ""))
        except IdentifierError:
            raise SourceError(f"{answer.url} answered without the repository's full name.") from None
        moved = address if address.lower() != url.lower() else ""
        stars = _count(found.get("stargazers_count"))
        return RepositoryState(url, checked, stars, found.get("archived") is True, False, moved, answer.headers.get("ETag", ""))


def query_forges(home: Home, limit: int, progress: Progress) -> Answers:
    """Look up `limit` papers at Hugging Face and `limit` repositories at GitHub, those checked longest ago first.

    Writes nothing. If a service is out of reach or its limit used up, the rest is left to the next run and reported.
    """
    generation = home.open()
    try:
        code = CodeCatalogue(generation.catalogue)
        papers, repositories = code.papers_to_check(limit), code.repositories_to_check("github.com", limit)
    finally:
        generation.close()
    answers = Answers()
    hugging_face, github = HuggingFace(), GitHub()
    progress.start("Asking Hugging Face", len(papers), "papers")
    try:
        for identifier in papers:
            answers.papers.append(hugging_face.paper(identifier))
            progress.advance(1)
            time.sleep(_PAUSE)
    except SourceError as error:
        answers.problems.append(str(error))
    progress.start("Asking GitHub", len(repositories), "repositories")
    try:
        for url, etag in repositories:
            state = github.repository(url, etag)
            if state is None:
                answers.unchanged.append(url)
            else:
                answers.states.append(state)
            progress.advance(1)
            time.sleep(_PAUSE)
    except SourceError as error:
        answers.problems.append(str(error))
    return answers


def store_answers(catalogue: Catalogue, answers: Answers) -> Report:
    """Store the answers of the forges in the catalogue."""
    report = Report(source="Hugging Face and GitHub")
    code = CodeCatalogue(catalogue)
    for paper in answers.papers:
        code.record_paper(paper.paper_id, paper.checked, paper.project_page, paper.link)
    code.record_states(answers.states)
    code.confirm_states(answers.unchanged, _now())
    report.count("papers asked about", len(answers.papers))
    report.count("with a repository", sum(paper.link is not None for paper in answers.papers))
    report.count("repositories asked about", len(answers.states) + len(answers.unchanged))
    report.count("gone", sum(state.gone for state in answers.states))
    report.count("moved", sum(bool(state.moved_to) for state in answers.states))
    report.count("archived", sum(state.archived for state in answers.states))
    for problem in answers.problems:
        report.skip(report.source, 0, f"{problem} What is left is asked first by the next `kb ingest code --check`.")
    return report


def _session() -> requests.Session:
    session = requests.Session()
    session.headers["User-Agent"] = f"paper-kb/{version('paper-kb')}"
    session.max_redirects = 3
    return session


def _get(session: requests.Session, url: str, headers: Mapping[str, str]) -> requests.Response:
    """Send a request. Raises RateLimitError if a limit is used up, SourceError without a usable answer."""
    try:
        answer = session.get(url, headers=dict(headers), timeout=_TIMEOUT, stream=True)
        with answer:
            answer._content = read_body(answer, _MAX_BYTES, 5 * _TIMEOUT)
    except requests.RequestException as error:
        raise SourceError(f"{url} gives no answer: {error}.") from error
    if answer.status_code == 429 or (answer.status_code == 403 and (_is_exhausted(answer) or "Retry-After" in answer.headers)):
        raise _limit(session, answer)
    if answer.status_code >= 500 or answer.status_code in {401, 403}:
        raise SourceError(f"{url} answers {answer.status_code} {answer.reason}.")
    return answer


def _is_exhausted(answer: requests.Response) -> bool:
    """True if this was the last answer that the rate limit allows."""
    return answer.headers.get("X-RateLimit-Remaining") == "0"


def _limit(session: requests.Session, answer: requests.Response) -> RateLimitError:
    until = answer.headers.get("X-RateLimit-Reset", "")
    when = f" until {datetime.fromtimestamp(int(until), UTC):%H:%M} UTC" if until.isdigit() and len(until) < 12 else ""
    token = "" if "Authorization" in session.headers or "/repos/" not in answer.url else " Set GITHUB_TOKEN to raise it."
    return RateLimitError(f"The rate limit of {answer.url.split('/')[2]} is used up{when}.{token}")


def _object(answer: requests.Response) -> dict[str, Any]:
    try:
        found = answer.json() if answer.status_code == 200 else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise SourceError(f"{answer.url} answers {answer.status_code} with something that is no JSON object.")
    return found


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 31 else None


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None, microsecond=0)
