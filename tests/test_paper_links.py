"""Where else a paper has a page."""

from __future__ import annotations

import pytest

from kb.identifiers import clean_url
from kb.papers import Paper
from kb.text.paper_links import web_pages


def test_a_paper_on_arxiv_that_was_published() -> None:
    assert web_pages(Paper("arxiv:1706.03762", "Attention & $\\alpha$", doi="10.1000/x")) == {
        "arXiv": "https://arxiv.org/abs/1706.03762",
        "Publisher": "https://doi.org/10.1000/x",
        "OpenReview": "https://openreview.net/search?term=Attention+%26+%CE%B1&content=title",
        "Semantic Scholar": "https://api.semanticscholar.org/arXiv:1706.03762",
        "Hugging Face": "https://huggingface.co/papers/1706.03762",
    }


def test_by_the_kind_of_id() -> None:
    doi = web_pages(Paper("doi:10.1162/neco.1991.3.1.79", "Adaptive Mixtures"))
    assert doi["Publisher"] == "https://doi.org/10.1162/neco.1991.3.1.79"
    assert doi["Semantic Scholar"] == "https://api.semanticscholar.org/DOI:10.1162/neco.1991.3.1.79"
    review = web_pages(Paper("openreview:JpZ5du_Kdh", "T"))
    assert review["OpenReview"] == "https://openreview.net/forum?id=JpZ5du_Kdh"
    assert "Hugging Face" not in review
    assert "Its page" not in web_pages(Paper("url:note:0123456789abcdef", "T"))


@pytest.mark.parametrize("title", ["<script>alert(1)</script>", "](javascript:alert(1))", 'a\u202eb "quoted" \\x'])
def test_no_title_makes_an_address_that_is_none(title: str) -> None:
    for address in web_pages(Paper("openreview:JpZ5du_Kdh", title)).values():
        assert clean_url(address) == address
