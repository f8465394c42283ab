"""Org and HTML as Markdown, line by line, so that a note keeps the line on which it stands."""

from __future__ import annotations

import html
import re

_ORG_HEADING = re.compile(
    r"(?P<stars>\*{1,6})\s+(?P<state>(?:TODO|DONE|NEXT|WAITING|DOING)\s+)?(?P<text>.*?)(?P<tags>\s+:[\w@:]+:)?\s*$"
)
_ORG_LINK = re.compile(r"\[\[(?P<href>[^\[\]]+)\](?:\[(?P<text>[^\[\]]+)\])?\]")
_ORG_KEY = re.compile(r"#\+(?P<key>\w+):\s*(?P<value>.*)", re.IGNORECASE)
_ORG_PROPERTY = re.compile(r"\s*:(?P<key>[\w-]+):\s+(?P<value>\S.*)")
_ORG_DRAWER = re.compile(r"\s*:(?:PROPERTIES|END|LOGBOOK):\s*$", re.IGNORECASE)
_ANCHOR = re.compile(r"<a\s[^<>]*?href\s*=\s*[\"']?([^\"'<> ]+)[\"']?[^<>]*>(.*?)(?:</a>|$)", re.IGNORECASE)
_TAGS_OF_BOOKMARK = re.compile(r"\bTAGS\s*=\s*\"([^\"]*)\"", re.IGNORECASE)
_TAG = re.compile(r"<[^<>]{0,2000}>")
_HEADING = re.compile(r"<h([1-6])\b[^<>]*>(.*?)(?:</h\1>|$)", re.IGNORECASE)
_BLOCK = re.compile(r"<(?:p|div|br|ul|ol|dl|table|tr|section|article|blockquote)\b[^<>]*/?>", re.IGNORECASE)
_EMPHASIS = re.compile(r"</?(?:b|strong)\b[^<>]*>", re.IGNORECASE)


def org_as_markdown(text: str) -> str:
    """Org's headings, links, keys, properties and code as Markdown's."""
    lines: list[str] = []
    for line in text.split("\n"):
        if heading := _ORG_HEADING.match(line):
            state = (heading["state"] or "").strip()
            tags = " ".join(f"#{tag}" for tag in (heading["tags"] or "").strip().strip(":").split(":") if tag)
            words = " ".join(filter(None, [state, _links(heading["text"]), tags]))
            lines.append(f"{'#' * len(heading['stars'])} {words}")
        elif _ORG_DRAWER.match(line):
            lines.append("")
        elif key := _ORG_KEY.match(line):
            lines.append(_org_key(key["key"].lower(), key["value"]))
        elif found := _ORG_PROPERTY.match(line):
            lines.append(f"- {found['key'].replace('_', ' ')}: {_links(found['value'])}")
        else:
            lines.append(_links(re.sub(r"^(\s*)\+\s", r"\1- ", line)))
    return "\n".join(lines)


def _org_key(key: str, value: str) -> str:
    if key in {"begin_src", "end_src", "begin_example", "end_example"}:
        return "```"
    if key == "title":
        return f"# {value}"
    return f"- {key}: {value}" if key in {"author", "filetags", "keywords", "date"} and value else ""


def _links(text: str) -> str:
    return _ORG_LINK.sub(
        lambda m: f"[{m['text']}]({m['href']})" if m["text"] else f"<{m['href']}>" if "://" in m["href"] else m["href"], text
    )


def html_as_markdown(text: str) -> str:
    """The headings, items, table rows, links and words of HTML, and a browser's bookmarks with their tags and remarks."""
    text = re.sub(r"<(script|style|head)\b.*?</\1>", lambda m: "\n" * m[0].count("\n"), text, flags=re.IGNORECASE | re.DOTALL)
    text = re.sub(r"<!--.*?-->", lambda m: "\n" * m[0].count("\n"), text, flags=re.DOTALL)
    return "\n".join(html_line(line) for line in text.split("\n"))


def html_line(line: str) -> str:
    """One line of HTML as Markdown: items, rows and summaries as items of a list."""
    tags = _TAGS_OF_BOOKMARK.search(line)
    line = _ANCHOR.sub(
        lambda m: f"[{_words(m[2])}](<{html.unescape(m[1])}>)" if _words(m[2]) else f"<{html.unescape(m[1])}>", line
    )
    line = _HEADING.sub(lambda m: f"\x00{'#' * int(m[1])} {_words(m[2])}", line)
    line = re.sub(r"<(?:li|dt|summary)\b[^<>]*>", "\x01", line, flags=re.IGNORECASE)
    line = re.sub(r"<dd\b[^<>]*>", "\x02", line, flags=re.IGNORECASE)
    line = re.sub(r"</t[dh]>\s*<t[dh]\b[^<>]*>", " — ", line, flags=re.IGNORECASE)
    line = re.sub(r"<tr\b[^<>]*>", "\x01", line, flags=re.IGNORECASE)
    line = _EMPHASIS.sub("**", line)
    kept: list[str] = []
    links: list[str] = []

    def _keep(match: re.Match[str]) -> str:
        links.append(match[0])
        return f"\ue000{len(links) - 1}\ue001"

    line = re.sub(r"\]\(<[^<>]*>\)|<https?://[^<>]*>", _keep, line)
    line = html.unescape(_TAG.sub(" ", _BLOCK.sub(" ", line)))
    line = re.sub(r"\ue000(\d+)\ue001", lambda m: links[int(m[1])], line)
    bare = " ".join(line.split())
    if "\x00" in line:
        return "#" + bare.partition("#")[2] if "#" in bare else bare
    if "\x01" in line:
        kept = [part.strip() for part in bare.replace("\x00", "").split("\x01") if part.strip()]
        suffix = "".join(f" #{tag.strip().replace(' ', '-')}" for tag in tags[1].split(",") if tag.strip()) if tags else ""
        return "- " + " ".join(kept) + suffix if kept else ""
    if "\x02" in line:
        return "  " + bare.replace("\x02", "").strip()
    return bare


def _words(markup: str) -> str:
    return " ".join(html.unescape(_TAG.sub(" ", markup)).split()).replace("[", "(").replace("]", ")")
