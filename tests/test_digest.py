"""The digest: a month's papers, chosen and explained, in three formats; nothing in it that no paper says."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import feedparser
import numpy as np
import pytest
from conftest import TOPICS, record

from ingest.jobs.run import run_index, run_snapshot
from ingest.notes import parse_document
from kb.encode.encoder import Encoder
from kb.errors import QueryError
from kb.formats.digest import DIGEST_WRITERS
from kb.insights.digest import Digest, _maximal_marginal_relevance, key_sentence, make_digest, parse_month
from kb.insights.trends import Rise
from kb.papers import CodeLink
from kb.store import Generation, Home

Kb = Callable[..., subprocess.CompletedProcess[str]]
HOSTILE = "<script>alert(1)</script> [x](javascript:y) & `code` | *b*"


def month_record(number: int, month: int, **changes: str) -> dict[str, Any]:
    return record(
        number,
        id=f"24{month:02d}.{number + 1:05d}",
        versions=[{"version": "v1", "created": f"Fri, {number % 27 + 1} {date(2024, month, 1):%b} 2024 10:00:00 GMT"}],
        **changes,
    )


@pytest.fixture
def generation(home: Home, write_snapshot: Callable[..., Path], encoder: Encoder) -> Iterator[Generation]:
    records = [month_record(n, 5) for n in range(40)]
    records += [month_record(n, 4) for n in range(0, 40, 2)] + [month_record(1, 2)]
    records += [month_record(100, 5, title=HOSTILE, abstract="Nothing like it. We show that <b>all</b> is well. The end.")]
    records += [month_record(101, 5, comments="This paper has been withdrawn by the authors")]
    run_snapshot(home, [write_snapshot(records)])
    run_index(home, encoder)
    generation = home.open()
    yield generation
    generation.close()


def topic(title: str) -> int:
    return next((i for i, (start, _) in enumerate(TOPICS) if title.startswith(start)), -1)


def test_a_digest_is_maximal_marginal_relevance_and_of_its_month(generation: Generation) -> None:
    digest = make_digest(generation, date(2024, 5, 1), k=6)
    assert (digest.month, digest.papers, len(digest.choices)) == (date(2024, 5, 1), 41, 6)
    assert {topic(choice.paper.title) for choice in digest.choices} >= {0, 1, 2, 3, 4}
    assert all(choice.paper.published and choice.paper.published.month == 5 for choice in digest.choices)
    assert all(choice.sentence in " ".join(choice.paper.abstract.split()) for choice in digest.choices)
    assert all(choice.neighbours == 7 for choice in digest.choices if topic(choice.paper.title) >= 0)
    assert digest.categories == (Rise("cs.LG", 20, 1 / 3), Rise("cs.CL", 21, 20 / 3)) or digest.categories == (
        Rise("cs.CL", 21, 20 / 3),
        Rise("cs.LG", 20, 1 / 3),
    )
    assert digest == make_digest(generation, date(2024, 5, 1), k=6)


def test_every_choice_is_explained(generation: Generation) -> None:
    choice = next(c for c in make_digest(generation, date(2024, 5, 1), k=6).choices if topic(c.paper.title) >= 0)
    assert choice.beside is not None
    assert choice.beside.id != choice.paper.id
    assert topic(choice.beside.title) == topic(choice.paper.title)
    theme = f"A theme of the month: 7 other papers are close to it, “{choice.beside.title}” the nearest."
    code = (CodeLink("https://github.com/a/b", "github", stars=12345), CodeLink("https://github.com/c/d", "abstract"))
    explained = replace(choice, code=code, close_to=replace(choice.paper, title="The $L^2$ one"))
    assert explained.reasons == ["Close to “The L² one” on your lists.", theme, "It has code with 12,345 stars."]
    assert replace(choice, code=code[1:]).reasons == [theme, "It has code."]
    assert replace(choice, code=(), neighbours=0).reasons == ["Nothing else of the month is like it."]
    for form, write in DIGEST_WRITERS.items():
        text = write(Digest(date(2024, 5, 1), 41, (explained,), (), ()))
        assert "https://github.com/a/b" in text, form
        assert text.count("12,345 stars") == text.count("stars") == 2, form  # in the reason, and at the link; none where unknown


def test_what_the_user_keeps_leads(generation: Generation) -> None:
    liked = ["arxiv:2404.00003", "arxiv:2405.00003", "arxiv:1706.03762"]  # pruning vision transformers, and an unknown one
    digest = make_digest(generation, date(2024, 5, 1), liked, k=3)
    first = digest.choices[0]
    assert topic(first.paper.title) == 2
    assert first.close_to is not None
    assert first.reasons[0] == f"Close to “{first.close_to.title}” on your lists."
    assert "arxiv:2405.00003" not in {choice.paper.id for choice in digest.choices}


def test_one_paper_of_the_users_does_not_bring_all() -> None:
    vectors = np.eye(6, dtype=np.float32)
    scores = np.array([9.0, 8.9, 8.8, 8.0, 7.9, 0.0])
    assert _maximal_marginal_relevance(scores.copy(), vectors, np.array([0, 0, 0, 1, 1, 1]), 4) == [0, 3, 1, 4]
    assert _maximal_marginal_relevance(scores.copy(), vectors, np.zeros(6, dtype=np.int64), 4) == [0, 1, 2, 3]


@pytest.mark.parametrize("text", ["2025", "2025-13", "2025-1", "25-10", "2025-10-01", "October"])
def test_what_is_no_month(text: str) -> None:
    with pytest.raises(QueryError, match="is no month"):
        parse_month(text)


def test_a_month_without_papers(generation: Generation) -> None:
    with pytest.raises(QueryError, match="has no papers of 2023-01"):
        make_digest(generation, date(2023, 1, 1))


@pytest.mark.parametrize(
    ("abstract", "sentence"),
    [
        ("It is hard. We propose X. It works.", "We propose X."),
        ("It is hard. It works.", "It is hard."),
        ("In this paper, we introduce $\\alpha$-nets. More.", "In this paper, we introduce α-nets."),
        ("It is hard. We present \\texttt{kb}, see \\href{https://a.org/b}{here}. More.", "We present kb, see here."),
        ("", ""),
    ],
)
def test_key_sentences(abstract: str, sentence: str) -> None:
    assert key_sentence(abstract) == sentence


class Page(HTMLParser):
    """Tags and addresses of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.addresses += [value or "" for name, value in attrs if name in {"href", "src"}]


