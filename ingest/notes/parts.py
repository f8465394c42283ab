"""What the blocks below a heading are: entries on papers, addresses that lack a title, labelled values, and text.

block → field (`Authors: …`), head of an entry, or text → groups: a title above its links, a run of labelled values
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from ingest.notes.addresses import Address
from ingest.notes.findings import resolve
from ingest.notes.heads import Field, Head, read_field, read_head
from ingest.notes.inline import Inline, Link, has_hint
from ingest.notes.labels import is_section_word
from ingest.notes.page import Node, Page
from ingest.notes.tables import is_table, labelled_rows
from ingest.notes.titles import Title, is_titular, split_title
from kb.papers import TitleSource

_IDENTIFIER = re.compile(
    r"(?:arxiv\s*[:：]\s*)?(?P<arxiv>\d{4}\.\d{4,5}(?:v\d+)?|[a-z-]+(?:\.[A-Z]{2})?/\d{7})"
    r"|(?:doi\s*[:：]\s*)?(?P<doi>10\.\d{4,9}/\S+)",
    re.IGNORECASE,
)
_BOLD_ONLY = re.compile(r"\s*(?:[#\d.()\[\]]{0,6}\s*)?(\*\*|__)[^\n]{3,400}\1[\s.:]*")
_NUMBERED = re.compile(r"\s*[*_]{0,2}(?:\[\d{1,4}\]|\(\d{1,4}\)|\d{1,4}[.)])")
_FOOTNOTE = re.compile(r"\s*\[\^[^\]\n]{1,40}\]:\s*")
_LONGEST_TITLE = 250


@dataclass(slots=True)
class Claim:
    """An address of a paper that lacks a title of its own: `- [pdf](…)`, `Paper: …`, a bare address."""

    link: Link
    paper_id: str
    start: int
    end: int
    is_labelled: bool
    head: Head | None = None
    """What the text says besides, such as a title behind `Paper:`."""
    is_lone: bool = False
    """Whether nothing else stands there."""


@dataclass(slots=True)
class Entry:
    """A block on one paper, on the lines `start` to `end`."""

    start: int
    end: int
    head: Head
    link: Link | None
    source: TitleSource
    text_end: int
    """Where the text that names the paper ends; what follows is said of it."""
    fields: list[Field] = field(default_factory=list)
    cut: list[tuple[int, int]] = field(default_factory=list)
    """Lines in between that are other entries."""
    section: str = ""
    whole: bool = False
    """Whether the text is all of the lines, the title's included."""
    is_titled_above: bool = False
    """Whether the title stands on lines of its own, above."""


@dataclass(slots=True)
class Titling:
    """A short paragraph that reads like a title: of a paper if its address follows, else text."""

    start: int
    end: int
    head: Head
    is_bold: bool


Part = Entry | Claim | Field | Titling


