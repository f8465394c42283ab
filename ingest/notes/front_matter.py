"""Front matter: the data at the top of a file, as Obsidian, Zotero, Jekyll, Hugo, pandoc and Logseq write it.

---                                 +++                            title:: @Attention Is All You Need
title: Attention Is All You Need    title = "Attention …"          url:: https://arxiv.org/abs/1706.03762
arxiv: 1706.03762                   [params]                       authors:: [[Ashish Vaswani]]
---                                 +++
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from ingest.notes.findings import resolve
from ingest.notes.inline import Link, scan
from ingest.notes.labels import FieldKind, field_of, is_label
from ingest.notes.titles import clean_title, is_titular, split_people
from kb.errors import IdentifierError
from kb.identifiers import paper_id

_LONGEST = 20_000
_YEAR = re.compile(r"(?<!\d)(?:19[5-9]|20[0-4])\d(?!\d)")
_KEY_LINE = re.compile(r"(?P<key>[^\W\d_][\w .-]{0,40}?)\s*:(?:\s+|$)(?P<value>.*)")
_PROPERTY = re.compile(r"\s{0,4}(?:[-*]\s+)?(?P<key>[^\W\d_][\w -]{0,40})::\s*(?P<value>.*)")
# Fields that hold an identifier, and what makes an address of it.
_IDENTIFIERS = {
    "arxiv": "https://arxiv.org/abs/",
    "arxivid": "https://arxiv.org/abs/",
    "eprint": "https://arxiv.org/abs/",
    "doi": "https://doi.org/",
    "openreview": "https://openreview.net/forum?id=",
    "pmid": "https://pubmed.ncbi.nlm.nih.gov/",
}
_ADDRESSES = ("paper", "paperurl", "paperlink", "url", "link", "links", "pdf", "source", "externalurl", "href", "uri")
# What serves the program that shows the page, and says nothing of the paper.
_OF_THE_PAGE = frozenset(
    "layout permalink comments toc mathjax math katex published draft cssclass cssclasses aliases alias slug "
    "sidebar weight header image teaser authorprofile share related excerptseparator output bibliography csl editor "
    "jupyter knit id type categories category lang locale redirectfrom navorder parent haschildren modified updated "
    "created date collapsed showtoc cover thumbnail disablecomments outputs filters execute format numbersections "
    "public iscjklanguage lastmod".split()
)

# Values as they were found, and 1-based lines with what is wrong there.
_Read = tuple[object, tuple[tuple[int, str], ...]]


@dataclass(frozen=True, slots=True)
class FrontMatter:
    """The data at the top of a file; every key in small letters, every value text, a list or a mapping."""

    values: Mapping[str, Any] = field(default_factory=dict)
    end: int = 0
    """The first line after it."""
    problems: tuple[tuple[int, str], ...] = ()
    """1-based line and what could not be read there."""

    # Reading ---------------------------------------------------------------------------------------------------------

    @classmethod
    def of(cls, lines: Sequence[str]) -> FrontMatter:
        """The front matter of a file's lines: YAML between `---`, TOML between `+++`, or Logseq's `key:: value`."""
        start = next((i for i, line in enumerate(lines[:5]) if line.strip()), 0)
        first = lines[start].rstrip() if lines else ""
        if first == "---":
            return _between(lines, start, ("---", "..."), _yaml)
        if first == "+++":
            return _between(lines, start, ("+++",), _toml)
        return _properties(lines, start) if _PROPERTY.match(first) else cls()

    # What it says of a paper -----------------------------------------------------------------------------------------

    def text(self, *names: str) -> str:
        """The first of these fields that holds a text."""
        return next((found for name in names if (found := _words(self.values.get(name)))), "")

    @property
    def title(self) -> str:
        """The title, of the paper or the page; an original title before the name that a program gave the page."""
        named = [(key, value) for key, value in self.values.items() if field_of(_spaced(key)) == "title" or key == "title"]
        named.sort(key=lambda pair: pair[0] in {"title", "name"})
        title = next((words for _, value in named if (words := clean_title(_words(value).removeprefix("@")))), "")
        return title if is_titular(title) else ""

    @property
    def is_bibliographic(self) -> bool:
        """Whether it describes a paper and not only the page: authors, an identifier, a venue, or a kind of item."""
        keys = {_bare(key) for key in self.values}
        return bool(
            keys
            & {*_IDENTIFIERS, "authors", "venue", "journal", "conference", "booktitle", "itemtype", "citekey", "containertitle"}
        ) or (isinstance(self.values.get("author"), list) and any(isinstance(a, dict) for a in self.values["author"]))

    @property
    def link(self) -> Link | None:
        """The paper that the fields name: an identifier, else an address of a paper.

        Any page counts as one where authors are named as well.
        """
        by_key = {_bare(key): value for key, value in self.values.items()}
        for name, prefix in _IDENTIFIERS.items():
            value = _words(by_key.get(name))
            if not value:
                continue
            bare = re.sub(r"^(?:arxiv|doi|pmid)\s*:\s*", "", value, flags=re.IGNORECASE)
            if name == "eprint" and not re.search(r"\d{4}", bare):
                continue
            return Link(bare if "://" in bare else prefix + bare, value, 1)
        candidates = [*_ADDRESSES, *(key for key in by_key if key not in _ADDRESSES and field_of(_spaced(key)) == "paper")]
        for name in candidates:
            for value in _each(by_key.get(name)):
                if found := self._address(name, value):
                    return found
        return None

    def _address(self, name: str, value: str) -> Link | None:
        inline = scan(value, 1, {})
        for link in inline.links:
            where = resolve(link)
            if where is None:
                continue
            if where.is_paper or (self.is_bibliographic and name not in {"source"}):
                return Link(link.href, link.href, 1)
        if name in {"paper", "source", "url", "link"} and _is_identifier(value):
            return Link(f"https://arxiv.org/abs/{value}" if value[:1].isdigit() and "/" not in value else value, value, 1)
        return None

    @property
    def authors(self) -> tuple[str, ...]:
        """Names in a list, in one text, or in CSL's parts; `Byron, Ada` is turned round."""
        for key, value in self.values.items():
            name = _bare(key)
            if field_of(_spaced(key)) != "authors" or (name == "author" and isinstance(value, str) and not self.is_bibliographic):
                continue
            if found := _authors(value):
                return found
        return ()

    @property
    def year(self) -> int | None:
        """The year of publication; the date of a page counts only where the page describes a paper."""
        for key, value in self.values.items():
            name = _bare(key)
            if field_of(_spaced(key)) != "year" or (name in {"date", "published", "time"} and not self.is_bibliographic):
                continue
            if match := _YEAR.search(_words(value)):
                return int(match[0])
        return None

    @property
    def venue(self) -> str:
        """The venue."""
        found = next((_words(v) for k, v in self.values.items() if field_of(_spaced(k)) == "venue" and _words(v)), "")
        return clean_title(found) if len(found) <= 200 else ""

    @property
    def tags(self) -> tuple[str, ...]:
        """Tags and keywords, without `#` and brackets."""
        tags: list[str] = []
        for key, value in self.values.items():
            if field_of(_spaced(key)) != "tags" or _bare(key) in {"category", "categories"}:
                continue
            if isinstance(value, str):
                value = re.split(r"[,;，；、]" if re.search("[,;，；、]", value) else r"\s+(?![^\[]*\]\])", value)
            for tag in _each(value):
                tags.append(re.sub(r"^\[\[|\]\]$", "", tag.strip().lstrip("#").strip()).strip(" \"'#"))
        return tuple(dict.fromkeys(tag for tag in tags if tag))

    @property
    def remarks(self) -> str:
        """What it says besides, such as status and rating, a line a field."""
        kept: list[str] = []
        for key, value in self.values.items():
            kind: FieldKind | None = field_of(_spaced(key))
            name = _bare(key)
            if name in _OF_THE_PAGE or name in _IDENTIFIERS or name in _ADDRESSES:
                continue
            if kind in {"title", "authors", "year", "venue", "tags"}:
                continue
            words = ", ".join(_each(value))
            if words.strip():
                kept.append(f"{key}: {words.strip()}")
        return "\n".join(kept)


