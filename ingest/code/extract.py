"""Extract code links from stored abstracts and comments. Those of notes come with the notes."""

from __future__ import annotations

from collections.abc import Iterable

from ingest.code.evidence import judge_mention
from kb.identifiers import repositories_in
from kb.papers import CodeLink
from kb.store import Catalogue, CodeCatalogue, PaperChanges, PaperText, StagedPapers

SOURCES = ("abstract", "comments")
# A text that does not match holds no repository: it need not leave the database.
_HOSTS = r"(?i)github|gitlab|bitbucket|codeberg\.org|huggingface\.co|\bhf\.co/"


def merge_and_link(catalogue: Catalogue) -> tuple[PaperChanges, int]:
    """Merge the staged papers and link the repositories that they name; returns the number of links too."""
    with StagedPapers(catalogue).merging() as changes:
        links = _links(CodeCatalogue(catalogue).merging_texts(_HOSTS))
    return changes, catalogue.replace_code_links(links, SOURCES)


def link_all(catalogue: Catalogue) -> int:
    """Extract the repositories of every paper anew; returns the number of links."""
    StagedPapers(catalogue).touch_all()
    return catalogue.replace_code_links(_links(CodeCatalogue(catalogue).texts(_HOSTS)), SOURCES)


def _links(papers: Iterable[PaperText]) -> list[tuple[str, CodeLink]]:
    """Links named by these papers, sorted by paper id, since the database has no order."""
    links: list[tuple[str, CodeLink]] = []
    for paper in papers:
        for source, text in zip(SOURCES, (paper.abstract, paper.comments), strict=True):
            for url in repositories_in(text):
                judged = judge_mention(url, paper.title, paper.authors, text)
                links.append((paper.id, CodeLink(url, source, confidence=judged.confidence, evidence=judged.evidence)))
    return sorted(links, key=lambda link: link[0])