def test_the_three_formats(generation: Generation) -> None:
    digest = make_digest(generation, date(2024, 5, 1), k=41)
    texts = {form: write(digest) for form, write in DIGEST_WRITERS.items()}
    notes = parse_document(texts["markdown"], "digest.md").notes
    assert [note.paper_id for note in notes] == [choice.paper.id for choice in digest.choices]
    page = Page()
    page.feed(texts["html"])
    assert "script" not in page.tags
    assert all(address.startswith("https://") for address in page.addresses)
    assert sum(address.startswith("https://arxiv.org/") for address in page.addresses) == 41
    feed = feedparser.parse(texts["atom"])
    assert not feed.bozo
    assert [entry.id for entry in feed.entries] == [f"https://arxiv.org/abs/{c.paper.id[6:]}" for c in digest.choices]
    assert all("<script" not in entry.content[0].value for entry in feed.entries)


def test_on_the_command_line(kb: Kb, generation: Generation, tmp_path: Path) -> None:
    assert generation.manifest.embedded
    file = tmp_path / "digest.md"
    assert kb("digest", "--month", "2024-05", "-k", "3", "-o", str(file)).returncode == 0
    assert file.read_text().startswith("# Papers of May 2024\n\n3 of 41 papers.\n")
    assert kb("digest", "--month", "2024-05", "-k", "3").stdout == file.read_text()
    assert kb("digest", "--month", "May").returncode == 2
    assert kb("digest", "--month", "2024-05", "--format", "pdf").returncode == 2
