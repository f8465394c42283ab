"""Digests: papers known by their title, each with a `tl;dr:` and often `Details:` and `Comments:`.

Title of the paper
(a caption)
tl;dr: one sentence, or bullets below
Details:
Comments:
Relevant links:
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ingest.notes.findings import Findings
from ingest.notes.newsletter import free_lines, is_furniture, is_section, is_title
from ingest.notes.page import Page, Region, trim
from ingest.notes.titles import Title, clean_title

_SUMMARY = re.compile(r"\s*[*_]{0,3}tl\s?;\s?dr[*_]{0,3}\s*[:：]", re.IGNORECASE)
_LABEL = re.compile(
    r"\s*[*_]{0,3}(?P<name>details?|comments?|summary|contents|future trends|my comments?|thoughts|takeaways?"
    r"|(?:relevant |related |useful )?links?|see also)[*_]{0,3}\s*[:：][*_]{0,3}",
    re.IGNORECASE,
)
_LINKS = re.compile(r"\s*[*_]{0,3}(?:(?:relevant|related|useful) )?(?:links?|see also)[*_]{0,3}\s*[:：]", re.IGNORECASE)
_BULLET = re.compile(r"(?P<indent>\s*)(?:[-*+•●▪‣◦]|\d{1,3}[.)])\s+")
# A title has at most this many captions between it and its `tl;dr:`.
_CAPTIONS = 2
_CHAPTER_WORDS = 4


@dataclass(frozen=True, slots=True)
class _Start:
    """Where a paper begins: its first line, the line of its title, and the chapter that begins with it."""

    first: int
    title_line: int
    chapter: str


def read_digest(page: Page, region: Region, findings: Findings) -> None:
    """Add the papers of a region; the heading above it may be the title of the first."""
    free = free_lines(page, region, findings)
    summaries = [p for p in range(len(free)) if _SUMMARY.match(page.lines[free[p]][:100])]
    if not summaries:
        return
    lines = [page.lines[i].strip() for i in free]
    seen: dict[str, list[int]] = {}
    for position, line in enumerate(lines):
        seen.setdefault(line, []).append(position)
    starts = [_start(lines, free, seen, p, s) for p, s in zip([-1, *summaries], summaries, strict=False)]
    chapter = region.section
    for number, (position, begin) in enumerate(zip(summaries, starts, strict=True)):
        stop = region.end
        if number + 1 < len(summaries):
            following = starts[number + 1]
            stop = free[summaries[number + 1]] if following is None else following.first
        if begin is not None:
            chapter = begin.chapter or chapter
            own = clean_title(page.lines[begin.title_line])
            _add_note(page, begin.title_line, free[position], stop, own, chapter, findings)
        elif region.title and position == 0:
            _add_note(page, region.title_line, free[0], stop, region.title, "", findings)
        else:
            findings.skip(free[position] + 1, "a summary (tl;dr) without a title above it")


def _start(lines: list[str], free: list[int], seen: dict[str, list[int]], previous: int, summary: int) -> _Start | None:
    """The title above a `tl;dr:`, looked for up to the one before; `None` where there is none.

    Directly above may stand captions. Of the lines above these that read like titles the first is the title,
    unless the document has it more than once, as chapters and their entries in a table of contents are; a
    bullet or a label ends the paper before.
    """
    lowest = summary - 1
    while lowest > previous and not _may_be_title(lines[lowest]):
        if summary - lowest > _CAPTIONS or _ends_paper(lines[lowest]):
            return None
        lowest -= 1
    if lowest <= previous:
        return None
    first = lowest
    while first - 1 > previous and first > lowest - _CAPTIONS and _may_be_title(lines[first - 1]):
        above = lines[first - 1]
        if len(seen[above]) > 1 and len(above.split()) <= _CHAPTER_WORDS:
            is_chapter = seen[above][0] < first - 1
            return _Start(free[first - 1] if is_chapter else free[first], free[first], above if is_chapter else "")
        first -= 1
    return _Start(free[first], free[first], "")


def _may_be_title(line: str) -> bool:
    return is_title(line) and not _ends_paper(line) and not is_section(line)


def _ends_paper(line: str) -> bool:
    return bool(_BULLET.match(line[:100]) or _LABEL.match(line[:100]) or _SUMMARY.match(line[:100]))


def _add_note(page: Page, title_line: int, summary: int, stop: int, title: str, section: str, findings: Findings) -> None:
    text_end = next((i for i in range(summary, stop) if i in findings.taken or _ends_text(page.lines[i])), stop)
    end = text_end
    if text_end < stop and _LINKS.match(page.lines[text_end][:60]):
        after = range(text_end + 1, stop)
        end = next((i for i in after if page.lines[i].strip() and not _BULLET.match(page.lines[i][:100])), stop)
    findings.taken.update(range(title_line, end))
    findings.note(
        title_line + 1,
        Title(title),
        None,
        body=_body(page.lines[summary:text_end]),
        section=section,
        links=page.links(summary, end),
        source="heading",
    )


def _ends_text(line: str) -> bool:
    return bool(_LINKS.match(line[:60])) or is_furniture(line) or is_section(line)


def _body(lines: tuple[str, ...]) -> str:
    """The text in Markdown: `•` as items of lists, labels without anything below them left out."""
    written = [line for line in lines if line.strip()]
    kept: list[str] = []
    for position, line in enumerate(written):
        label = _LABEL.match(line[:100])
        is_last = position + 1 == len(written) or bool(_LABEL.match(written[position + 1][:100]))
        if label and is_last and not line[label.end() :].strip():
            continue
        bullet = _BULLET.match(line[:100])
        if bullet and not line.lstrip().startswith(("-", "*", "+")) and not line.lstrip()[0].isdigit():
            depth = max(0, len(bullet["indent"]) - 2)
            line = " " * depth + "- " + line[bullet.end() :]
        elif not bullet:
            line = line.strip()
        if kept and not (bullet and _BULLET.match(kept[-1][:100])):
            kept.append("")
        kept.append(line)
    return trim(kept)
