"""Newsletters pasted from the web: papers introduced by a line of authors, and repositories with their stars.

    Title of the paper | 👾 Code                        (lost in some)
    By Ada Byron, Carl Weiss et al.
    ❓Why → …
    💡Key insights → …

Numbered references at the end carry no link and are left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ingest.notes.findings import Findings
from ingest.notes.page import Page, Region, trim
from ingest.notes.titles import clean_title, split_people
from kb.errors import IdentifierError
from kb.identifiers import digest_id, normalised, repository_url, title_id
from kb.papers import Author, Mention, Note

_AUTHORS = re.compile(r"\s*[*_]{0,3}By\s+(?P<names>[^\W\d_].*)")
_LONGEST_AUTHORS = 300
# What the first lines of the text on a paper begin with.
_OPENING = re.compile(r"\s*(?:[-*•]\s+)?[^\w\s]*\s*(?:Why|Key insights?|What|How|TL;?DR|In short)\b.{0,20}?(?:→|->|⇒|:)")
_REFERENCE = re.compile(r"\s*\[\d{1,3}\]\s")
# What blog engines put around a text, and how a letter ends.
_FURNITURE = re.compile(
    r"\s*(?:top of page|bottom of page|recent posts|see all|leave a (?:reply|comment)|(?:no )?comments|share this.*"
    r"|[\d,.]+k? views?\b.*|couldn.t load comments|\d+ min read|subscribe|references:?|bibliography:?|notes:?"
    r"|up ↑|.{0,40}\bmonthly selection ends here.*)\s*",
    re.IGNORECASE,
)
#: No repository has as many: such a number was no number of stars.
MOST_STARS = 100_000_000
_REPOSITORY = re.compile(
    r"\W*(?P<name>[A-Za-z0-9][\w.-]{0,62}/[\w.-]{1,100})\s*(?:\|\s*)?(?:⭐|★"
    r"|🌟)[\s\ufe0f]*(?P<stars>\d[\d.,]*)\s*(?P<unit>[kKmM]?)\b"
)
_REMARK = "👉"
_TITLE_END = re.compile(r"[.!:;,…→]$")
_SENTENCES = re.compile(r"[.!?]\s+[A-Z]")
_LONGEST_TITLE = 200
_LONGEST_SECTION = 60


def authors_in(line: str) -> tuple[str, ...]:
    """The names in a line such as `By Ada Byron, Carl Weiss et al.`; none in any other line."""
    if len(line) > _LONGEST_AUTHORS:
        return ()
    match = _AUTHORS.fullmatch(line.strip())
    return split_people(match["names"].strip(" *_")) if match else ()


def is_furniture(line: str) -> bool:
    """Whether a line belongs to the page around a text and not to the text."""
    return len(line) <= 300 and _FURNITURE.fullmatch(line) is not None


def is_title(line: str) -> bool:
    """Whether a line reads like a title: short, one phrase, without the stop that ends a sentence."""
    text = clean_title(line)
    if not text or len(text) > _LONGEST_TITLE or _TITLE_END.search(text) or line.lstrip()[:1] in "•-*>|[":
        return False
    return not (_SENTENCES.search(text) or is_furniture(line) or authors_in(line))


@dataclass(frozen=True, slots=True)
class _Start:
    """Where a paper is introduced: the lines of its title, if that is known, and of its authors."""

    title_line: int | None
    authors_line: int


def holds_newsletter(page: Page, region: Region) -> bool:
    """Whether a region begins with the authors of a paper, its title being the heading above."""
    first = [i for i in range(region.start, min(region.end, region.start + 10)) if page.visible[i].strip()][:3]
    return bool(first) and _introduces(page, first, 0)


def read_newsletter(page: Page, region: Region, findings: Findings) -> None:
    """Add the papers and repositories of a region; the heading above it may be the title of the first."""
    free = free_lines(page, region, findings)
    _read_repositories(page, free, findings)
    starts = [_start(page, free, position) for position in range(len(free)) if _introduces(page, free, position)]
    for number, begin in enumerate(starts):
        following = starts[number + 1] if number + 1 < len(starts) else None
        stop = region.end if following is None else following.title_line or following.authors_line
        has_heading = begin.title_line is None and begin.authors_line == free[0] and bool(region.title)
        _add_note(page, begin, stop, region if has_heading else None, region.section, findings)


def free_lines(page: Page, region: Region, findings: Findings) -> list[int]:
    """The lines of a region with text that no reader has taken, code left out."""
    lines = (i for i in range(region.start, region.end) if page.visible[i].strip())
    return [i for i in lines if i not in findings.taken and i not in page.fenced]


def _introduces(page: Page, free: list[int], position: int) -> bool:
    """Whether a line names the authors of a paper: one of the two lines below begins to tell why it matters."""
    if not authors_in(page.lines[free[position]]):
        return False
    return any(_OPENING.match(page.lines[i][:100]) for i in free[position + 1 : position + 3])


def _start(page: Page, free: list[int], position: int) -> _Start:
    above = free[position - 1] if position else None
    has_title = above is not None and is_title(page.lines[above]) and not is_section(page.lines[above])
    return _Start(above if has_title else None, free[position])


def is_section(line: str) -> bool:
    """Whether a line is a chapter's name, such as `🐍 Code`: a pictogram and a few words."""
    bare = line.strip()
    if len(bare) > _LONGEST_SECTION or not bare or _OPENING.match(bare) or bare.startswith((_REMARK, "👾")):
        return False
    return ord(bare[0]) >= 0x1F300 and clean_title(bare) != bare and not _TITLE_END.search(bare)


