"""Papers that are the headings of a document, the text below each being the note on it."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, replace

from ingest.notes.findings import Findings
from ingest.notes.links import Link, has_hint, is_label, is_paper, pieces
from ingest.notes.newsletter import authors_in
from ingest.notes.page import Heading, Page, Region
from ingest.notes.tables import is_table
from ingest.notes.titles import Title, aside, clean_title, split_title
from kb.identifiers import normalised

_LEADING_YEAR = re.compile(r"\W*((?:19|20)\d{2})\b")
# What may surround the link in a heading without the heading being about something else.
_AROUND = re.compile(r"[\W\d_]*(?:(?:and|paper|pdf|code|arxiv|link|by)\b[\W\d_]*)*", re.IGNORECASE)
# A line that holds an address and at most a word that says so.
_LONE_LINK = re.compile(r"[\W_]*(?:(?:url|link|paper|pdf|arxiv|doi|source)\b[\W_]*)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Paper:
    """A heading that is a paper."""

    title: Title
    link: Link
    year: int | None
    is_linked: bool
    """Whether the link stands in the heading itself."""
    shares_body: bool
    """Whether the next heading goes on with this one: `…, and`."""


class _Outline:
    """The headings of a page, which of them are papers, and where each chapter ends.

    All is worked out once: a page may have as many headings as lines.
    """

    def __init__(self, page: Page, holds_papers: Callable[[Region], bool]) -> None:
        self.page = page
        self.headings = page.headings
        self.holds_papers = holds_papers
        self.papers = [_paper(page, index, self.end_of_text(index)) for index in range(len(page.headings))]
        self._chapter_ends = [len(page.headings)] * len(page.headings)
        self._papers_before = [0]
        chapters: list[int] = []
        for index, heading in enumerate(page.headings):
            while chapters and page.headings[chapters[-1]].level >= heading.level:
                self._chapter_ends[chapters.pop()] = index
            chapters.append(index)
            self._papers_before.append(self._papers_before[-1] + (self.papers[index] is not None))

    def end_of_text(self, index: int) -> int:
        """The line where the next heading begins."""
        return self.headings[index + 1].start if index + 1 < len(self.headings) else len(self.page.lines)

    def is_chapter_of_papers(self, index: int) -> bool:
        """Whether papers are listed below a heading: as headings, in a list or in a table."""
        if self._papers_before[self._chapter_ends[index]] > self._papers_before[index + 1]:
            return True
        return self.holds_papers(Region(self.headings[index].end, self.end_of_text(index)))

    def is_note(self, index: int) -> bool:
        """Whether a heading is a note, and no chapter that only links its home page."""
        paper = self.papers[index]
        return paper is not None and (is_paper(paper.link.href) or not self.is_chapter_of_papers(index))

    def run(self, first: int) -> tuple[int, int]:
        """For the note that begins with a heading: the heading after the last that shares its body, and the
        first heading that no longer belongs to that body."""
        level = self.headings[first].level
        end = first + 1
        while end < len(self.headings) and self.headings[end].level == level and self._goes_on(end):
            end += 1
        for index in range(end, len(self.headings)):
            heading, paper = self.headings[index], self.papers[index]
            if heading.level < level:
                return end, index
            if heading.level == level and (paper is not None or self.is_chapter_of_papers(index)):
                return end, index
            if heading.level > level and paper is not None and paper.is_linked and is_paper(paper.link.href):
                return end, index
        return end, len(self.headings)

    def _goes_on(self, index: int) -> bool:
        """Whether a heading shares the body of the heading before it: no blank line between them, or `…, and`."""
        before, heading = self.headings[index - 1], self.headings[index]
        paper = self.papers[index - 1]
        if self.papers[index] is None or paper is None:
            return False
        blank = all(not line.strip() for line in self.page.lines[before.end : heading.start])
        return blank and (before.end == heading.start or paper.shares_body)


def read_headings(page: Page, findings: Findings, holds_papers: Callable[[Region], bool]) -> list[Region]:
    """Adds the notes on papers that are headings; returns the regions that are left for the other readers.

    `holds_papers` tells whether a region is a list or table of papers, and so no part of the note above it.
    """
    outline = _Outline(page, holds_papers)
    title = document_heading(page)
    sections: list[tuple[int, str]] = []
    first = page.headings[0].start if page.headings else len(page.lines)
    regions = [Region(page.start, first)]
    index = 0
    while index < len(page.headings):
        heading = page.headings[index]
        while sections and sections[-1][0] >= heading.level:
            sections.pop()
        section = sections[-1][1] if sections else ""
        if outline.is_note(index):
            end, stop = outline.run(index)
            _add_notes(outline, findings, range(index, end), stop, section)
            index = stop
            continue
        words = heading_words(heading, page)
        if heading is not title:
            sections.append((heading.level, words))
        # Links in a heading that is no paper's are left to the reader of what remains.
        regions.append(Region(heading.start, heading.end, section, is_heading=True))
        chapter = section if heading is title else words
        regions.append(Region(heading.end, outline.end_of_text(index), chapter, words, heading.start))
        index += 1
    return regions


def document_heading(page: Page) -> Heading | None:
    """The heading that is the title of the document: the only one of the first level, above all others."""
    tops = [heading for heading in page.headings if heading.level == 1]
    return tops[0] if len(tops) == 1 and page.headings[0] is tops[0] else None


def heading_words(heading: Heading, page: Page) -> str:
    """A heading in plain words."""
    found = pieces(heading.text, heading.start + 1, page.references)
    return clean_title("".join(p.text if isinstance(p, Link) else p for p in found))


def _paper(page: Page, index: int, end: int) -> _Paper | None:
    """The paper that a heading is, by a link in it or at the top of the text below it."""
    heading = page.headings[index]
    found = pieces(heading.text, heading.start + 1, page.references)
    links = [piece for piece in found if isinstance(piece, Link)]
    if links:
        return _linked_paper(found, links)
    title = split_title("".join(piece for piece in found if isinstance(piece, str)))
    link = _link_below(page, heading.end, end, title.text) if title.text else None
    return _Paper(title, link, None, is_linked=False, shares_body=False) if link else None


def _linked_paper(found: list[str | Link], links: list[Link]) -> _Paper | None:
    link = next((k for k in links if is_paper(k.href)), links[0])
    if link.href.startswith(("#", "/", "./", "../")) or "{{" in link.href:
        return None
    position = next(i for i, piece in enumerate(found) if piece is link)
    before = "".join(p if isinstance(p, str) else p.text for p in found[:position])
    after = "".join(p for p in found[position + 1 :] if isinstance(p, str))
    leading = _LEADING_YEAR.match(before)
    year = int(leading[1]) if leading else None
    shares_body = after.rstrip(" ,").endswith((" and", " &")) or after.strip(" ,") in {"and", "&"}
    if link.is_labelled or link.is_bare:
        # `## Title ([paper](…))`: the words beside the link are the title.
        title = split_title((before[leading.end() :] if leading else before).rstrip(" \t([:–—|-"))
        if not title.text or not is_paper(link.href):
            return None
        return _Paper(title, link, year, is_linked=True, shares_body=shares_body)
    title = split_title(link.text)
    venue, venue_year, rest = aside(after)
    if not title.text:
        return None
    if not is_paper(link.href) and not (_AROUND.fullmatch(before) and _AROUND.fullmatch(rest)):
        return None
    if venue:
        title = replace(title, venue=", ".join(filter(None, [title.venue, venue])))
    return _Paper(title, link, year or venue_year, is_linked=True, shares_body=shares_body)


def _link_below(page: Page, start: int, end: int, title: str) -> Link | None:
    """The link by which the text below a heading says which paper it is on: alone in the first line, or
    the first link, when its words are `paper`, `pdf`, `arXiv` or the title."""
    for line, _, text in page.paragraphs_on(start, end):
        found = pieces(text, line + 1, page.references) if has_hint(text) else []
        link = next((piece for piece in found if isinstance(piece, Link)), None)
        if link is None:
            start = end  # only the first paragraph may be a lone address
            continue
        if not is_paper(link.href) or is_table(text):
            return None
        around = _line_around(found, link, line + 1)
        is_alone = _LONE_LINK.fullmatch(around) is not None
        if link.is_bare:
            return link if is_alone and start < end and link.line == line + 1 else None
        if _in_list(page, line) and not (is_alone or is_label(around)):
            return None  # an entry of a list, whose own words are the title
        is_title = bool(title) and normalised(link.text) == normalised(title)
        return link if is_title or is_label(link.text) else None
    return None


def _line_around(found: list[str | Link], link: Link, line: int) -> str:
    """The words on the line of a link, apart from links, in a paragraph that begins on `line`."""
    words: list[str] = []
    for piece in found:
        if isinstance(piece, Link):
            continue
        for position, part in enumerate(piece.split("\n")):
            line += position > 0
            if line == link.line:
                words.append(part)
    return "".join(words).strip()


def _in_list(page: Page, line: int) -> bool:
    position = bisect_right(page.items, line, key=lambda item: item.start) - 1
    return position >= 0 and line < page.items[position].end


def _add_notes(outline: _Outline, findings: Findings, run: range, stop: int, section: str) -> None:
    page = outline.page
    start = outline.headings[run[-1]].end
    last = outline.papers[run[-1]]
    if last is not None and not last.is_linked and last.link.is_bare:
        start = last.link.line  # the line with the address alone is no text
    end = outline.headings[stop].start if stop < len(outline.headings) else len(page.lines)
    body = page.body(start, end)
    links = page.links(start, end)
    authors = authors_in(body.partition("\n")[0])
    for index in run:
        heading, paper = outline.headings[index], outline.papers[index]
        if paper is None:
            continue
        if not paper.link.href.strip():
            findings.skip(heading.start + 1, f"the link of the heading {paper.title.text!r} is empty")
        findings.note(
            heading.start + 1,
            paper.title,
            paper.link,
            body=body,
            section=section,
            year=paper.year,
            authors=authors,
            links=[*page.links(heading.start, heading.end), *links],
        )
