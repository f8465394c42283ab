"""Web pages of a paper: its own, the publisher's and those of scholarly services."""

from __future__ import annotations

from urllib.parse import quote, quote_plus

from kb.identifiers import paper_url
from kb.papers import Paper
from kb.text.latex import to_unicode


def web_pages(paper: Paper) -> dict[str, str]:
    """URLs by name of the site, the paper's own page first; a search by title on sites where the paper's id has no page."""
    scheme, _, value = paper.id.partition(":")
    title = quote_plus(to_unicode(paper.title))
    doi = paper.doi or (value if scheme == "doi" else "")
    own = paper.url or paper_url(paper.id)
    places = {_NAMES.get(scheme, "Its page"): own}
    if doi and scheme != "doi":
        places["Publisher"] = paper_url(f"doi:{doi}")
    if scheme != "openreview":
        places["OpenReview"] = f"https://openreview.net/search?term={title}&content=title"
    if scheme == "arxiv":
        places["Semantic Scholar"] = f"https://api.semanticscholar.org/arXiv:{value}"
        places["Hugging Face"] = f"https://huggingface.co/papers/{value}"
    elif doi:
        places["Semantic Scholar"] = f"https://api.semanticscholar.org/DOI:{quote(doi)}"
    else:
        places["Semantic Scholar"] = f"https://www.semanticscholar.org/search?q={title}"
    return {place: address for place, address in places.items() if address}


_NAMES = {"arxiv": "arXiv", "doi": "Publisher", "openreview": "OpenReview"}
