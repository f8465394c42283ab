"""Plain lists of papers: one link an item, or one link a line."""

from __future__ import annotations

import re
import textwrap
from bisect import bisect_left
from dataclasses import dataclass, replace

from ingest.notes.findings import Findings
from ingest.notes.links import Link, has_hint, is_label, is_paper, pieces
from ingest.notes.newsletter import MOST_STARS, is_title
from ingest.notes.page import Item, Page, Region, trim
from ingest.notes.titles import Title, aside, clean_title, split_title

_TASK = re.compile(r"\[(?P<mark>[ xX])\]\s+")
_STARS = re.compile(r"(?:⭐|★|🌟)[\s\ufe0f]*(\d[\d.,]{0,9})\s*([kKmM]?)\b")
_BOLD = re.compile(r"(\*\*|__)(?P<title>[^*_]{2,300})\1")
# What stands between a title, its link and the remark on it.
_SEPARATORS = " \t\r\n-–—:,;|*_•·→"
_BEFORE_LINK = _SEPARATORS + "([<"
_AFTER_LINK = _SEPARATORS + ")]>."
_LONGEST_TITLE = 300


@dataclass(frozen=True, slots=True)
class _Entry:
    """The text of an item or a line that names a paper."""

    link: Link
    title: Title
    remark: str
    year: int | None
    tags: tuple[str, ...]
    links: tuple[Link, ...]


def holds_paper_list(page: Page, region: Region) -> bool:
    """Whether a list with a paper among its items stands in a region."""
    return any(_holds_paper(page, item) for item in _items(page, region))


def read_lists(page: Page, region: Region, findings: Findings) -> None:
    """Adds a note for every item and every line that begins with the link of a paper; other items' links are
    mentions."""
    for item in _items(page, region):
        if item.start not in findings.taken:
            _read_item(page, item, region.section, findings)
    for line, after, text in page.paragraphs_on(region.start, region.end):
        if line not in findings.taken and has_hint(text):
            _read_lines(page, line, after, text, region.section, findings)


def _items(page: Page, region: Region) -> list[Item] | tuple[Item, ...]:
    first = bisect_left(page.items, region.start, key=lambda item: item.start)
    return page.items[first : bisect_left(page.items, region.end, key=lambda item: item.start)]


def _holds_paper(page: Page, item: Item) -> bool:
    if has_hint(item.text) and _entry(page, item.text, item.start + 1) is not None:
        return True
    return any(_holds_paper(page, child) for child in item.children)


def _read_item(page: Page, item: Item, section: str, findings: Findings) -> None:
    entry = _entry(page, item.text, item.start + 1) if has_hint(item.text) else None
    text_end = item.text_end if item.text_end >= 0 else item.end
    if entry is not None:
        nested = trim(textwrap.dedent("\n".join(page.lines[text_end : item.end])).split("\n"))
        below = page.links(text_end, item.end)
        _add_note(item.start + 1, entry, "\n\n".join(filter(None, [entry.remark, nested])), section, below, findings)
        findings.taken.update(range(item.start, item.end))
        return
    links = page.links(item.start, text_end)
    if links:
        stars = _STARS.search(item.text)
        remark = _STARS.sub("", _source_after(item.text, links[0])).strip(_SEPARATORS) if len(links) == 1 else ""
        for mention in findings.mentions_of(links, remark=clean_title(remark)):
            is_starred = stars is not None and mention.kind == "repository"
            findings.mentions.append(replace(mention, stars=_count(stars)) if is_starred else mention)
    findings.taken.update(range(item.start, text_end))
    chapter = section
    if not links and any(_holds_paper(page, child) for child in item.children):
        chapter = clean_title(item.text).strip(" :")[:_LONGEST_TITLE]
    for child in item.children:
        _read_item(page, child, chapter, findings)


def _count(stars: re.Match[str] | None) -> int | None:
    if stars is None:
        return None
    factor = {"": 1, "k": 1_000, "m": 1_000_000}[stars[2].lower()]
    try:
        number = round(float(stars[1].rstrip(".,").replace(",", "")) * factor)
        return number if number < MOST_STARS else None
    except ValueError:
        return None


