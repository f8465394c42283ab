"""A file of notes, read whichever way it is written."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ingest.notes.digest import read_digest
from ingest.notes.findings import Findings
from ingest.notes.frontmatter import meta_text, read_front_matter
from ingest.notes.headings import document_heading, heading_words, read_headings
from ingest.notes.links import pieces
from ingest.notes.lists import holds_paper_list, read_lists
from ingest.notes.newsletter import holds_newsletter, is_furniture, read_newsletter
from ingest.notes.page import Page, Region, read_page
from ingest.notes.tables import holds_paper_table, read_tables
from ingest.notes.titles import clean_title
from kb.errors import SourceError
from kb.papers import Mention, Note, Skipped

_SUFFIXES = frozenset({".md", ".markdown", ".txt"})
_LONGEST_TITLE = 250


@dataclass(frozen=True, slots=True)
class Document:
    """What one file of notes holds."""

    source: str
    title: str
    notes: tuple[Note, ...]
    mentions: tuple[Mention, ...]
    """Links beside the notes, such as repositories listed on their own."""
    skipped: tuple[Skipped, ...]
    """What could not be read."""


def note_files(path: Path) -> list[Path]:
    """The file itself, or the notes below a folder in order; hidden files and folders are left out.

    Raises SourceError where the path does not exist or has no notes below it.
    """
    if not path.exists():
        raise SourceError(f"{path}: there is no such file or folder")
    if not path.is_dir():
        return [path]
    found: list[Path] = []
    for folder, folders, files in os.walk(path):
        folders[:] = [name for name in folders if not name.startswith(".")]
        visible = (Path(folder, name) for name in files if not name.startswith("."))
        found += [file for file in visible if file.suffix.lower() in _SUFFIXES]
    if not found:
        raise SourceError(f"{path}: no notes below this folder; they are looked for in .md, .markdown and .txt files")
    return sorted(found)


def read_document(path: Path, source: str | None = None) -> Document:
    """Reads one file of notes; `source` is what the notes say they come from, the path if not given.

    Raises SourceError where the file cannot be read at all: missing, a folder, not text, not UTF-8.
    """
    if path.is_dir():
        raise SourceError(f"{path}: is a folder, not a file of notes")
    if path.exists() and not path.is_file():
        raise SourceError(f"{path}: is no regular file")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror or error}") from None
    if (position := data.find(b"\0")) >= 0:
        line = data.count(b"\n", 0, position) + 1
        raise SourceError(f"{path}: byte {position} (line {line}) is zero: this is no UTF-8 text, convert it first")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SourceError(f"{path}: byte {error.start} (line {line}) is no UTF-8: convert the file to UTF-8 first") from None
    return parse_document(text, str(path) if source is None else source)


def parse_document(text: str, source: str) -> Document:
    """Reads a text of notes; what cannot be read of it is among the document's `skipped`, with its line."""
    findings = Findings(source)
    page = read_page(text)
    for problem in page.problems:
        findings.skip(problem.line, problem.reason)
    if not read_front_matter(page, findings):
        for region in read_headings(page, findings, lambda region: _holds_papers(page, region)):
            _read_region(page, region, findings)
    if not findings.notes:
        is_empty = not any(line.strip() for line in page.lines)
        findings.skip(1, "the document is empty" if is_empty else "no paper was found in the document")
    return Document(
        source,
        _title(page, findings),
        tuple(sorted(findings.notes, key=lambda note: note.line)),
        tuple(sorted(findings.mentions, key=lambda mention: mention.line)),
        tuple(sorted(findings.skipped, key=lambda skipped: skipped.line)),
    )


def _holds_papers(page: Page, region: Region) -> bool:
    return any(holds(page, region) for holds in (holds_paper_table, holds_paper_list, holds_newsletter))


def _read_region(page: Page, region: Region, findings: Findings) -> None:
    """Lets one reader after another take what it understands; links on lines that are left are mentions."""
    if not region.is_heading:
        for read in (read_tables, read_newsletter, read_digest, read_lists):
            read(page, region, findings)
    left = [link for link in page.links(region.start, region.end) if link.line - 1 not in findings.taken]
    findings.mentions.extend(findings.mentions_of(left))


def _title(page: Page, findings: Findings) -> str:
    """The title of a document: from its front matter, its topmost heading, or the first line of plain text."""
    if title := meta_text(page.meta, "title"):
        return clean_title(title)
    if heading := document_heading(page):
        first = findings.notes[0] if findings.notes else None
        return first.title if first and first.line == heading.start + 1 else heading_words(heading, page)
    if page.headings or (page.items and page.items[0].start == 0):
        return ""
    lines = (i for i in range(page.start, len(page.lines)) if page.visible[i].strip() and not is_furniture(page.lines[i]))
    first_line = next(lines, None)
    if first_line is None or first_line in findings.taken:
        return ""
    found = pieces(page.visible[first_line][: _LONGEST_TITLE + 1], first_line + 1, page.references)
    words = clean_title("".join(piece for piece in found if isinstance(piece, str)))
    return words if all(isinstance(piece, str) for piece in found) and len(words) <= _LONGEST_TITLE else ""