def _between(lines: Sequence[str], start: int, ends: tuple[str, ...], read: Callable[[Sequence[str], int], _Read]) -> FrontMatter:
    end = next((i for i in range(start + 1, len(lines)) if lines[i].rstrip() in ends), None)
    if end is None:
        if len(lines) > start + 1 and re.match(r"[A-Za-z_-]+\s*[:=](\s|$)", lines[start + 1]):
            return FrontMatter({}, 0, ((start + 1, "the front matter is never closed: read as text"),))
        return FrontMatter()
    if sum(map(len, lines[start + 1 : end])) > _LONGEST:
        return FrontMatter({}, end + 1, ((1, "the front matter is too long to be read"),))
    values, problems = read(lines[start + 1 : end], start + 2)
    if values is None or values == "":
        return FrontMatter({}, end + 1, problems)
    if not isinstance(values, dict):
        return FrontMatter({}, end + 1, (*problems, (start + 1, "the front matter holds no `key: value` pairs")))
    return FrontMatter({str(key).lower(): value for key, value in values.items()}, end + 1, problems)


def _yaml(lines: Sequence[str], first: int) -> _Read:
    try:
        # BaseLoader leaves scalars as text: `arxiv: 2005.14160` must not lose its zero.
        return yaml.load("\n".join(lines), Loader=yaml.BaseLoader), ()
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + first if error.problem_mark else 1
        reason = f"the front matter is no YAML: {error.problem}"
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        line, reason = 1, f"the front matter is no YAML: {type(error).__name__}"
    values = _line_by_line(lines)
    return values, ((line, reason + ("; read line by line" if values else "")),)