class Parts:
    """Reads the blocks of one page."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def of(self, nodes: Iterable[Node]) -> list[Part]:
        """The parts of these blocks, in order; text gives none."""
        found: list[Part] = []
        for node in nodes:
            if node.kind == "item":
                found += self._item(node)
            elif node.kind == "paragraph":
                found += self._paragraph(node)
        return found

    def _inline(self, text: str, line: int) -> Inline:
        return self.page.inline(text, line)

    # Items -----------------------------------------------------------------------------------------------------------

    def _item(self, node: Node) -> list[Part]:
        text_end = node.text_end if node.text_end >= 0 else node.start + 1
        lines = node.text.split("\n")
        below = self.of(node.children)
        if len(lines) > 1 and (parts := self._labelled_lines(node, lines)):
            return [*parts, *below]
        inline = self._inline(node.text, node.text_start)
        if labelled := self._field(inline, node.start, node.end, node.text_start):
            if any(isinstance(part, Entry) for part in below) and isinstance(labelled, Field) and not labelled.value.strip():
                _set_section(below, labelled.label)
            return [labelled, *below]
        head = read_head(inline, resolve)
        if node.is_quoted and head.paper and head.title.text:
            return below
        if head.paper is not None and head.title.text:
            return [
                *self._entry(node, head, inline, text_end, below),
                *(p for p in below if isinstance(p, Entry) and _stands_alone(p)),
            ]
        if head.paper is not None:
            return [self._claim(head, node.start, node.end, inline), *below]
        if gathered := _gather(below):
            words = head.title.text or ""
            if words and not inline.links and not is_section_word(words) and len(words) <= _LONGEST_TITLE:
                claims, fields = gathered
                own = Entry(node.start, node.end, head, claims[0].link, "item", text_end, fields, is_titled_above=True)
                return [own]
            return below
        if any(isinstance(part, Entry) for part in below) and not inline.links:
            words = inline.words().strip(" :：*_")
            _set_section(below, words[:_LONGEST_TITLE])
        return below

    def _entry(self, node: Node, head: Head, inline: Inline, text_end: int, below: Sequence[Part]) -> list[Part]:
        source: TitleSource = "item"
        cut = [(p.start, p.end) for p in below if isinstance(p, Entry) and _stands_alone(p)]
        fields = [p for p in below if isinstance(p, Field)]
        entry = Entry(node.start, node.end, head, head.paper, source, text_end, fields, cut)
        return [entry, *self._further(entry, inline)]

    def _further(self, entry: Entry, inline: Inline) -> list[Entry]:
        found: list[Entry] = []
        for link in entry.head.further:
            rest = inline.source[link.end :].lstrip(" ,;:–—-|)]").strip()
            head = replace(entry.head, title=split_title(link.text), paper=link, body=rest, further=[])
            found.append(replace(entry, head=head, link=link, fields=[], cut=list(entry.cut)))
        return found

    def _claim(self, head: Head, start: int, end: int, inline: Inline) -> Claim:
        assert head.paper is not None
        where = resolve(head.paper)
        assert where is not None
        around = inline.text().strip(" \t\n.,:;()[]<>*_-–—|")
        return Claim(
            head.paper, where.paper_id, start, end, head.paper.is_labelled and not head.paper.is_bare, head, is_lone=not around
        )

    def _field(self, inline: Inline, start: int, end: int, line: int) -> Part | None:
        found = read_field(inline, line)
        if found is None:
            return None
        webs = [(k, w) for k in found.links if (w := resolve(k)) is not None]
        papers = [(k, w) for k, w in webs if w.is_paper]
        titled = [(k, w) for k, w in papers if not (k.is_labelled or k.is_bare) and is_titular(k.text)]
        if found.kind == "paper":
            value = found.value.strip("[]()<>` ")
            if not webs and (named := _IDENTIFIER.fullmatch(value)):
                href = f"arXiv:{named['arxiv']}" if named["arxiv"] else f"doi:{named['doi']}"
                link = Link(href, href, line + 1)
                if where := resolve(link):
                    return Claim(link, where.paper_id, start, end, True)
            chosen = papers or [(k, w) for k, w in webs if w.kind != "repository"]
            if chosen:
                link, where = _best(chosen)
                head = None
                if not link.is_labelled and not link.is_bare and is_titular(link.text):
                    head = Head(split_title(link.text), 80, link, "")
                elif papers and len(found.value) > 10:
                    after = read_head(inline, resolve)
                    head = after if after.score >= 74 else None
                return Claim(link, where.paper_id, start, end, True, head)
            return found
        if titled and found.kind not in {"code", "title"}:
            return None
        if found.kind == "title" and papers:
            link, where = _best(papers)
            words = (
                link.text if not (link.is_labelled or link.is_bare) else inline.text().partition(":")[2].strip() or found.value
            )
            title = split_title(words if is_titular(words) else found.value)
            return Claim(link, where.paper_id, start, end, True, Head(title, 95, link, ""))
        if found.kind in {"text"} and papers and not found.label:
            return None
        return found

    # Paragraphs -------------------------------------------------------------------------------------------------------

    def _paragraph(self, node: Node) -> list[Part]:
        lines = node.text.split("\n")
        if len(lines) > 2 and is_table(node.text):
            return self._labelled_table(node, lines)
        if len(lines) > 1 and (parts := self._labelled_lines(node, lines)):
            return parts
        if len(lines) > 1 and not node.is_quoted:
            if all(self._begins_with_link(line, node.text_start + i) for i, line in enumerate(lines)):
                return [p for i, line in enumerate(lines) for p in self._line(line, node.text_start + i, node, 1)]
            if all(_NUMBERED.match(line) or _FOOTNOTE.match(line) for line in lines):
                return [p for i, line in enumerate(lines) for p in self._line(line, node.text_start + i, node, 1)]
        return self._line(node.text, node.text_start, node, node.end - node.start)

    def _line(self, text: str, line: int, node: Node, height: int) -> list[Part]:
        """A paragraph, or one line of it that stands for itself."""
        if footnote := _FOOTNOTE.match(text):
            text = " " * footnote.end() + text[footnote.end() :]
        inline = self._inline(text, line)
        if labelled := self._field(inline, line, line + height, line):
            return [labelled]
        is_short = "\n" not in text and len(text) <= _LONGEST_TITLE + 150
        if not has_hint(text) and not (is_short and not node.is_quoted):
            return []
        head = read_head(inline, resolve)
        if head.paper is None:
            if is_short and not node.is_quoted and is_titular(head.title.text) and not head.is_prose:
                return [Titling(line, line + height, head, _BOLD_ONLY.fullmatch(text) is not None)]
            return []
        if node.is_quoted and not head.paper.is_labelled:
            return [] if head.title.text or head.is_prose else [self._claim(head, line, line + height, inline)]
        if head.title.text and not head.is_prose and (head.score >= 70 or _NUMBERED.match(text) or footnote):
            entry = Entry(line, line + height, head, head.paper, "item", line + height)
            return [entry, *self._further(entry, inline)]
        claim = self._claim(head, line, line + height, inline)
        first = inline.links[0] if inline.links else None
        if head.is_prose and not (claim.is_labelled and first is head.paper):
            return []
        if head.title.text and head.score < 70 and not head.paper.is_labelled:
            return []
        if not claim.is_labelled and not claim.is_lone and not self._begins_with_link(text, line):
            return []
        return [claim]

    def _begins_with_link(self, text: str, line: int) -> bool:
        if not has_hint(text):
            return False
        inline = self._inline(text, line)
        return bool(inline.links) and not inline.words(0, inline.links[0].start).strip(" \t-–—:,;|*_•·→>(")

    def _labelled_table(self, node: Node, lines: list[str]) -> list[Part]:
        found: list[Part] = []
        for number, label, value in labelled_rows(lines):
            line = node.text_start + number
            part = self._field(self._inline(f"{label}: {value}", line), line, line + 1, line)
            found += [part] if part else []
        return found

    def _labelled_lines(self, node: Node, lines: list[str]) -> list[Part]:
        """The lines of a paragraph one by one, where they are labelled values or links below a title; else nothing."""
        first = node.text_start
        parts: list[list[Part]] = []
        labelled = 0
        for number, text in enumerate(lines):
            inline = self._inline(text, first + number)
            if found := self._field(inline, first + number, first + number + 1, first + number):
                labelled += 1
                parts.append([found])
                continue
            head = read_head(inline, resolve) if has_hint(text) else None
            if head is not None and head.paper is not None and not head.title.text:
                claim = self._claim(head, first + number, first + number + 1, inline)
                is_links_only = claim.is_lone or claim.is_labelled
                if not is_links_only:
                    return []
                labelled += 1
                parts.append([claim])
            else:
                parts.append([])
        if not labelled:
            return []
        title = self._inline(lines[0], first)
        if not parts[0]:
            if labelled < len(lines) - 1 and labelled < 2:
                return []
            head = read_head(title, resolve)
            if not is_titular(head.title.text) or len(lines[0]) > _LONGEST_TITLE + 150:
                return []
            if head.paper is not None:
                return [
                    Entry(
                        node.start,
                        node.end,
                        head,
                        head.paper,
                        "item",
                        node.start + 1,
                        [p for ps in parts for p in ps if isinstance(p, Field)],
                    )
                ]
            if node.kind == "item":
                gathered = _gather([p for ps in parts for p in ps])
                if gathered:
                    claims, fields = gathered
                    return [Entry(node.start, node.end, head, claims[0].link, "item", first + 1, fields, is_titled_above=True)]
                return []
            parts[0] = [Titling(first, first + 1, head, _BOLD_ONLY.fullmatch(lines[0]) is not None)]
        elif labelled < 2 and len(lines) > 2:
            return []
        return [part for found in parts for part in found]


def _best(found: list[tuple[Link, Address]]) -> tuple[Link, Address]:
    order = ("arxiv", "doi", "openreview")

    def rank(pair: tuple[Link, Address]) -> int:
        scheme = pair[1].paper_id.partition(":")[0]
        return order.index(scheme) if scheme in order and not pair[1].problem else len(order)

    return min(found, key=rank)


def _set_section(parts: Iterable[Part], section: str) -> None:
    for part in parts:
        if isinstance(part, Entry) and not part.section:
            part.section = section


def _stands_alone(entry: Entry) -> bool:
    """Whether an item below a paper's is on another paper, and no remark that links one."""
    return not entry.head.is_prose and entry.link is not None and (entry.head.score >= 78 or entry.is_titled_above)


