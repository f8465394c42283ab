"""A document as lines and as Markdown blocks, with its front matter apart."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from markdown_it import MarkdownIt
from markdown_it.token import Token

from ingest.notes.front_matter import FrontMatter
from ingest.notes.inline import Inline, Link, has_hint, scan
from ingest.notes.markup import html_line

#: A longer line is no note but data that slipped in; it is reported and not read.
LONGEST_LINE = 50_000
_FENCE = re.compile(r"\s*(?:[-*+]\s+|\d{1,9}[.)]\s+)?(?P<mark>`{3,}|~{3,})(?P<info>.*)")
_HTML_ITEM = re.compile(r"<(?:li|tr|summary|dt)\b", re.IGNORECASE)
_BULLET_CHARACTER = re.compile(r"(\s*)[•●▪‣◦](?=\s)")
# A title that somebody underlined is short; a long paragraph above `---` is a paragraph above a rule.
_LONGEST_SETEXT = 250


@dataclass(frozen=True, slots=True)
class Problem:
    """What could not be read, and on which 1-based line."""

    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading on the lines `start` to `end` (0-based, end not included)."""

    start: int
    end: int
    level: int
    text: str


@dataclass(frozen=True, slots=True)
class Region:
    """Lines below one heading that are no note on a paper themselves: `start` to `end`, 0-based."""

    start: int
    end: int
    section: str = ""
    """The heading; empty at the top of a document and below its title."""
    title: str = ""
    """The heading again, where it could be a paper's title, and its line."""
    title_line: int = 0
    is_heading: bool = False
    """Whether these are the lines of the heading itself."""


@dataclass(slots=True)
class Node:
    """A block on the lines `start` to `end` (0-based, end not included), with the blocks inside it."""

    kind: Literal["item", "paragraph", "fence"]
    start: int
    end: int
    text: str = ""
    """Of an item its first paragraph, of code what is between the fences."""
    text_start: int = 0
    text_end: int = -1
    children: list[Node] = field(default_factory=list)
    is_quoted: bool = False
    """Whether it stands in a quotation or a callout."""
    info: str = ""
    """The language of code."""


@dataclass(frozen=True, slots=True)
class Page:
    """The lines of a document and what Markdown sees in them; indexes of lines are 0-based."""

    lines: tuple[str, ...]
    """As they were written."""
    visible: tuple[str, ...]
    """The same lines, those of front matter and comments blanked, bullets as Markdown writes them."""
    meta: FrontMatter
    start: int
    """The first line after the front matter."""
    headings: tuple[Heading, ...]
    blocks: tuple[Node, ...]
    """The outermost blocks, headings left out: paragraphs, code, and the items of the outermost lists."""
    paragraphs: tuple[tuple[int, int, str], ...]
    """First line, line after the last, and text of every heading and paragraph."""
    fenced: frozenset[int]
    """Lines of code."""
    references: dict[str, Any]
    """Link definitions, as markdown-it keeps them."""
    problems: tuple[Problem, ...]
    _links: dict[int, tuple[Link, ...]] = field(default_factory=dict)
    _inlines: dict[tuple[int, int], Inline] = field(default_factory=dict)
    """The paragraphs scanned so far, by first line and length: one may be asked about many times."""

    def paragraphs_on(self, start: int, end: int) -> tuple[tuple[int, int, str], ...]:
        """The headings and paragraphs that touch the lines `start` to `end`."""
        first = bisect_right(self.paragraphs, start, key=lambda paragraph: paragraph[1])
        return self.paragraphs[first : max(first, bisect_left(self.paragraphs, end, key=lambda paragraph: paragraph[0]))]

    def blocks_on(self, start: int, end: int) -> tuple[Node, ...]:
        """The outermost blocks that begin on the lines `start` to `end`."""
        first = bisect_left(self.blocks, start, key=lambda node: node.start)
        return self.blocks[first : bisect_left(self.blocks, end, key=lambda node: node.start)]

    def inline(self, text: str, line: int) -> Inline:
        """The links and words of a text that begins on a 0-based line."""
        key = (line, hash(text))
        found = self._inlines.get(key)
        if found is None:
            found = self._inlines[key] = scan(text, line + 1, self.references)
        return found

    def links(self, start: int, end: int) -> list[Link]:
        """Every link on the lines `start` to `end`, in order."""
        found: list[Link] = []
        for line, _, text in self.paragraphs_on(start, end):
            links = self._links.get(line)
            if links is None:
                links = self._links[line] = self.inline(text, line).links if has_hint(text) else ()
            first = bisect_right(links, start, key=lambda link: link.line)
            found += links[first : bisect_right(links, end, key=lambda link: link.line)]
        return found

    def body(self, start: int, end: int) -> str:
        """The Markdown of the lines `start` to `end`, without attribute lines and without breaks at its ends."""
        return trim(self.lines[start:end])


def trim(lines: Iterable[str]) -> str:
    """The lines as one text, without Jekyll's `{: …}` lines and without blank lines or `<br/>` at the ends."""
    kept = [line.rstrip() for line in lines if not _is_attributes(line)]
    while kept and _is_empty(kept[0]):
        kept.pop(0)
    while kept and _is_empty(kept[-1]):
        kept.pop()
    if kept and not kept[0].startswith("    "):
        kept[0] = kept[0].lstrip()
    return "\n".join(kept)


def _is_attributes(line: str) -> bool:
    return (bare := line.strip()).startswith("{:") and bare.endswith("}")


def _is_empty(line: str) -> bool:
    return line.strip().lower() in {"", "<br>", "<br/>", "<br />"}