def _read_lines(page: Page, start: int, end: int, text: str, section: str, findings: Findings) -> None:
    """Reads a paragraph whose every line begins with a link, or which is a title above a link."""
    lines = text.split("\n")
    if len(lines) == 2 and is_title(lines[0]) and not has_hint(lines[0]):
        entry = _entry(page, lines[1], start + 2)
        if entry is not None and entry.link.is_bare and not entry.title.text and not entry.remark:
            findings.taken.update(range(start, end))
            _add_note(start + 1, replace(entry, title=split_title(lines[0])), "", section, [], findings)
    elif all(_begins_with_link(page, line) for line in lines):
        for number, line in enumerate(lines, start + 1):
            entry = _entry(page, line, number)
            if entry is not None:
                findings.taken.add(number - 1)
                _add_note(number, entry, entry.remark, section, [], findings)


def _begins_with_link(page: Page, line: str) -> bool:
    if not has_hint(line):
        return False
    first = next((p for p in pieces(line, 1, page.references) if isinstance(p, Link) or p.strip(_SEPARATORS)), None)
    return isinstance(first, Link)


def _add_note(line: int, entry: _Entry, body: str, section: str, below: list[Link], findings: Findings) -> None:
    findings.note(
        line,
        entry.title,
        entry.link,
        body=body,
        section=section,
        year=entry.year,
        tags=entry.tags,
        links=[*entry.links, *below],
    )


def _entry(page: Page, text: str, line: int) -> _Entry | None:
    """What an item says about a paper; `None` where it has no link to one."""
    task = _TASK.match(text)
    tags: tuple[str, ...] = ()
    if task:
        tags = ("unread",) if task["mark"] == " " else ("read",)
        text = text[task.end() :]
    found = pieces(text, line, page.references)
    links = tuple(piece for piece in found if isinstance(piece, Link))
    link = next((k for k in links if is_paper(k.href)), None)
    if link is None:
        return None
    venue, year, remark = aside(_source_after(text, link))
    remark = remark.strip().lstrip(_AFTER_LINK)
    position = next(i for i, piece in enumerate(found) if piece is link)
    before = "".join(p for p in found[:position] if isinstance(p, str)).strip(_BEFORE_LINK)
    before = "" if is_label(before) else before
    bold = _BOLD.match(text)
    if not (link.is_labelled or link.is_bare):
        title = split_title(link.text)
        remark = " ".join(filter(None, [before, remark]))
    elif bold and before.startswith(bold["title"].strip(_BEFORE_LINK)):
        # `**Title** authors, venue [paper](…)`: what is set in bold is the title, the rest is said about it.
        title = split_title(bold["title"].rstrip(" ."))
        bold_venue, bold_year, rest = aside(before[len(bold["title"]) :])
        venue, year = venue or bold_venue, year or bold_year
        remark = " ".join(filter(None, [rest.strip(_SEPARATORS), remark]))
    else:
        named = next((p for p in found[:position] if isinstance(p, Link) and not p.is_labelled and not p.is_bare), None)
        own, own_venue, own_year = _without_aside(before or (named.text if named else ""))
        venue, year = venue or own_venue, year or own_year
        title = split_title(own) if len(own) <= _LONGEST_TITLE else Title("")
        if not own and not link.is_bare and is_title(remark):
            title, remark = split_title(remark), ""
        elif not title.text and own:
            remark = " ".join(filter(None, [own, remark]))
    if remark and all(is_label(p) if isinstance(p, str) else p.is_labelled for p in pieces(remark, 1, page.references)):
        remark = ""  # nothing but further links, which are mentions
    if venue:
        title = replace(title, venue=", ".join(filter(None, [title.venue, venue])))
    return _Entry(link, title, remark, year, tags, links)


def _without_aside(text: str) -> tuple[str, str, int | None]:
    """A title without the venue and year in brackets at its end, and these."""
    start = text.rfind("(") if text.endswith(")") else -1
    venue, year, _ = aside(text[start:]) if start > 0 else ("", None, "")
    return (text[:start].strip(_BEFORE_LINK), venue, year) if venue or year else (text, "", None)


def _source_after(text: str, link: Link) -> str:
    """The Markdown behind a link, without the signs that set it apart."""
    position = text.find(link.href)
    if not link.href or position < 0:
        return ""
    end = position + len(link.href)
    if position and text[position - 1] in "(<":
        closing = text.find(")" if (not link.is_bare and text[position - 1] == "(") or "](" in text[:position] else ">", end)
        end = closing + 1 if closing >= 0 and (not link.is_bare or text[position - 1] == "<") else end
    return text[end:].lstrip(_SEPARATORS)
