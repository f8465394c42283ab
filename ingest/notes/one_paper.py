"""Files that are one note on one paper: named by their front matter, or by a title without any link."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import PurePath

from ingest.notes.findings import Findings
from ingest.notes.inline import Link
from ingest.notes.labels import is_list_word, is_review_word, is_section_word
from ingest.notes.outline import Facts, Outline, document_heading, names_in
from ingest.notes.page import Page
from ingest.notes.titles import Title, authors_of, clean_title, is_titular, split_title, venue_and_year, without_kind
from kb.errors import SourceError
from kb.formats.read import parse_bibliography
from kb.identifiers import normalised, paper_url
from kb.papers import TitleSource

# Files that repositories and vaults have beside the notes.
_NO_NOTES = re.compile(
    r"(?:readme|contributing|license|licence|changelog|index|_index|home|todo|code_of_conduct|security|template\w*|summary"
    r"|toc|about|credits|authors|sidebar|_sidebar|moc)(?:[._-]\w{2,7})?",
    re.IGNORECASE,
)
_CITE_KEY = re.compile(r"@?[a-z][a-z'-]+(?:etal|_et_al)?[_-]?(?:19|20)\d\d[a-z]{0,20}", re.IGNORECASE)
_SPEAKS_OF_PAPER = re.compile(
    r"\b(?:th(?:is|e) paper|the authors|authors propose|in this work|paper proposes|this work|we propose)\b"
    r"|论文|本文|作者|論文|著者|本研究|이 논문|논문|저자"
    r"|\b(?:статья|статье|авторы|Autoren|dieser Arbeit|auteurs|cet article|autores|este artículo)\b",
    re.IGNORECASE,
)
_TLDR = re.compile(r"^\s*[*_#>-]*\s*tl\s?;?\s?dr\b", re.IGNORECASE | re.MULTILINE)
_ENOUGH = 3


def add_linked_by_front_matter(page: Page, findings: Findings) -> bool:
    """Add the one note of a file whose front matter names a paper; return whether it does."""
    meta = page.meta
    link = meta.link
    if link is None:
        return False
    heading = document_heading(page)
    words = clean_title(page.inline(heading.text, heading.start).words()) if heading else ""
    title = meta.title or words
    start = heading.end if heading and normalised(words) == normalised(title) else page.start
    source: TitleSource = "metadata" if meta.title else "heading"
    findings.note(
        1,
        Title(title, venue=meta.venue),
        link,
        body="\n\n".join(filter(None, [meta.remarks, page.body(start, len(page.lines))])),
        authors=meta.authors,
        year=meta.year,
        tags=meta.tags,
        links=page.links(page.start, len(page.lines)),
        source=source,
    )
    return True


def note_by_bibtex(outline: Outline, page: Page, findings: Findings) -> bool:
    """Add the one note of a file that quotes the BibTeX of its paper and links none; return whether it does."""
    if outline.document is not None or any(outline.papers) or any(s.entries or s.claims for s in outline.sections.values()):
        return False
    quoted = [n.text for n in page.blocks if n.kind == "fence" and re.match(r"\s*@\w+\s*[{(]", n.text)]
    if len(quoted) != 1:
        return False
    try:
        entries = parse_bibliography(quoted[0].encode("utf-8", "replace"), findings.source).entries
    except SourceError:
        return False
    if len(entries) != 1 or not entries[0].title:
        return False
    entry = entries[0]
    url = paper_url(entry.paper_id)
    findings.note(
        1,
        Title(entry.title, venue=entry.venue),
        Link(url, url, 1) if url else None,
        body=page.body(page.start, len(page.lines)),
        authors=tuple(author.name for author in entry.authors),
        year=entry.year,
        tags=page.meta.tags,
        links=page.links(page.start, len(page.lines)),
        source="bibliography",
    )
    findings.taken.update(range(len(page.lines)))
    return True


@dataclass(frozen=True, slots=True)
class _Named:
    title: Title
    source: TitleSource
    line: int
    start: int
    """The first line of the text."""


def note_without_link(outline: Outline, page: Page, findings: Findings, source: str) -> bool:
    """Add the one note of a file on a paper that no link names, known by its title; return whether it does.

    What speaks for it is counted: authors or a venue below the title, front matter that describes a paper, headings as notes
    on papers have them, words that speak of a paper. A page on another subject has too little of it.
    """
    if outline.document is not None or any(outline.papers):
        return False
    entries = sum(len(section.entries) for section in outline.sections.values())
    if entries > 3 or any(not e.head.is_prose and not e.section for e in outline.sections[-1].entries):
        return False
    stem = PurePath(source).stem
    named = _title(outline, page, stem)
    if named is None:
        return False
    if _NO_NOTES.fullmatch(stem) and not page.meta.is_bibliographic:
        findings.no_paper = "a page about its folder, not a note on a paper"
        return False
    fields = [f for section in outline.sections.values() for f in section.fields]
    facts = Facts.of(fields)
    below = list(_first_lines(page, named.start))
    authors: tuple[str, ...] = ()
    venue, year = "", None
    for line in below[:3]:
        authors, venue, year = names_in(line)
        if not authors:
            authors = authors_of(line.strip().lstrip(">-* "), is_set_apart=line.strip()[:1] in "*_")
        if authors:
            break
    evidence = _evidence(outline, page, facts, bool(authors), named, stem)
    if evidence < _ENOUGH or (entries and evidence < _ENOUGH + 2):
        findings.no_paper = "no paper was found in the document"
        return False
    meta = page.meta
    title = replace(named.title, venue=meta.venue or named.title.venue or facts.venue or venue)
    findings.note(
        named.line + 1,
        title,
        None,
        body="\n\n".join(filter(None, [meta.remarks, page.body(named.start, len(page.lines))])),
        authors=meta.authors or facts.authors or authors,
        year=meta.year or facts.year or named.title.year or year,
        tags=tuple(dict.fromkeys([*meta.tags, *facts.tags])),
        links=page.links(page.start, len(page.lines)),
        source=named.source,
    )
    findings.taken.update(range(len(page.lines)))
    return True


def _title(outline: Outline, page: Page, stem: str) -> _Named | None:
    """The title: labelled, in the front matter, the first heading, a first line set in bold, or the file's name."""
    for section in outline.sections.values():
        for named in section.fields:
            if named.kind == "title" and is_titular(named.value):
                return _Named(Title(clean_title(named.value)), "metadata", 0, page.start)
    heading = document_heading(page) or (page.headings[0] if page.headings and not _has_text_before(page) else None)
    words = outline.words[page.headings.index(heading)] if heading else ""
    if page.meta.title and not (is_list_word(page.meta.title) and len(page.meta.title.split()) <= 4):
        same = heading is not None and normalised(words) == normalised(page.meta.title)
        return _Named(split_title(page.meta.title), "metadata", 0, heading.end if same and heading else page.start)
    if heading and is_titular(words) and not is_section_word(words) and not (is_list_word(words) and len(words.split()) <= 3):
        return _Named(split_title(without_kind(words)), "heading", heading.start, heading.end)
    first = next(((i, line) for i, line in enumerate(page.visible) if i >= page.start and line.strip()), None)
    if first is not None and not page.headings and re.fullmatch(r"\s*(\*\*|__)[^\n]{8,300}\1\s*", first[1]):
        bold = page.inline(first[1], first[0]).words()
        if is_titular(bold):
            return _Named(split_title(bold), "heading", first[0], first[0] + 1)
    name = name_of_file(stem)
    return _Named(split_title(name), "file", 0, page.start) if name else None