def read_page(text: str) -> Page:
    """Take a text apart into lines and blocks. Never raises: what cannot be read is among the problems."""
    problems: list[Problem] = []
    lines = re.split(r"\r\n|\r|\n", text.removeprefix("\ufeff").replace("\0", "\ufffd"))
    meta = FrontMatter.of(lines)
    start = meta.end
    problems += [Problem(line, reason) for line, reason in meta.problems]
    visible = _visible(lines, start, problems)
    parser = _markdown()
    environment: dict[str, Any] = {}
    tokens: list[Token] = []
    parser.block.parse("\n".join(visible), parser, environment, tokens)
    headings, blocks, paragraphs, fenced = _blocks(tokens)
    return Page(
        tuple(lines),
        tuple(visible),
        meta,
        start,
        headings,
        blocks,
        paragraphs,
        fenced,
        environment.get("references", {}),
        tuple(problems),
    )


def _markdown() -> MarkdownIt:
    # HTML is left as text: a `<br/>` above a heading would otherwise swallow it, as it does not in Jekyll.
    return MarkdownIt("commonmark", {"html": False, "maxNesting": 20})


def _visible(lines: list[str], start: int, problems: list[Problem]) -> list[str]:
    """The lines as Markdown is to see them: without front matter, comments and lines too long to be notes."""
    seen: list[str] = [""] * start
    last_close = max((i for i in range(start, len(lines)) if "-->" in lines[i]), default=-1)
    fence = ""
    fence_line = 0
    in_comment = False
    for index in range(start, len(lines)):
        line = lines[index]
        if len(line) > LONGEST_LINE:
            problems.append(Problem(index + 1, f"a line of {len(line):,} characters is too long to be read"))
            seen.append("")
            continue
        opening = None if in_comment else _FENCE.match(line)
        if fence:
            if opening and opening["mark"].startswith(fence) and not opening["info"].strip():
                fence = ""
            seen.append(line)
            continue
        if opening and not (opening["mark"][0] == "`" and "`" in opening["info"]):
            fence, fence_line = opening["mark"], index
            seen.append(line)
            continue
        if in_comment or "<!--" in line:
            line, in_comment = _without_comments(line, in_comment, closes_later=index < last_close)
            if "<!--" in line and not in_comment and "`" not in line:
                problems.append(Problem(index + 1, "a comment is never closed: read as text"))
        if "<" in line and _HTML_ITEM.search(line):
            line = html_line(line)
        seen.append(_BULLET_CHARACTER.sub(r"\1-", line, count=1) if _BULLET_CHARACTER.match(line) else line)
    if fence:
        problems.append(Problem(fence_line + 1, "a code fence is never closed: no paper is looked for after it"))
    return seen


def _without_comments(line: str, inside: bool, closes_later: bool) -> tuple[str, bool]:
    """The line with its comments blanked, and whether a comment goes on in the next line."""
    kept: list[str] = []
    position = 0
    backticks = 0
    while True:
        if inside:
            close = line.find("-->", position)
            if close < 0:
                return "".join(kept), True
            kept.append(" " * (close + 3 - position))
            position, inside = close + 3, False
            continue
        opening = line.find("<!--", position)
        if opening < 0:
            return "".join([*kept, line[position:]]), False
        backticks += line.count("`", position, opening)
        kept.append(line[position:opening])
        # An odd number of backticks before it: the comment is shown as code.
        if backticks % 2 or not (closes_later or line.find("-->", opening) >= 0):
            kept.append("<!--")
            position = opening + 4
        else:
            position, inside = opening, True


_Blocks = tuple[tuple[Heading, ...], tuple[Node, ...], tuple[tuple[int, int, str], ...], frozenset[int]]


def _blocks(tokens: list[Token]) -> _Blocks:
    """The headings, blocks, paragraphs and lines of code among markdown-it's tokens."""
    headings: list[Heading] = []
    top: list[Node] = []
    paragraphs: list[tuple[int, int, str]] = []
    fenced: set[int] = set()
    open_items: list[Node] = []
    quotes = 0
    heading: Token | None = None

    def add(node: Node) -> None:
        (open_items[-1].children if open_items else top).append(node)

    for token in tokens:
        start, end = token.map or (0, 0)
        match token.type:
            case "heading_open" if token.level == 0:
                heading = token
            case "blockquote_open" | "blockquote_close":
                quotes += token.nesting
            case "list_item_open":
                item = Node("item", start, end, is_quoted=quotes > 0)
                add(item)
                open_items.append(item)
            case "list_item_close":
                open_items.pop()
            case "fence" | "code_block":
                fenced.update(range(start, end))
                add(Node("fence", start, end, token.content, start, end, [], quotes > 0, token.info.strip()))
            case "inline":
                paragraphs.append((start, end, token.content))
                if heading is not None:
                    if not (heading.markup in {"-", "="} and ("\n" in token.content or len(token.content) > _LONGEST_SETEXT)):
                        begin, after = heading.map or (start, end)
                        headings.append(Heading(begin, after, int(heading.tag[1]), token.content))
                    else:
                        add(Node("paragraph", start, end, token.content, start, end))
                    heading = None
                elif open_items and open_items[-1].text_end < 0 and not open_items[-1].children:
                    open_items[-1].text, open_items[-1].text_start, open_items[-1].text_end = token.content, start, end
                else:
                    add(Node("paragraph", start, end, token.content, start, end, [], quotes > 0))
    return tuple(headings), tuple(top), tuple(paragraphs), frozenset(fenced)