def _line_by_line(lines: Sequence[str]) -> dict[str, Any]:
    """The fields that can be read where the whole is no YAML: `key: value`, and lists of `- value`."""
    values: dict[str, Any] = {}
    key = ""
    for line in lines:
        if match := _KEY_LINE.match(line):
            key = match["key"].strip().lower()
            value = match["value"].strip()
            if value[:1] == "[" and value[-1:] == "]" and not value.startswith("[["):
                values[key] = [part.strip(" \"'") for part in value[1:-1].split(",")]
            elif not value.startswith(("&", "*", "[", "{")):
                values[key] = value.strip("\"'")
        elif key and (item := re.match(r"\s*-\s+(.+)", line)):
            before = values.get(key)
            values[key] = [*(before if isinstance(before, list) else [before] if before else []), item[1].strip(" \"'")]
    return values


def _toml(lines: Sequence[str], first: int) -> _Read:
    try:
        found = tomllib.loads("\n".join(lines))
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        where = re.search(r"line (\d+)", str(error))
        values = _line_by_line([re.sub(r"^(\s*[\w-]+)\s*=\s*", r"\1: ", line) for line in lines])
        return values, ((first - 1 + int(where[1]) if where else 1, f"the front matter is no TOML: {error}; read line by line"),)
    flat: dict[str, Any] = {}
    for key, value in found.items():
        if isinstance(value, dict):  # [taxonomies], [extra], [params]
            flat |= {inner: _plain_value(v) for inner, v in value.items() if inner not in flat}
        else:
            flat[key] = _plain_value(value)
    return flat, ()


def _plain_value(value: object) -> object:
    """A value with every scalar as text."""
    if isinstance(value, list):
        return [_plain_value(one) for one in value]
    if isinstance(value, dict):
        return {str(key): _plain_value(one) for key, one in value.items()}
    return str(value)


def _properties(lines: Sequence[str], start: int) -> FrontMatter:
    """Logseq's properties of a page: the lines `key:: value` at its top."""
    values: dict[str, Any] = {}
    end = start
    while end < len(lines) and (match := _PROPERTY.match(lines[end])):
        if end > start and lines[end].lstrip()[:1] in "-*":
            break
        values[match["key"].strip().lower()] = match["value"].strip()
        end += 1
    return FrontMatter(values, end)


def _bare(key: str) -> str:
    return re.sub(r"[\s_-]", "", key.lower())


def _spaced(key: str) -> str:
    return key.replace("_", " ").replace("-", " ")


def _words(value: object) -> str:
    """A value as one text; of a list the first."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, list):
        return next((found for one in value if (found := _words(one))), "")
    if isinstance(value, dict):
        return next((found for one in value.values() if (found := _words(one))), "")
    return "" if value is None else str(value)


def _each(value: object) -> list[str]:
    if isinstance(value, list):
        return [words for one in value if (words := _words(one))]
    words = _words(value)
    return [words] if words else []


def _is_identifier(text: str) -> bool:
    try:
        return paper_id(text).startswith(("arxiv:", "doi:"))
    except IdentifierError:
        return False


def _authors(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        value = re.sub(r"\[\[|\]\]", "", value)
        if " and " in value and ", " in value and value.count(",") <= value.count(" and ") + 1:
            value = value.split(" and ")  # as BibTeX writes them
        elif ";" in value:
            value = value.split(";")
        else:
            return split_people(value[:5_000]) if value.strip() else ()
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list):
        return ()
    names = list(_names(value))
    return tuple(_in_reading_order(name) for name in names if name and not is_label(name))


def _names(values: Iterable[Any]) -> Iterable[str]:
    for value in values:
        if isinstance(value, dict):
            parts = {str(key).lower(): _words(one) for key, one in value.items()}
            family = " ".join(
                filter(None, [parts.get("non-dropping-particle", ""), parts.get("family") or parts.get("last", "")])
            )
            given = parts.get("given") or parts.get("first", "")
            yield " ".join(filter(None, [given, family])) or parts.get("name", "") or parts.get("literal", "")
        elif isinstance(value, str):
            yield " ".join(re.sub(r"\[\[|\]\]", "", value).split("|")[-1].strip("[] ").split())


def _in_reading_order(name: str) -> str:
    family, _, given = name.partition(", ")
    return f"{given} {family}" if given and "," not in given else name
