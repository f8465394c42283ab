"""The inline Markdown of a paragraph: its links with their places, and its words without markup.

Markdown libraries give no places, and none reads `[Title] (url)`, `[[wikilinks]]` and bare `arXiv 2106.04554` as notes have them.
Every scan is linear in the length of the text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ingest.notes.labels import is_label


@dataclass(frozen=True, slots=True)
class Link:
    """An address as it was written, the words that were linked, and the 1-based line."""

    href: str
    text: str
    line: int
    start: int = field(default=0, compare=False)
    """Where the link begins in its paragraph, and where it ends."""
    end: int = field(default=0, compare=False)

    @property
    def is_bare(self) -> bool:
        """Whether the address itself stands in the text."""
        return self.text == self.href

    @property
    def is_labelled(self) -> bool:
        """Whether its words only say what kind of thing it is, such as `paper`, and so are no title."""
        return is_label(self.text)


@dataclass(frozen=True, slots=True)
class Inline:
    """A paragraph, its links in order, and the places of what is no text."""

    source: str
    links: tuple[Link, ...]
    cuts: tuple[tuple[int, int, str], ...]
    """Start, end and plain words of links, code, formulas, images and tags, in order."""
    wikilinks: tuple[tuple[int, int, str], ...] = ()
    """Start, end and words of `[[wikilinks]]`."""

    def words(self, start: int = 0, end: int | None = None) -> str:
        """The plain words between two places: links by their words, without emphasis; formulas stay as `$…$`."""
        end = len(self.source) if end is None else end
        parts: list[str] = []
        position = start
        for begin, after, words in self.cuts:
            if after <= position:
                continue
            if begin >= end:
                break
            if begin < position:  # a place inside of a link
                position = after
                continue
            parts += [_plain(self.source[position:begin]), words]
            position = after
        parts.append(_plain(self.source[position:end]) if position < end else "")
        return "".join(parts)

    def pieces(self) -> list[str | Link]:
        """Plain words and links in turn."""
        found: list[str | Link] = []
        position = 0
        for link in self.links:
            if words := self.words(position, link.start):
                found.append(words)
            found.append(link)
            position = link.end
        if words := self.words(position):
            found.append(words)
        return found

    def text(self, start: int = 0, end: int | None = None) -> str:
        """The words between two places that are in no link."""
        end = len(self.source) if end is None else end
        parts: list[str] = []
        position = start
        starts = {link.start for link in self.links}
        for begin, after, words in self.cuts:
            if after <= position or begin >= end:
                continue
            parts += [_plain(self.source[position:begin]), " " if begin in starts else words]
            position = max(position, after)
        parts.append(_plain(self.source[position:end]) if position < end else "")
        return "".join(parts)

    def visible(self) -> str:
        """The source with links, images and tags blanked, place by place: what separators and quotes are looked for in."""
        found = self.source
        parts: list[str] = []
        position = 0
        for begin, after, _ in self.cuts:
            if found[begin] in "`$" or found.startswith(("<kbd", "</kbd"), begin):
                continue
            parts += [found[position:begin], "\ue000" * (after - begin)]
            position = after
        return "".join([*parts, found[position:]])


_EMPHASIS = re.compile(r"(?<![\w\\])_{1,3}(?=\S)|(?<=[^\s\\_])_{1,3}(?!\w)|(?<!\\)\*{1,3}|~~|==(?=\S)|(?<=\S)==")
_ESCAPED = re.compile(r"\\([!-/:-@\[-`{-~])")


def _plain(text: str) -> str:
    if not text:
        return ""
    if "_" in text or "*" in text or "~" in text or "=" in text:
        text = _EMPHASIS.sub("", text)
    return _ESCAPED.sub(r"\1", text) if "\\" in text else text


_ADDRESS_CHARACTER = r"[^\s<>\"`{}|\\^，。；：、（）【】《》「」！？]"
_HOSTS_WITHOUT_SCHEME = (
    r"(?:arxiv\.org|openreview\.net|doi\.org|github\.com|gitlab\.com|huggingface\.co|aclanthology\.org|dl\.acm\.org)"
)
_ARXIV_NUMBER = r"(?:\d{4}\.\d{4,5}|[a-z-]{2,12}(?:\.[a-z]{2})?/\d{7})(?:v\d{1,3})?(?!\d)"
_SPECIAL = re.compile(
    r"(?P<escape>\\[!-/:-@\[-`{-~])"
    r"|(?P<code>`+)"
    r"|(?P<math>\$\$[^$\n]{1,500}\$\$|\$(?=\S)[^$\n]{1,500}(?<=\S)\$(?!\d))"
    r"|(?P<bracket>!?\[)"
    rf"|<(?P<auto>https?://[^\s<>]+|(?:arxiv|doi):[^\s<>]+)>"
    r"|(?P<anchor><a\s[^<>]{0,500}?href\s*=\s*[\"'](?P<href>[^\"'<>]*)[\"'][^<>]{0,500}>)"
    r"|(?P<tag></?[a-z][a-z0-9]*(?:\s[^<>]{0,500})?/?>)"
    rf"|(?P<bare>https?://{_ADDRESS_CHARACTER}+"
    rf"|(?<![\w./@:-])(?:www\.)?{_HOSTS_WITHOUT_SCHEME}/{_ADDRESS_CHARACTER}+"
    rf"|(?<![\w/.])arxiv(?:\s?[:：]\s?|\s+(?:preprint\s+)?(?:arxiv\s?[:：]\s?)?){_ARXIV_NUMBER}"
    rf"|(?<![\w/.])doi(?:\s?[:：]\s?|\s){{1,2}}10\.\d{{4,9}}/{_ADDRESS_CHARACTER}+"
    rf"|(?<![\w/.])pmid\s?[:：]\s?\d{{5,9}}\b)",
    re.IGNORECASE,
)
_CITED_ARXIV = re.compile(r"arxiv\s+(?:preprint\s+)?(?:arxiv\s?[:：]\s?)?(?=[\da-z])", re.IGNORECASE)
_TITLE_IN_DESTINATION = re.compile(r"""\s+(?:"[^"]*"|'[^']*'|\([^()]*\))\s*$""")
_ANCHOR_END = re.compile(r"</a\s*>", re.IGNORECASE)
_TAGS = re.compile(r"<[^<>]*>")
_CITE_KEY = re.compile(r"@[\w:.+/-]+")
#: What only a link can begin with; a text without any of these is not scanned.
_HINTS = ("]", "://", "arxiv", "doi", ".com/", ".org/", ".net/", "<a", "pmid")


