"""A file of notes, read whichever way it is written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path, PurePath

from ingest.notes.cited import add_cited
from ingest.notes.digest import read_digest
from ingest.notes.document import Document
from ingest.notes.files import read_text
from ingest.notes.findings import Findings
from ingest.notes.heads import SEPARATORS
from ingest.notes.inline import Link, has_hint
from ingest.notes.markup import html_as_markdown, org_as_markdown
from ingest.notes.newsletter import holds_newsletter, is_furniture, read_newsletter, split_stars
from ingest.notes.one_paper import add_linked_by_front_matter, name_of_file, note_by_bibtex, note_without_link
from ingest.notes.outline import Outline, add_entries, document_heading, heading_words, read_outline
from ingest.notes.page import Node, Page, Region, read_page
from ingest.notes.references import read_references
from ingest.notes.repositories import judge_repositories
from ingest.notes.tables import holds_paper_table, read_tables
from ingest.notes.titles import clean_title

_LONGEST_TITLE = 250


def read_document(path: Path, source: str | None = None) -> Document:
    """Read one file of notes; `source` is what the notes say they come from, the path if not given.

    Raises SourceError where the file cannot be read at all: missing, a folder, no text.
    """
    text, encoding, _ = read_text(path)
    return with_guess(read_notes(path, text, str(path) if source is None else source), encoding)


def with_guess(document: Document, encoding: str) -> Document:
    """The document with what was guessed of its encoding."""
    return replace(document, guessed_encoding=encoding)


def read_notes(path: Path, text: str, source: str) -> Document:
    """Read a text as what its file's name says: Markdown, Org, HTML, or a bibliography."""
    kind = path.suffix.lower()
    if kind in {".bib", ".ris"} or path.name.lower().endswith(".json"):
        return read_references(text, source)
    if kind == ".org":
        text = org_as_markdown(text)
    elif kind in {".html", ".htm"}:
        text = html_as_markdown(text)
    return parse_document(text, source)


def parse_document(text: str, source: str) -> Document:
    """Read a text of notes; what cannot be read of it is among the document's `skipped`, with its line."""
    findings = Findings(source)
    page = read_page(text)
    for problem in page.problems:
        findings.skip(problem.line, problem.reason)
    if not add_linked_by_front_matter(page, findings):
        outline = Outline(page, name_of_file(PurePath(source).stem), lambda region: _holds_papers(page, region))
        if not (note_by_bibtex(outline, page, findings) or note_without_link(outline, page, findings, source)):
            for region, entries in read_outline(outline, findings):
                if not region.is_heading:
                    for read in (read_tables, read_newsletter, read_digest):
                        read(page, region, findings)
                    add_entries(outline, region, entries, findings)
                _add_mentions(page, region, findings)
            add_cited(page, findings)
    if not findings.notes:
        is_empty = not any(line.strip() for line in page.lines)
        findings.no_paper = findings.no_paper or ("the document is empty" if is_empty else "no paper was found in the document")
    return Document(
        source,
        _title(page, findings),
        tuple(sorted(judge_repositories(page, findings.notes), key=lambda note: note.line)),
        tuple(sorted(findings.mentions, key=lambda mention: mention.line)),
        tuple(sorted(findings.skipped, key=lambda skipped: skipped.line)),
        no_paper="" if findings.notes else findings.no_paper,
    )


def _holds_papers(page: Page, region: Region) -> bool:
    return any(holds(page, region) for holds in (holds_paper_table, holds_newsletter))


def _add_mentions(page: Page, region: Region, findings: Findings) -> None:
    """Add the links on lines that no reader took; the only one of an item keeps the words behind it and its stars."""
    left: list[Link] = [link for link in page.links(region.start, region.end) if link.line - 1 not in findings.taken]
    remarks: dict[int, tuple[str, int | None]] = {}
    for node in _items(page.blocks_on(region.start, region.end)):
        if has_hint(node.text) and node.text_start not in findings.taken:
            inline = page.inline(node.text, node.text_start)
            if len(inline.links) == 1:
                words, stars = split_stars(inline.source[inline.links[0].end :])
                remarks[inline.links[0].line] = clean_title(words.strip(SEPARATORS)), stars
    for mention in findings.mentions_of(left):
        remark, stars = remarks.get(mention.line, ("", None))
        findings.mentions.append(replace(mention, remark=remark, stars=stars if mention.kind == "repository" else None))


def _items(nodes: Iterable[Node]) -> Iterator[Node]:
    for node in nodes:
        if node.kind == "item":
            yield node
            yield from _items(node.children)


def _title(page: Page, findings: Findings) -> str:
    """The title of a document: from its front matter, its topmost heading, or the first line of plain text."""
    if title := page.meta.title:
        return title
    if heading := document_heading(page):
        first = findings.notes[0] if findings.notes else None
        return first.title if first and first.line == heading.start + 1 else heading_words(heading, page)
    if page.headings or (page.blocks and page.blocks[0].kind == "item" and page.blocks[0].start == 0):
        return ""
    lines = (i for i in range(page.start, len(page.lines)) if page.visible[i].strip() and not is_furniture(page.lines[i]))
    first_line = next(lines, None)
    if first_line is None or first_line in findings.taken:
        return ""
    inline = page.inline(page.visible[first_line][: _LONGEST_TITLE + 1], first_line)
    words = clean_title(inline.words())
    return words if not inline.links and len(words) <= _LONGEST_TITLE else ""