def _gather(parts: Sequence[Part]) -> tuple[list[Claim], list[Field]] | None:
    """The claims and fields of parts that are all on one paper; `None` where they are not, or name none."""
    if any(isinstance(part, (Entry, Titling)) for part in parts):
        return None
    claims = [part for part in parts if isinstance(part, Claim)]
    if not claims or (len({c.paper_id for c in claims}) > 1 and not any(c.is_labelled for c in claims)):
        return None
    if sum(c.head is not None and bool(c.head.title.text) for c in claims) > 1:
        return None
    return sorted(claims, key=rank_of_claim), [part for part in parts if isinstance(part, Field)]


def rank_of_claim(claim: Claim) -> tuple[int, int]:
    """Identifiers before pages; then by place."""
    order = ("arxiv", "doi", "openreview")
    scheme = claim.paper_id.partition(":")[0]
    return (order.index(scheme) if scheme in order else len(order), claim.start)


@dataclass(slots=True)
class Section:
    """The parts of the blocks below one heading, put together: entries, and what is left for a title above."""

    entries: list[Entry] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    fields: list[Field] = field(default_factory=list)


def assemble(parts: Sequence[Part], end: int) -> Section:
    """Put parts together that stand one below the other, up to line `end`: a title and the links below it are one entry."""
    section = Section()
    # Whether a title, a claim or nothing comes next, for every position.
    leads = [False] * (len(parts) + 1)
    claimed = False
    for index in range(len(parts) - 1, -1, -1):
        if isinstance(parts[index], Claim):
            claimed = True
        elif not isinstance(parts[index], Field):
            leads[index] = claimed if isinstance(parts[index], Titling) else True
            claimed = False
    position = 0
    while position < len(parts):
        part = parts[position]
        if isinstance(part, Titling):
            stop = position + 1
            while stop < len(parts) and isinstance(parts[stop], (Claim, Field)):
                stop += 1
            gathered = _gather(parts[position + 1 : stop])
            if gathered is not None and (part.is_bold or not is_section_word(part.head.title.text)):
                claims, fields = gathered
                following = stop
                while following < len(parts) and not leads[following] and not isinstance(parts[following], Claim):
                    following += 1
                last = part_start(parts[following]) if following < len(parts) else end
                if not part.is_bold:  # a line that only may be a title takes no more than the links below it
                    last = max(part_end(p) for p in parts[position:stop])
                section.entries.append(
                    Entry(part.start, last, part.head, claims[0].link, "item", part.end, fields, is_titled_above=True)
                )
                position = stop
                continue
            position += 1
        elif isinstance(part, Entry):
            section.entries.append(part)
            position += 1
        else:
            (section.claims if isinstance(part, Claim) else section.fields).append(part)  # type: ignore[arg-type]
            position += 1
    _split_by_titles(section, end)
    return section