def has_hint(text: str) -> bool:
    """Whether a text may hold a link at all, which is much quicker to tell than which."""
    lowered = text.lower()
    return any(hint in lowered for hint in _HINTS)


def scan(text: str, line: int, references: Mapping[str, Any]) -> Inline:
    """The links and plain words of a paragraph that begins on a 1-based line."""
    return _Scanner(text, line, references).scan()


class _Scanner:
    def __init__(self, text: str, line: int, references: Mapping[str, Any]) -> None:
        self.text = text
        self.line = line
        self.references = references
        self.links: list[Link] = []
        self.cuts: list[tuple[int, int, str]] = []
        self.wikilinks: list[tuple[int, int, str]] = []
        self.closing = _matching_brackets(text) if "[" in text else {}
        self._counted = (0, line)

    def scan(self) -> Inline:
        text = self.text
        position = 0
        missing: set[int] = set()  # lengths of backtick runs that are never closed
        while match := _SPECIAL.search(text, position):
            start, position = match.span()
            kind = match.lastgroup
            if kind == "href":
                kind = "anchor"
            if kind == "code":
                position = self._code(start, position, missing)
            elif kind == "math":
                self.cuts.append((start, position, "$" + match[0].strip("$") + "$"))
            elif kind == "bracket":
                position = self._bracket(start, position)
            elif kind == "auto":
                self._add(match["auto"], match["auto"], start, position)
            elif kind == "anchor":
                end = _ANCHOR_END.search(text, position, position + 2000)
                stop = end.start() if end else position
                self._add(
                    match["href"].strip(),
                    " ".join(_TAGS.sub(" ", text[position:stop]).split()),
                    start,
                    end.end() if end else position,
                )
                position = end.end() if end else position
            elif kind == "tag":
                self.cuts.append((start, position, " " if match[0][1:3].lower() in {"br", "p>", "li", "td"} else ""))
            elif kind == "bare":
                found = without_trailing(match[0])
                position = start + len(found)
                self._add(found, found, start, position)
        return Inline(text, tuple(self.links), tuple(self.cuts), tuple(self.wikilinks))

    def _add(self, href: str, words: str, start: int, end: int) -> None:
        href = href.replace("：", ":") if href[:6].lower() == "arxiv：" else href
        place, line = self._counted
        line += self.text.count("\n", place, start)
        self._counted = (start, line)
        if cited := _CITED_ARXIV.match(href):
            href = words = "arXiv:" + href[cited.end() :]
        self.links.append(Link(href, words, line, start, end))
        self.cuts.append((start, end, words))

    def _code(self, start: int, after: int, missing: set[int]) -> int:
        """Code names no link: it goes out as words of its own."""
        run = after - start
        if run in missing:
            return after
        end = self.text.find("`" * run, after)
        while end >= 0 and self.text[end + run : end + run + 1] == "`":
            beyond = end
            while self.text[beyond : beyond + 1] == "`":
                beyond += 1
            end = self.text.find("`" * run, beyond)
        if end < 0:
            missing.add(run)
            return after
        self.cuts.append((start, end + run, self.text[after:end].strip()))
        return end + run

    def _bracket(self, start: int, after: int) -> int:
        """A link, image or wikilink that begins with `[`; anything else is text."""
        text = self.text
        close = self.closing.get(after - 1)
        is_image = text[start] == "!"
        if close is None:
            return after
        inner = text[after:close]
        beyond = close + 1
        if text[beyond : beyond + 1] == "(":
            found = self._destination(beyond)
            if found is not None:
                href, end = found
                self._linked(href, inner, start, end, is_image=is_image)
                return end
        if is_image:
            if inner[:1] == "[" and inner[-1:] == "]":  # ![[an embedded page]]
                self.cuts.append((start, beyond, ""))
                return beyond
            return after
        if inner[:1] == "[" and inner[-1:] == "]" and self.closing.get(after) == close - 1 and "](" not in inner:
            self._wikilink(inner[1:-1], start, beyond)
            return beyond
        if text[beyond : beyond + 2] in {" (", "\n("}:  # [Title] (https://…)
            found = self._destination(beyond + 1)
            if found is not None and re.match(r"https?://|www\.", found[0]):
                self._linked(found[0], inner, start, found[1])
                return found[1]
        label = inner
        end = beyond
        if text[beyond : beyond + 1] == "[" and (second := self.closing.get(beyond)) is not None:
            label, end = text[beyond + 1 : second] or inner, second + 1
        reference = self.references.get(" ".join(label.split()).casefold()) or self.references.get(
            " ".join(label.split()).upper()
        )
        if reference and not inner.startswith("^"):
            self._linked(str(reference["href"]), inner, start, end)
            return end
        return after

    def _destination(self, opening: int) -> tuple[str, int] | None:
        """The address in round brackets that open there, and the place behind them."""
        text = self.text
        position = opening + 1
        while text[position : position + 1] in {" ", "\n"}:
            position += 1
        if text[position : position + 1] == "<":
            end = text.find(">", position)
            close = text.find(")", end) if 0 <= end - position < 2000 else -1
            return (text[position + 1 : end], close + 1) if close >= 0 and "\n" not in text[position:end] else None
        depth = 1
        place = position
        limit = min(len(text), position + 3000)
        while place < limit:
            character = text[place]
            if character == "\\":
                place += 1
            elif character == "(":
                depth += 1
            elif character == ")":
                depth -= 1
                if depth == 0:
                    break
            place += 1
        else:
            return None
        inner = text[position:place].strip()
        if titled := _TITLE_IN_DESTINATION.search(inner):
            inner = inner[: titled.start()]
        if re.search(r"\s", inner):
            # An address has no blanks; a file's name may. Anything else is words in brackets.
            first = inner.split()[0]
            if not (first.startswith(("http://", "https://")) or re.search(r"\.(?:md|pdf|html?|txt)$", inner)):
                return None
            inner = first if first.startswith("http") else inner
        return re.sub(r"\\([()])", r"\1", inner), place + 1

    def _linked(self, href: str, inner: str, start: int, end: int, *, is_image: bool = False) -> None:
        if is_image:
            self.cuts.append((start, end, ""))
            return
        words = scan(inner, 1, {}).words() if any(c in inner for c in "[`<$!*_\\") else inner
        words = " ".join(words.split())
        if words[:1] + words[-1:] == "[]" and "]" not in words[1:-1]:
            words = words[1:-1].strip()  # `[[Paper]](…)` shows its brackets
        self._add(href, words, start, end)

    def _wikilink(self, inner: str, start: int, end: int) -> None:
        """`[[page|words]]`: words only, since it leads to no web page; a citation key is no words."""
        page, bar, alias = inner.partition("|")
        words = (alias if bar else page.partition("#")[0]).strip()
        if not bar:
            words = words.rpartition("/")[2].removeprefix("@") if not _CITE_KEY.fullmatch(words) else ""
        self.cuts.append((start, end, words))
        self.wikilinks.append((start, end, words))


def _matching_brackets(text: str) -> dict[int, int]:
    """Place of the closing bracket by that of the opening one; escaped ones and those in code do not count."""
    closing: dict[int, int] = {}
    stack: list[int] = []
    for match in re.finditer(r"\\.|[\[\]]", text):
        place = match.start()
        if match[0] == "[":
            stack.append(place)
        elif match[0] == "]" and stack:
            closing[stack.pop()] = place
    return closing


_SENTENCE_END = ".,;:!?'’”\"*_~"


def without_trailing(text: str) -> str:
    """An address without the punctuation of the sentence around it; brackets stay where they are balanced."""
    text = text.rstrip(_SENTENCE_END)
    for opening, closing in ("()", "[]"):
        surplus = text.count(closing) - text.count(opening)
        while surplus > 0 and text.endswith(closing):
            text = text[:-1].rstrip(_SENTENCE_END)
            surplus -= 1
    return text