def _ends_note(line: str) -> bool:
    return is_section(line) or is_furniture(line) or bool(_REFERENCE.match(line)) or bool(_REPOSITORY.match(line[:300]))


def _add_note(page: Page, begin: _Start, stop: int, heading: Region | None, section: str, findings: Findings) -> None:
    first = begin.title_line if begin.title_line is not None else begin.authors_line
    text_start = begin.authors_line + 1
    text_end = next((i for i in range(text_start, stop) if _ends_note(page.lines[i])), stop)
    authors = authors_in(page.lines[begin.authors_line])
    body = trim(page.lines[text_start:text_end])
    title = heading.title if heading else ""
    if begin.title_line is not None:
        title = clean_title(page.lines[begin.title_line])
    links = page.links(first, text_end)
    findings.taken.update(range(first, text_end))
    findings.notes.append(
        Note(
            source=findings.source,
            line=(heading.title_line if heading else first) + 1,
            paper_id=title_id(title) if title else _text_id(authors, body),
            title=title,
            body=body,
            authors=authors,
            section="" if heading else section,
            mentions=findings.mentions_of(links),
            title_source="heading" if title else "",
        )
    )


def _text_id(authors: tuple[str, ...], body: str) -> str:
    """The id of a paper that has lost its title: family names and the first 200 letters and digits of the text."""
    families = "".join(Author.from_name(name).family.lower() for name in authors)
    return digest_id(families + normalised(body)[:200])


def _read_repositories(page: Page, free: list[int], findings: Findings) -> None:
    for position, index in enumerate(free):
        line = page.lines[index]
        match = _REPOSITORY.match(line[:300])
        if match is None:
            continue
        try:
            target = repository_url(f"https://github.com/{match['name']}")
        except IdentifierError as error:
            findings.skip(index + 1, str(error))
            continue
        findings.taken.add(index)
        remark = line.partition(_REMARK)[2].strip()
        if not remark:
            below = free[position + 1] if position + 1 < len(free) else None
            if below is not None and _is_remark(page.lines[below], adjacent=below == index + 1):
                remark = page.lines[below].strip().removeprefix(_REMARK).strip()
                findings.taken.add(below)
        findings.mentions.append(
            Mention("repository", target, match["name"], index + 1, _stars(match["stars"], match["unit"]), remark)
        )


def _is_remark(line: str, adjacent: bool) -> bool:
    """Whether a line tells what the repository above it is."""
    bare = line.strip()
    if bare.startswith(_REMARK):
        return True
    return adjacent and bare[:1].isalnum() and not _REPOSITORY.match(line[:300]) and not is_furniture(line)


_STARS = re.compile(r"(?:⭐|★|🌟)[\s\ufe0f]*(\d[\d.,]{0,9})\s*([kKmM]?)\b")


def split_stars(text: str) -> tuple[str, int | None]:
    """A text without the number of stars in it, and that number."""
    match = _STARS.search(text)
    return (_STARS.sub("", text), _stars(match[1], match[2])) if match else (text, None)


def _stars(number: str, unit: str) -> int | None:
    """`5.2k` as 5200, `1,234` as 1234."""
    factor = {"": 1, "k": 1_000, "m": 1_000_000}[unit.lower()]
    text = number.rstrip(".,").replace(",", "." if unit and "." not in number else "")
    try:
        stars = round(float(text) * factor)
        return stars if stars < MOST_STARS else None
    except (ValueError, OverflowError):
        return None