def part_start(part: Part) -> int:
    """The line where a part begins."""
    return part.line if isinstance(part, Field) else part.start


def part_end(part: Part) -> int:
    """The line after a part."""
    return part.line + 1 if isinstance(part, Field) else part.end


def _split_by_titles(section: Section, end: int) -> None:
    """Make entries of runs of labelled values where each has its own `Title: …`."""
    titles = [f for f in section.fields if f.kind == "title" and is_titular(f.value)]
    own = [c for c in section.claims if c.head is not None and c.head.title.text]
    if len(titles) < 2:
        if len({c.paper_id for c in own}) > 1:
            # `Paper: [A](…)`, `Paper: [B](…)`: every one is an entry.
            for claim in own:
                assert claim.head is not None
                section.entries.append(Entry(claim.start, claim.end, claim.head, claim.link, "link", claim.end))
            section.claims = [c for c in section.claims if c not in own]
        return
    starts = [f.line for f in titles] + [end]
    for number, titled in enumerate(titles):
        first, last = starts[number], starts[number + 1]
        if number == 0:
            first = min(
                [
                    first,
                    *(c.start for c in section.claims if c.start < first),
                    *(f.line for f in section.fields if f.line < first),
                ]
            )
        fields = [f for f in section.fields if first <= f.line < last]
        claims = sorted((c for c in section.claims if first <= c.start < last), key=rank_of_claim)
        head = Head(Title(titled.value), 95, claims[0].link if claims else None, "")
        section.entries.append(
            Entry(first, last, head, claims[0].link if claims else None, "metadata", first, fields, whole=True)
        )
    section.claims, section.fields = [], []