def name_of_file(stem: str) -> str:
    """A title out of a file's name: `2020-05-01-sparse-attention-for-long-documents`."""
    words = re.sub(r"^\d{4}[-_.]\d{2}(?:[-_.]\d{2})?[-_. ]+|^\[?(?:19|20)\d\d\]?[-_. ]+", "", stem)
    spaced = re.sub(r"[_]+", " ", words) if " " not in words else words
    spaced = re.sub(r"(?<=\w)-(?=\w)", " ", spaced) if " " not in spaced else spaced
    is_name = len(spaced.split()) >= 3 or (not spaced.isascii() and len(spaced) >= 8)
    return " ".join(spaced.split()) if is_name and is_titular(spaced) and not _CITE_KEY.fullmatch(stem) else ""


def _has_text_before(page: Page) -> bool:
    return any(page.visible[i].strip() for i in range(page.start, page.headings[0].start))


def _first_lines(page: Page, start: int) -> Iterator[str]:
    return (line for line in page.lines[start : start + 12] if line.strip())


def _evidence(outline: Outline, page: Page, facts: Facts, has_authors: bool, named: _Named, stem: str) -> int:
    """How much speaks for a note on a paper."""
    meta = page.meta
    text = "\n".join(page.lines[page.start : page.start + 400])
    found = 3 if meta.is_bibliographic and (meta.authors or meta.venue) else 2 if meta.is_bibliographic else 0
    found += 3 if facts.authors and (facts.year or facts.venue or facts.title) else 2 if facts.authors or facts.title else 0
    found += 2 * has_authors + (bool(facts.venue) or bool(facts.year))
    found += 1 if named.title.venue and venue_and_year(named.title.venue)[0] else 0
    found += min(3, sum(is_review_word(words) for words in outline.words))
    found += 1 if _SPEAKS_OF_PAPER.search(text) else 0
    found += 2 if _TLDR.search(text[:1500]) else 0
    found += 1 if len(named.title.text.split()) >= 5 or (not named.title.text.isascii() and len(named.title.text) >= 10) else 0
    found += 2 if _CITE_KEY.fullmatch(stem) else 0
    found -= 2 if is_list_word(named.title.text) and len(named.title.text.split()) <= 4 else 0
    found -= 1 if named.source == "file" else 0
    found -= 2 if len(named.title.text.split()) < 2 and named.title.text.isascii() else 0
    return found
