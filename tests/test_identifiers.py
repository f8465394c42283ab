"""Identifiers: every form that a paper or repository is named by, and those that name none."""

from __future__ import annotations

import re

import pytest

from kb.errors import IdentifierError
from kb.identifiers import (
    ARXIV_ID_PATTERN,
    ArxivId,
    arxiv_version,
    canonical_url,
    clean_url,
    paper_id,
    paper_url,
    repositories_in,
    repository_url,
    title_id,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1706.03762", "arxiv:1706.03762"),
        ("1706.03762v5", "arxiv:1706.03762"),
        ("arXiv:1706.03762v2", "arxiv:1706.03762"),
        ("0704.0001", "arxiv:0704.0001"),
        ("1412.9999", "arxiv:1412.9999"),
        ("hep-th/9901001v3", "arxiv:hep-th/9901001"),
        ("hep-ph/9901001", "arxiv:hep-ph/9901001"),
        ("math.GT/0309136", "arxiv:math/0309136"),
        ("cs/0703999", "arxiv:cs/0703999"),
        ("https://arxiv.org/abs/2106.09685", "arxiv:2106.09685"),
        ("http://arxiv.org/pdf/2105.04663.pdf", "arxiv:2105.04663"),
        ("https://arxiv.org/pdf/2105.04663v2", "arxiv:2105.04663"),
        ("https://export.arxiv.org/abs/cmp-lg/9405001", "arxiv:cmp-lg/9405001"),
        ("https://www.arxiv.org/html/2401.00001v1#S3", "arxiv:2401.00001"),
        ("https://ar5iv.labs.arxiv.org/html/1706.03762", "arxiv:1706.03762"),
        ("https://huggingface.co/papers/2305.14314", "arxiv:2305.14314"),
        ("https://www.alphaxiv.org/abs/2305.14314v1", "arxiv:2305.14314"),
        ("arxiv.org/abs/1706.03762", "arxiv:1706.03762"),
        ("https://doi.org/10.48550/arXiv.1706.03762", "arxiv:1706.03762"),
        ("10.1162/neco.1991.3.1.79", "doi:10.1162/neco.1991.3.1.79"),
        ("doi:10.1145/1143844.1143849", "doi:10.1145/1143844.1143849"),
        ("https://dl.acm.org/doi/abs/10.1145/1143844.1143849", "doi:10.1145/1143844.1143849"),
        ("https://link.springer.com/chapter/10.1007/978-3-030-01234-2_1", "doi:10.1007/978-3-030-01234-2_1"),
        ("https://www.nature.com/articles/s41586-021-03854-z", "doi:10.1038/s41586-021-03854-z"),
        ("https://openreview.net/forum?id=JpZ5du_Kdh", "openreview:JpZ5du_Kdh"),
        ("https://openreview.net/pdf?id=JpZ5du_Kdh&noteId=x", "openreview:JpZ5du_Kdh"),
        ("https://paperswithcode.com/paper/an-image-is-worth-16x16-words", "url:https://paperswithcode.com/paper/an-image-is-worth-16x16-words"),
        ("HTTP://JMLR.org/papers/v15/srivastava14a.html#x", "url:https://jmlr.org/papers/v15/srivastava14a.html"),
        ("https://arxiv.org/list/cs.CL/new", "url:https://arxiv.org/list/cs.CL/new"),
        ("url:https://example.org/a/?utm_source=x", "url:https://example.org/a"),
    ],
)  # fmt: skip
def test_canonical_ids(text: str, expected: str) -> None:
    assert paper_id(text) == expected
    assert paper_id(paper_id(text)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "1711.0093",  # four digits after 2014
        "https://arxiv.org/abs/1711.0093",
        "1406.02661",  # five digits before 2015
        "0703.0001",  # the form began in April 2007
        "1713.00001",
        "1701.00000",
        "hep-th/9913001",
        "hep-th/0704001",
        "foo-bar/9901001",
    ],
)
def test_identifiers_that_cannot_exist(text: str) -> None:
    with pytest.raises(IdentifierError, match="cannot exist"):
        paper_id(text)


@pytest.mark.parametrize(
    "text", ["", "attention is all you need", "12345", "javascript:alert(1)", "file:///etc/passwd", "openreview:", "doi:"]
)
def test_texts_that_name_no_paper(text: str) -> None:
    with pytest.raises(IdentifierError):
        paper_id(text)


@pytest.mark.parametrize(
    "text",
    [
        "https://user:password@example.org/",
        "https://example.org/\u202egnp.exe",
        "https://exam\u200bple.org/",
        "http://localhost/x",
        "http://[::1/",
        "https://example.org:99999/",
        "https://exa mple.org/",
        'https://example.org/"><script>',
        "data:text/html,hi",
    ],
)
def test_odd_addresses_are_refused(text: str) -> None:
    with pytest.raises(IdentifierError):
        clean_url(text)


