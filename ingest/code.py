"""Code links from what is stored: repositories that abstracts and comments name. (Notes' are settled with the notes.)"""

from __future__ import annotations

from kb.identifiers import repositories_in
from kb.papers import CodeLink
from kb.store import Catalogue

SOURCES = ("abstract", "comments")
# A text that does not match holds no repository: it need not leave the database.
_HOSTS = r"(?i)github|gitlab\.com|bitbucket\.org|codeberg\.org|huggingface\.co"


def link_touched(catalogue: Catalogue) -> int:
    """Finds the repositories of the papers that the last merge wrote; returns the number of links."""
    links: list[tuple[str, CodeLink]] = []
    for paper, abstract, comments in catalogue.touched_texts(_HOSTS):
        for source, text in zip(SOURCES, (abstract, comments), strict=True):
            links += [(paper, CodeLink(url, source)) for url in repositories_in(text)]
    return catalogue.replace_code_links(links, SOURCES)
