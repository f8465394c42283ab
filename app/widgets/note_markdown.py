"""Sanitised Markdown of notes: structure kept, images replaced by their names, everything else literal.

A note may come out of a newsletter or a stranger's page. So it is parsed, and written anew from what the parse found: text is
escaped as everywhere, addresses are checked, mathematics is what `app.widgets.markdown` takes for it. Nothing is passed through.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode

from app.widgets.markdown import DOLLARS, escape, escape_part, is_math, link, shorten, visible

_LONGEST = 30_000  # characters of a note
_PICTURE = re.compile(r"<img\b(?:[^>\"']|\"[^\"]*\"|'[^']*'){0,40}>", re.IGNORECASE)
_ALT = re.compile(r"\balt\s*=\s*(?:\"([^\"]*)\"|'([^']*)')", re.IGNORECASE)
# Stands for mathematics, or a picture of HTML's, while Markdown is parsed; private characters of Unicode, which no text keeps.
_PLACE = re.compile("\ue000(\\d+)\ue001")
_INDENT = re.compile(r"^[ \t]*")


def note_markdown(body: str) -> str:
    """The note as Markdown for Streamlit."""
    aside: list[tuple[str, str]] = []  # what was written, and the Markdown for it

    def put_aside(written: str, shown: str) -> str:
        aside.append((written, shown))
        return f"\ue000{len(aside) - 1}\ue001"

    def picture(match: re.Match[str]) -> str:
        alt = _ALT.search(match[0])
        return put_aside(match[0], _left_out(alt[1] or alt[2] or "" if alt else ""))

    def math(match: re.Match[str]) -> str:
        return put_aside(match[0], f"${match[2]}$") if is_math(match[2]) else match[0]

    text = re.sub("[\ue000\ue001\0]", "", body[:_LONGEST])
    tree = SyntaxTreeNode(_PARSER.parse(DOLLARS.sub(math, _PICTURE.sub(picture, text))))
    more = ["\\[The note is longer than what is shown here.\\]"] if len(body) > _LONGEST else []
    return "\n\n".join([*_Writer(aside).blocks(tree.children), *more])


def _left_out(name: str) -> str:
    """What stands in the place of a picture."""
    said = escape(shorten(name, 120))
    return f":gray[:material/hide_image: picture left out{': ' + said if said else ''}]"


_PARSER = MarkdownIt("commonmark", {"html": False, "maxNesting": 12}).enable(["table", "strikethrough"])


class _Writer:
    """Writes parsed Markdown anew."""

    def __init__(self, aside: Sequence[tuple[str, str]]) -> None:
        self._aside = aside

    def blocks(self, nodes: Sequence[SyntaxTreeNode]) -> list[str]:
        return [block for node in nodes for block in self._block(node) if block.strip()]

    def _block(self, node: SyntaxTreeNode) -> Iterator[str]:
        match node.type:
            case "paragraph" | "inline" | "th" | "td":
                yield self._inlines(node)
            case "heading":
                if text := self._inlines(node):
                    yield f"**{text}**"
            case "bullet_list" | "ordered_list":
                yield self._list(node)
            case "blockquote":
                inner = "\n\n".join(self.blocks(node.children))
                yield "\n".join(f"> {line}" for line in inner.split("\n"))
            case "fence" | "code_block":
                yield self._code_block(node.content)
            case "table":
                yield self._table(node)
            case _:
                yield from self.blocks(node.children)

    def _list(self, node: SyntaxTreeNode) -> str:
        items: list[str] = []
        for number, item in enumerate(node.children, start=1):
            mark = "- " if node.type == "bullet_list" else f"{number}. "
            inner = "\n\n".join(self.blocks(item.children)) or "\u00a0"
            items.append(mark + inner.replace("\n", "\n" + " " * len(mark)))
        return "\n".join(items)

    def _table(self, node: SyntaxTreeNode) -> str:
        rows = [[self._inlines(cell) or " " for cell in row.children] for part in node.children for row in part.children]
        if not rows:
            return ""
        lines = [f"| {' | '.join(row)} |" for row in rows]
        return "\n".join([lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]])

    def _code_block(self, content: str) -> str:
        lines = [_INDENT.match(line)[0] + visible(line) for line in self._as_written(content).split("\n")]  # type: ignore[index]
        fence = "`" * max(3, _longest_run("\n".join(lines)) + 1)
        return f"{fence}text\n" + "\n".join(lines).strip("\n") + f"\n{fence}"

    def _inlines(self, node: SyntaxTreeNode) -> str:
        return "".join(self._inline(child) for child in node.children).strip()

    def _inline(self, node: SyntaxTreeNode) -> str:
        match node.type:
            case "text":
                return self._text(node.content)
            case "softbreak":
                return " "
            case "hardbreak":
                return "  \n"
            case "code_inline":
                content = visible(self._as_written(node.content))
                fence = "`" * (_longest_run(content) + 1)
                return f"{fence} {content} {fence}" if content else ""
            case "strong" | "em" | "s":
                inner, sign = self._inlines(node), _SIGNS[node.type]
                return f"{sign}{inner}{sign}" if inner else ""
            case "link":
                return link(self._inlines(node), str(node.attrs.get("href", "")))
            case "image":
                return _left_out(_PLACE.sub("", node.content))
            case _:
                return self._inlines(node)

    def _text(self, text: str) -> str:
        parts = _PLACE.split(text)
        return "".join(self._aside[int(part)][1] if i % 2 else escape_part(part) for i, part in enumerate(parts))

    def _as_written(self, text: str) -> str:
        return _PLACE.sub(lambda match: self._aside[int(match[1])][0], text)


_SIGNS = {"strong": "**", "em": "*", "s": "~~"}


def _longest_run(text: str) -> int:
    """The length of the longest run of backticks."""
    return max((len(run) for run in re.findall("`+", text)), default=0)