def test_canonical_address() -> None:
    assert canonical_url("http://Example.org:80/a/b/?utm_campaign=z&q=1#top") == "https://example.org/a/b?q=1"


def test_year_and_version() -> None:
    assert ArxivId.parse("hep-th/9901001").year == 1999
    assert ArxivId.parse("cs/0301001").year == 2003
    assert ArxivId.parse("1706.03762v5") == ArxivId("1706.03762", 5)
    assert arxiv_version("https://arxiv.org/pdf/2105.04663v12.pdf") == 12
    assert arxiv_version("https://arxiv.org/abs/hep-th/9901001v2") == 2
    assert arxiv_version("https://arxiv.org/abs/2105.04663") is None


def test_the_page_of_an_id() -> None:
    assert paper_url("arxiv:hep-th/9901001") == "https://arxiv.org/abs/hep-th/9901001"
    assert paper_url("openreview:abc_def") == "https://openreview.net/forum?id=abc_def"
    assert paper_url("url:note:0123456789abcdef") == ""


def test_the_pattern_has_no_look_around_and_counts_exactly() -> None:
    assert "(?=" not in ARXIV_ID_PATTERN
    assert "(?!" not in ARXIV_ID_PATTERN
    numbers = [n for n in range(10000) if re.fullmatch(ARXIV_ID_PATTERN, f"1301.{n:04d}")]
    assert numbers == list(range(1, 10000))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://github.com/microsoft/DeepSpeed/tree/offloadpp-news/blogs", "https://github.com/microsoft/DeepSpeed"),
        ("github.com/a/b.git", "https://github.com/a/b"),
        ("http://www.github.com/a/b/issues/12#x", "https://github.com/a/b"),
        ("https://github.com/a/b...", "https://github.com/a/b"),
        ("https://raw.githubusercontent.com/a/b/main/README.md", "https://github.com/a/b"),
        ("https://gitlab.com/group/sub/project/-/tree/main", "https://gitlab.com/group/sub/project"),
        ("https://bitbucket.org/a/b/src/master/", "https://bitbucket.org/a/b"),
        ("https://codeberg.org/a/b", "https://codeberg.org/a/b"),
        ("https://huggingface.co/google/flan-t5-xl", "https://huggingface.co/google/flan-t5-xl"),
        ("huggingface.co/datasets/allenai/c4", "https://huggingface.co/datasets/allenai/c4"),
        ("https://hf.co/datasets/a/b", "https://huggingface.co/datasets/a/b"),
        ("https://gitlab.example-lab.org/group/sub/project/-/tree/main", "https://gitlab.example-lab.org/group/sub/project"),
        ("https://owner.github.io/Name/index.html", "https://github.com/owner/Name"),
        ("owner.github.io/name.", "https://github.com/owner/name"),
        ("https://Owner.github.io/", "https://github.com/Owner/owner.github.io"),
        ("https://owner.github.io/projects/name", "https://github.com/owner/owner.github.io"),
    ],
)
def test_repositories(text: str, expected: str) -> None:
    assert repository_url(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "https://github.com/a",
        "https://github.com/topics/nlp",
        "https://github.io/b",
        "https://a.github.io/b.pdf",
        "https://example.org/a/b",
        "github.com",
    ],
)
def test_what_is_no_repository(text: str) -> None:
    with pytest.raises(IdentifierError):
        repository_url(text)


def test_repositories_in_running_text() -> None:
    text = (
        r"Code: \url{https://github.com/foo/bar\_baz}. See also (github.com/Foo/Bar_baz), "
        "www.gitlab.com/x/y; mail me@github.com/nobody and https://github.com/foo."
    )
    assert repositories_in(text) == ["https://github.com/foo/bar_baz", "https://gitlab.com/x/y"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Code: https: //github.com/lab/own.", ["https://github.com/lab/own"]),
        ("Code: https:// github.com/lab/own.", ["https://github.com/lab/own"]),
        ("found at https://github. com/lab/own/)", ["https://github.com/lab/own"]),
        ("at https://github.com/ lab/own_work.", ["https://github.com/lab/own_work"]),
        ("at https://github.com/lab/ OwnWork.", ["https://github.com/lab/OwnWork"]),
        ("at https://github.com/lab/\n  own-work", ["https://github.com/lab/own-work"]),
        ("at https://github.com/lab/ and the data elsewhere", []),
        ("at https://github.com/lab/ The data follow", []),
        (
            "Page: https://lab.github.io/ownwork, code: https://github.com/Lab/OwnWork",
            ["https://github.com/Lab/OwnWork"],
        ),
    ],
)
def test_addresses_torn_apart_and_said_twice(text: str, expected: list[str]) -> None:
    assert repositories_in(text) == expected


def test_a_title_alone_names_a_paper_in_every_spelling() -> None:
    assert title_id("Attention Is All You Need") == title_id("attention  is all; you need!") == "url:note:5563e10cdb032fc9"
    assert title_id("Über") != title_id("Uber")
