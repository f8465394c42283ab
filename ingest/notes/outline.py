"""The headings of a page, the block on each paper, and the notes that these blocks are.

    headings → parts of the blocks below each → whose address is whose → the block of every paper, its title the best there is

A heading is a paper's title if it links one, or if an address below it lacks a title; else it is a chapter.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ingest.notes.findings import Findings, resolve
from ingest.notes.heads import Field, Head, read_head
from ingest.notes.inline import Inline, Link
from ingest.notes.labels import field_of, is_list_word, is_reference_word, is_section_word
from ingest.notes.page import Heading, Page, Region, trim
from ingest.notes.parts import Claim, Entry, Parts, Section, assemble, rank_of_claim
from ingest.notes.titles import (
    Title,
    aside,
    authors_of,
    clean_title,
    is_titular,
    split_authors,
    split_tags,
    split_title,
    venue_and_year,
    without_kind,
)
from kb.identifiers import normalised
from kb.papers import TitleSource

_LEADING_YEAR = re.compile(r"\W*((?:19|20)\d{2})\b")
# What may surround the link in a heading without the heading being about something else.
_AROUND = re.compile(r"[\W\d_]*(?:(?:and|paper|pdf|code|arxiv|link|by)\b[\W\d_]*)*", re.IGNORECASE)
_YEAR = re.compile(r"(?<!\d)(?:19[5-9]|20[0-4])\d(?!\d)")
#: A document with more entries than this is a list, whatever its title.
_MOST_ENTRIES = 3
_LONGEST_VALUE = 600


@dataclass(frozen=True, slots=True)
class HeadingPaper:
    """A heading that is a paper."""

    title: Title
    link: Link
    year: int | None
    is_linked: bool
    """Whether the link stands in the heading itself."""
    shares_body: bool = False
    """Whether the next heading goes on with this one: `…, and`."""
    fields: tuple[Field, ...] = ()
    source: TitleSource = "heading"


class Outline:
    """The headings of a page, what stands below each, and which of them are papers.

    All is worked out once: a page may have as many headings as lines. Index -1 is the document above all headings.
    """

    def __init__(self, page: Page, file_title: str, holds_papers: Callable[[Region], bool]) -> None:
        self.page = page
        self.headings = page.headings
        self.holds_papers = holds_papers
        self.document_title = page.meta.title
        self.file_title = file_title
        self._parts = Parts(page)
        self._chapter_ends = [len(page.headings)] * len(page.headings)
        self._parents = [-1] * len(page.headings)
        chapters: list[int] = []
        for index, heading in enumerate(page.headings):
            while chapters and page.headings[chapters[-1]].level >= heading.level:
                self._chapter_ends[chapters.pop()] = index
            self._parents[index] = chapters[-1] if chapters else -1
            chapters.append(index)
        self.words = [heading_words(heading, page) for heading in self.headings]
        self.papers: list[HeadingPaper | None] = [_linked_heading(page, heading) for heading in self.headings]
        self.sections: dict[int, Section] = {i: self._section(i) for i in range(-1, len(self.headings))}
        self.document: HeadingPaper | None = None
        self._papers_before = self._counted(lambda i: self.papers[i] is not None)
        self._entries_before = self._counted(
            lambda i: 0 if is_reference_word(self.words[i]) or self.papers[i] else len(self.sections[i].entries)
        )
        self._claimed_before = self._counted(lambda i: bool(self.sections[i].claims) and self.papers[i] is None)
        self._settle_claims()
        self._papers_before = self._counted(lambda i: self.papers[i] is not None)

    def _counted(self, of: Callable[[int], int]) -> list[int]:
        counts = [0]
        for index in range(len(self.headings)):
            counts.append(counts[-1] + of(index))
        return counts

    def start_of_text(self, index: int) -> int:
        """The first line below a heading."""
        return self.page.start if index < 0 else self.headings[index].end

    def end_of_text(self, index: int) -> int:
        """The line where the next heading begins."""
        return self.headings[index + 1].start if index + 1 < len(self.headings) else len(self.page.lines)

    def _section(self, index: int) -> Section:
        end = self.end_of_text(index)
        section = assemble(self._parts.of(self.page.blocks_on(self.start_of_text(index), end)), end)
        if index >= 0 and (kind := field_of(self.words[index])) in {"authors", "year", "venue", "tags"}:
            # `## 著者/所属機関` above the names: the heading is their label.
            value = " ".join(" ".join(self.page.lines[self.start_of_text(index) : end]).split())
            if kind is not None and 0 < len(value) <= _LONGEST_VALUE:
                section.fields.append(Field(kind, self.words[index], value, (), self.start_of_text(index)))
        return section

    # Whose address is whose -------------------------------------------------------------------------------------------

    def _settle_claims(self) -> None:
        """Find for every address without a title the heading that is its title; lacking one it is an entry of its own."""
        for index in range(-1, len(self.headings)):
            section = self.sections[index]
            if not section.claims or (index >= 0 and self._inside_paper(index)):
                continue
            owner = self._owner(index, section)
            if owner is None:
                section.entries += [_entry_of(claim) for claim in section.claims]
                section.entries.sort(key=lambda entry: entry.start)
                section.claims = []
                continue
            place, title, source = owner
            claim = _subject(section.claims)
            paper = HeadingPaper(title, claim.link, None, False, False, tuple(section.fields), source)
            if place < 0:
                self.document = self.document or paper
            elif self.papers[place] is None:
                self.papers[place] = paper

    def _inside_paper(self, index: int) -> bool:
        """Whether a heading, or one above it, is a paper already."""
        while index >= 0:
            if self.papers[index] is not None:
                return True
            index = self._parents[index]
        return False

    def _owner(self, index: int, section: Section) -> tuple[int, Title, TitleSource] | None:
        """The place of the title for the claims below a heading, that title, and its source."""
        claims = section.claims
        papers = {claim.paper_id for claim in claims}
        is_labelled = any(claim.is_labelled for claim in claims)
        if section.entries and not _are_remarks(section, claims):
            return None
        if len(papers) > 1 and not is_labelled:
            return None
        labels = [c.link.text.casefold() for c in claims if c.is_labelled]
        if len(papers) > 2 and len(labels) == len(claims) and len(set(labels)) == 1:
            return None  # `- [pdf](…)` again and again: papers without titles
        subject = _subject(claims)
        if not is_labelled and not subject.is_lone:
            return None  # an address with a remark, which is an entry
        best: tuple[int, int, Title, TitleSource] | None = None
        place, distance = index, 0
        while True:
            if place >= 0 and self.papers[place] is not None:
                break
            if self._is_free(place, index, papers):
                for score, title, source in self._titles(place, section, subject):
                    if best is None or score - 6 * distance > best[0]:
                        best = (score - 6 * distance, place, title, source)
            if place < 0:
                break
            place, distance = self._parents[place], distance + 1
        return None if best is None or best[0] < 45 else best[1:]

    def _is_free(self, place: int, index: int, papers: set[str]) -> bool:
        """Whether a heading may be the title of these papers: nothing else below it wants it."""
        first, last = (place, self._chapter_ends[place]) if place >= 0 else (-1, len(self.headings))
        if place == index:
            return place >= 0 or self._is_one_paper(first, last, papers)
        return self._is_one_paper(first, last, papers)

    def _is_one_paper(self, first: int, last: int, papers: set[str]) -> bool:
        low = max(first, 0)
        if self._papers_before[last] > self._papers_before[low]:
            return False
        entries = self._entries_before[last] - self._entries_before[low] + (len(self.sections[-1].entries) if first < 0 else 0)
        if entries > _MOST_ENTRIES:
            return False
        claimed = self._claimed_before[last] - self._claimed_before[low]
        if claimed > 4:
            return False
        return all(
            any(c.paper_id in papers for c in self.sections[i].claims) or is_reference_word(self.words[i])
            for i in range(low, last)
            if self.sections[i].claims
        ) and not any(
            self.holds_papers(Region(self.start_of_text(i), self.end_of_text(i), title=self.words[i]))
            for i in range(low, last)
            if claimed and i >= 0 and not is_reference_word(self.words[i])
        )

    def _titles(self, place: int, section: Section, subject: Claim) -> list[tuple[int, Title, TitleSource]]:
        """The titles that a place offers, each with a score."""
        found: list[tuple[int, Title, TitleSource]] = []
        for named in section.fields:
            if named.kind == "title" and is_titular(named.value):
                found.append(
                    (100 if place < 0 or is_section_word(self.words[place]) else 99, Title(clean_title(named.value)), "metadata")
                )
        if subject.head is not None and subject.head.title.text and subject.head.score >= 70:
            own = subject.head
            found.append((71, own.title, "metadata" if own.score >= 95 else "link"))
        if place < 0:
            if self.document_title:
                found.append((92, split_title(self.document_title), "metadata"))
            elif self.headings and all(is_section_word(words) for words in self.words):
                # Nothing but parts of a note: the file is the note, named by its file if by anything.
                found.append((60, Title(self.file_title), "file" if self.file_title else ""))
        elif not is_section_word(self.words[place]) and is_titular(self.words[place]):
            words = self.words[place]
            score = 60 + 4 * min(6, len(words.split()) if words.isascii() else max(len(words.split()), len(words) // 3))
            if is_list_word(words):
                score -= 35
            title = split_title(without_kind(words))
            found.append((score, title, "heading"))
        return found

    # Chapters and blocks -----------------------------------------------------------------------------------------------

    def is_chapter_of_papers(self, index: int) -> bool:
        """Whether papers are listed below a heading: as headings, in a list or in a table."""
        if self._papers_before[self._chapter_ends[index]] > self._papers_before[index + 1]:
            return True
        if self.papers[index] is None and any(not e.head.is_prose for e in self.sections[index].entries):
            return True
        return self.holds_papers(Region(self.headings[index].end, self.end_of_text(index), title=self.words[index]))

    def is_note(self, index: int) -> bool:
        """Whether a heading is a note, and no chapter that only links its home page."""
        paper = self.papers[index]
        if paper is None:
            return False
        where = resolve(paper.link)
        if where is not None and where.is_paper:
            return True
        return not paper.is_linked or not (self.is_chapter_of_papers(index) or bool(self.sections[index].entries))

    def run(self, first: int) -> tuple[int, int]:
        """Where the note that begins with a heading ends.

        Returns the heading after the last that shares its body, and the first heading that no longer belongs to that body.
        """
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
            if heading.level > level and paper is not None and paper.is_linked:
                where = resolve(paper.link)
                if where is not None and where.is_paper:
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


def _are_remarks(section: Section, claims: Sequence[Claim]) -> bool:
    """Whether the entries below a heading are remarks on its paper: the address comes first, and few sentences link others."""
    first = min(claim.start for claim in claims)
    return len(section.entries) <= _MOST_ENTRIES and all(e.start > first and e.head.is_prose for e in section.entries)


def _subject(claims: Sequence[Claim]) -> Claim:
    labelled = [claim for claim in claims if claim.is_labelled] or list(claims)
    return min(labelled, key=rank_of_claim)


def _entry_of(claim: Claim) -> Entry:
    assert claim.head is not None or claim.link is not None
    head = claim.head or Head(Title(""), 0, claim.link, "")
    return Entry(claim.start, claim.end, head, claim.link, "link" if head.title.text else "item", claim.end)


def document_heading(page: Page) -> Heading | None:
    """The heading that is the title of the document: the only one of the first level, above all others."""
    tops = [heading for heading in page.headings if heading.level == 1]
    return tops[0] if len(tops) == 1 and page.headings[0] is tops[0] else None


def heading_words(heading: Heading, page: Page) -> str:
    """A heading in plain words."""
    return clean_title(page.inline(heading.text, heading.start).words())


def _linked_heading(page: Page, heading: Heading) -> HeadingPaper | None:
    """The paper that a heading links."""
    inline = page.inline(heading.text, heading.start)
    links = inline.links
    if not links:
        return None
    link = next((k for k in links if (w := resolve(k)) is not None and w.is_paper), links[0])
    if link.href.startswith(("#", "/", "./", "../")) or "{{" in link.href:
        return None
    where = resolve(link)
    leads_to_paper = where is not None and where.is_paper
    before, after = inline.words(0, link.start), inline.words(link.end)
    leading = _LEADING_YEAR.match(before)
    year = int(leading[1]) if leading else None
    shares_body = after.rstrip(" ,").endswith((" and", " &")) or after.strip(" ,") in {"and", "&"}
    if link.is_labelled or link.is_bare:
        # `## Title ([paper](…))`: the words beside the link are the title.
        if not leads_to_paper:
            return None
        title = _title_beside(inline, before[leading.end() :] if leading else before)
        return HeadingPaper(title, link, year or title.year, True, shares_body) if title.text and is_titular(title.text) else None
    title = split_title(link.text)
    venue, venue_year, rest = aside(after)
    if not title.text:
        return None
    if not leads_to_paper and not (_AROUND.fullmatch(before) and _AROUND.fullmatch(rest)):
        return None
    if not venue:
        head = read_head(inline, resolve, is_heading=True)
        if head.title.text == title.text:
            title = replace(
                title, tags=tuple(dict.fromkeys([*title.tags, *head.title.tags])), authors=title.authors or head.title.authors
            )
            venue, venue_year = (
                (head.title.venue, head.title.year) if head.title.venue not in title.venue else ("", head.title.year)
            )
    if venue:
        title = replace(title, venue=", ".join(filter(None, [title.venue, venue])))
    return HeadingPaper(title, link, year or venue_year, True, shares_body)


def _title_beside(inline: Inline, before: str) -> Title:
    """The title in a heading whose link is a label."""
    head = read_head(inline, resolve, is_heading=True)
    if head.title.text and head.score >= 70:
        return head.title
    plain = before.rstrip(" \t([:–—|-").lstrip(" \t#-–—:*|")
    title = split_title(plain)
    if head.title.text:
        title = replace(
            head.title, text=title.text if title.text.endswith(head.title.text) and not head.title.tags else head.title.text
        )
    return title


# Notes --------------------------------------------------------------------------------------------------------------------


def read_outline(outline: Outline, findings: Findings) -> list[tuple[Region, list[Entry]]]:
    """Add the notes on papers that are headings, or the one note of a document on one paper.

    Returns the regions that are left for the other readers, each with its entries.
    """
    page = outline.page
    if outline.document is not None:
        add_document_note(outline, outline.document, findings)
        return []
    title = document_heading(page)
    sections: list[tuple[int, str]] = []
    first = page.headings[0].start if page.headings else len(page.lines)
    regions = [(Region(page.start, first), outline.sections[-1].entries)]
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
        words = outline.words[index]
        if heading is not title:
            sections.append((heading.level, words))
        # Links in a heading that is no paper's are left to the reader of what remains.
        regions.append((Region(heading.start, heading.end, section, is_heading=True), []))
        chapter = section if heading is title else words
        region = Region(heading.end, outline.end_of_text(index), chapter, words, heading.start)
        regions.append((region, outline.sections[index].entries))
        index += 1
    return regions


def add_document_note(outline: Outline, paper: HeadingPaper, findings: Findings) -> None:
    """Add the one note of a document that is on one paper as a whole."""
    page = outline.page
    start = page.start
    heading = document_heading(page)
    if heading and (normalised(outline.words[0]) == normalised(paper.title.text) or outline.words[0] == outline.document_title):
        start = heading.end
    facts = Facts.of([*paper.fields, *(f for section in outline.sections.values() for f in section.fields)])
    meta = page.meta
    findings.note(
        1 if page.start else (heading.start + 1 if heading and start == heading.end else 1),
        replace(paper.title, venue=meta.venue or paper.title.venue or facts.venue),
        paper.link,
        body="\n\n".join(filter(None, [meta.remarks, page.body(start, len(page.lines))])),
        authors=meta.authors or facts.authors,
        year=meta.year or facts.year,
        tags=tuple(dict.fromkeys([*meta.tags, *facts.tags])),
        links=page.links(page.start, len(page.lines)),
        source=paper.source,
    )
    findings.taken.update(range(len(page.lines)))


def _add_notes(outline: Outline, findings: Findings, run: range, stop: int, section: str) -> None:
    page = outline.page
    last = run[-1]
    start = outline.headings[last].end
    own = outline.papers[last]
    if own is not None and not own.is_linked and own.link.is_bare:
        line = page.visible[own.link.line - 1]
        if line.replace(own.link.href, "").strip(" <>-*") == "" and not any(
            x.strip() for x in page.visible[start : own.link.line - 1]
        ):
            start = own.link.line  # the line with the address alone is no text
    if own is not None and not own.is_linked and own.source != "heading":
        start = outline.headings[last].start  # the heading is no title, and so part of the text
    end = outline.headings[stop].start if stop < len(outline.headings) else len(page.lines)
    body = page.body(start, end)
    links = page.links(start, end)
    fields = [
        f for i in range(run[0], stop) if not is_reference_word(outline.words[i]) or i in run for f in outline.sections[i].fields
    ]
    facts = Facts.of(fields)
    authors, venue, year = names_in(body.partition("\n")[0])
    for index in run:
        heading, paper = outline.headings[index], outline.papers[index]
        if paper is None:
            continue
        if not paper.link.href.strip():
            findings.skip(heading.start + 1, f"the link of the heading {paper.title.text!r} is empty")
        title, source = (Title(facts.title), "metadata") if facts.title and not paper.is_linked else (paper.title, paper.source)
        findings.note(
            heading.start + 1,
            replace(title, venue=title.venue or facts.venue or venue),
            paper.link,
            body=body,
            section=section,
            year=paper.year or title.year or facts.year or year,
            authors=facts.authors or authors,
            tags=facts.tags,
            links=[*page.links(heading.start, heading.end), *links],
            source=source,  # type: ignore[arg-type]
        )


def names_in(line: str) -> tuple[tuple[str, ...], str, int | None]:
    """Authors, venue and year in the line below a title: `By Ada Byron et al.`, `Ada Byron, Carl Weber, ACL, 2020`."""
    bare = line.strip().strip("*_`>- ").strip()
    if not bare or len(bare) > 600 or "](" in bare:
        return (), "", None
    venue, year = "", None
    parts = re.split(r"\s*[,，;|·]\s*|\s+[-–—]\s+", bare.rstrip(" .)*_"))
    while len(parts) > 1:
        found, when = venue_and_year(parts[-1].strip(" ()[]*_`"))
        if not found and not when:
            break
        venue, year = found or venue, when or year
        parts.pop()
    if not venue and (paired := re.search(r"[\[(]([^()\[\]]{2,60})[)\]]\s*$", bare)):
        found, when = venue_and_year(paired[1])
        if found or when:
            venue, year = found, year or when
            parts = [bare[: paired.start()].rstrip(" ,")]
    names = authors_of(", ".join(parts), is_set_apart=bool(venue or year) or bare.lower().startswith("by "))
    return (names, venue, year) if names else ((), "", None)


@dataclass(frozen=True, slots=True)
class Facts:
    """What the labelled values of a block say."""

    title: str = ""
    authors: tuple[str, ...] = ()
    venue: str = ""
    year: int | None = None
    tags: tuple[str, ...] = ()

    @classmethod
    def of(cls, fields: Sequence[Field]) -> Facts:
        """The first value of each kind; tags of all."""
        values: dict[str, str] = {}
        tags: list[str] = []
        for one in fields:
            value = one.value
            if one.kind == "tags":
                tags += split_tags(value)
            elif value.strip():
                values.setdefault(one.kind, value.strip())
        year = _YEAR.search(values.get("year", "")) or _YEAR.search(values.get("venue", ""))
        venue = clean_title(values.get("venue", ""))
        return cls(
            clean_title(values["title"]) if is_titular(values.get("title", "")) else "",
            split_authors(values.get("authors", "")),
            venue if len(venue) <= 200 else "",
            int(year[0]) if year else None,
            tuple(dict.fromkeys(tags)),
        )


def add_entries(outline: Outline, region: Region, entries: Sequence[Entry], findings: Findings) -> None:
    """Add the notes on the entries of a region."""
    page = outline.page
    for entry in sorted(entries, key=lambda e: e.start):
        if entry.start in findings.taken:
            continue
        facts = Facts.of(entry.fields)
        body = _entry_text(page, entry)
        head = entry.head
        title, source = head.title, entry.source
        if head.score == 80 and source == "item":
            source = "link"
        if facts.title and (head.score < 90):
            title, source = Title(facts.title), "metadata"
        elif entry.is_titled_above:
            source = "heading"
        links = [k for s, e in _kept(entry) for k in page.links(s, e)]
        authors, venue, year = facts.authors, facts.venue, facts.year
        if not authors and not title.authors:
            below = next((line for line in body.split("\n") if line.strip()), "") if entry.is_titled_above else ""
            names = names_in(below)
            if not names[0]:
                names = _names_below(page, entry)
            authors, venue, year = names[0], venue or names[1], year or names[2]
        findings.note(
            entry.start + 1,
            replace(title, venue=title.venue or venue),
            entry.link,
            body=body,
            section=entry.section or region.section,
            year=title.year or year,
            authors=authors,
            tags=tuple(dict.fromkeys([*head.tags, *facts.tags])),
            links=links,
            source=source,
        )
    for entry in entries:
        findings.taken.update(range(entry.start, entry.end))


def _kept(entry: Entry) -> list[tuple[int, int]]:
    """The lines of an entry that are on no other paper."""
    kept: list[tuple[int, int]] = []
    start = entry.start
    for first, last in sorted(entry.cut):
        if first > start:
            kept.append((start, first))
        start = max(start, last)
    if start < entry.end:
        kept.append((start, entry.end))
    return kept


def _names_below(page: Page, entry: Entry) -> tuple[tuple[str, ...], str, int | None]:
    """The authors in the first line below the text that names the paper, set in italics or by themselves."""
    for line in page.lines[entry.text_end : min(entry.end, entry.text_end + 3)]:
        if line.strip():
            bare = line.strip().lstrip("-*+> ").strip()
            if (found := names_in(bare))[0]:
                return found
            names = authors_of(bare, is_set_apart=bare[:1] in "*_" or line.strip()[:1] in "*_")
            return names, "", None
    return (), "", None


def _entry_text(page: Page, entry: Entry) -> str:
    """The text of an entry as it was written, apart from its title."""
    lines = [line for first, last in _kept(entry) for line in page.lines[max(first, entry.text_end) : last]]
    nested = trim(_dedented(lines))
    if entry.is_titled_above and entry.link and entry.link.is_bare and nested.strip("<> -*") == entry.link.href:
        nested = ""  # the address alone
    if entry.whole:
        return nested
    return "\n\n".join(filter(None, [entry.head.body, nested]))


def _dedented(lines: Sequence[str]) -> list[str]:
    depth = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    return [line[depth:] if line[:depth].strip() == "" else line.lstrip() for line in lines]
