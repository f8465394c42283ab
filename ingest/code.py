"""Code links from what is stored: repositories that abstracts and comments name. (Notes' are settled with the notes.)"""

from __future__ import annotations

from ingest.evidence import judge_mention
from kb.identifiers import repositories_in
from kb.papers import CodeLink
from kb.store import Catalogue, CodeCatalogue

SOURCES = ("abstract", "comments")
# A text that does not match holds no repository: it need not leave the database.
_HOSTS = r"(?i)github|gitlab|bitbucket|codeberg\.org|huggingface\.co|\bhf\.co/"


def link_touched(catalogue: Catalogue) -> int:
    """Finds the repositories of the papers that the last merge wrote; returns the number of links."""
    links: list[tuple[str, CodeLink]] = []
    for paper, title, authors, abstract, comments in CodeCatalogue(catalogue).touched_texts(_HOSTS):
        for source, text in zip(SOURCES, (abstract, comments), strict=True):
            for url in repositories_in(text):
                judged = judge_mention(url, title, authors, text)
                links.append((paper, CodeLink(url, source, confidence=judged.confidence, evidence=judged.evidence)))
    return catalogue.replace_code_links(links, SOURCES)
