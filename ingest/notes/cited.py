"""Papers that a text only cites: in a document without notes of its own, each cited paper is known by what cites it."""

from __future__ import annotations

from ingest.notes.findings import Findings, resolve
from ingest.notes.inline import Link
from ingest.notes.page import Page, trim
from ingest.notes.titles import Title, is_citation, is_titular, split_title

_MOST = 300
_PANDOC = "@"


def add_cited(page: Page, findings: Findings) -> None:
    """Add a note for each paper that is cited, its text being the paragraph that cites it first.

    Where there are notes already, only `[@arxiv:…]` is a citation, and any other link a mention.
    """
    known = {note.paper_id for note in findings.notes}
    if known and not any(_PANDOC in text for _, _, text in page.paragraphs):
        return
    only_pandoc = bool(known)
    for first, last, text in page.paragraphs:
        for link in page.inline(text, first).links:
            where = resolve(link)
            if only_pandoc and text[link.start - 1 : link.start] != _PANDOC:
                continue
            if where is None or not where.is_paper or where.kind != "paper" or where.paper_id in known or len(known) >= _MOST:
                continue
            known.add(where.paper_id)
            findings.note(
                link.line,
                _title(link),
                link,
                body=trim(page.lines[first:last]),
                section=_section(page, first),
                links=page.links(first, last),
                source="link",
            )
    if known:
        findings.mentions = [m for m in findings.mentions if m.target not in known]


def _title(link: Link) -> Title:
    is_name = not (link.is_bare or link.is_labelled) and is_titular(link.text) and not is_citation(link.text)
    return split_title(link.text) if is_name and len(link.text.split()) >= 3 else Title("")


def _section(page: Page, line: int) -> str:
    heading = next((h for h in reversed(page.headings) if h.start <= line), None)
    return page.inline(heading.text, heading.start).words().strip() if heading else ""
