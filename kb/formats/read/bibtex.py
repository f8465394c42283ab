"""BibTeX and biblatex, as parsed by bibtexparser; values, cross-references and names are resolved here."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping

from bibtexparser.entrypoint import parse_string
from bibtexparser.exceptions import BlockAbortedException
from bibtexparser.middlewares.names import NameParts, parse_single_name_into_parts
from bibtexparser.model import DuplicateBlockKeyBlock, DuplicateFieldKeyBlock, Entry, ParsingFailedBlock, String

from kb.formats.read.record import OTHERS, Record, is_sure, split_names, without_markup, year_of
from kb.papers import Author, Skipped
from kb.text.latex import to_unicode

# biblatex's extended name format, as Better BibTeX writes it: `family=Berg, given=Anna, prefix=van den`.
_NAME_PART = re.compile(r'(?<![\w-])(family|given|prefix|suffix)\s*=\s*"?([^",]*)')
_FIELD = re.compile(r"[\s,]*([A-Za-z][\w:-]*)\s*=\s*")
_MONTHS = {m: m.capitalize() for m in "jan feb mar apr may jun jul aug sep oct nov dec".split()}
_MAX_PARENTS = 3  # of a cross-reference: an article in a volume in a series


def read_bibtex(text: str) -> Iterator[Record | Skipped]:
    """Records of a BibTeX file; `Skipped` has no source yet."""
    logging.getLogger("bibtexparser").setLevel(logging.CRITICAL)  # parse errors are reported as Skipped instead
    strings: dict[str, str] = dict(_MONTHS)
    found: list[tuple[Entry, dict[str, str], tuple[str, ...]] | Skipped] = []
    for block in parse_string(text, parse_stack=[]).blocks:
        line = (block.start_line or 0) + 1
        if isinstance(block, DuplicateBlockKeyBlock | DuplicateFieldKeyBlock):
            # A repeated key still is another reference; of a repeated field the first value counts.
            block = block.ignore_error_block or block
        if isinstance(block, String):
            strings[block.key.lower()] = _value(str(block.value), strings)[0]
        elif isinstance(block, Entry):
            fields, notices = _fields(block, strings)
            found.append((block, fields, notices))
        elif isinstance(block, ParsingFailedBlock):
            reason = block.error.abort_reason if isinstance(block.error, BlockAbortedException) else str(block.error)
            told = f"no BibTeX entry that can be read, a brace may be missing: {' '.join(reason.split())}"
            found.append(Skipped("", line, told))
    by_key = {item[0].key.casefold(): item[1] for item in found if not isinstance(item, Skipped)}
    for item in found:
        yield item if isinstance(item, Skipped) else _record(item[0], _with_parents(item[1], by_key), item[2])


def _value(text: str, strings: Mapping[str, str]) -> tuple[str, str]:
    """A value as BibTeX puts it together from braces, quotes, numbers and strings with `#`; and what is left over after it."""
    parts: list[str] = []
    rest = text.strip()
    while rest:
        if rest[0] in '{"':
            end = _end_of_group(rest)
            parts.append(rest[1:end])
            rest = rest[end + 1 :].lstrip()
        else:
            word = re.match(r"[^\s#,{}\"]+", rest)
            if word is None:
                break
            parts.append(strings.get(word[0].lower(), word[0]))
            rest = rest[word.end() :].lstrip()
        if not rest.startswith("#"):
            break
        rest = rest[1:].lstrip()
    return "".join(parts), rest


def _end_of_group(text: str) -> int:
    """Where the brace or quotation mark is closed with which a text begins; its end if it never is."""
    closing, depth, at = ("}" if text[0] == "{" else '"'), 0, 1
    while at < len(text):
        if text[at] == "\\":
            at += 1
        elif text[at] == closing and depth == 0:
            return at
        else:
            depth += (text[at] == "{") - (text[at] == "}")
        at += 1
    return len(text)


def _fields(block: Entry, strings: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """The entry's fields by name in small letters, and what was mended: a comma forgotten between two fields."""
    fields: dict[str, str] = {}
    notices: list[str] = []
    for field in block.fields:
        name, (value, rest) = field.key.lower(), _value(str(field.value), strings)
        fields.setdefault(name, value)
        while match := _FIELD.match(rest):
            notices.append(f"a comma is missing after {name}")
            name, (value, rest) = match[1].lower(), _value(rest[match.end() :], strings)
            fields.setdefault(name, value)
    return fields, tuple(notices)


def _with_parents(fields: dict[str, str], by_key: Mapping[str, dict[str, str]]) -> dict[str, str]:
    """The fields with those that `crossref` or `xdata` inherits; the title of the parent is the child's book title."""
    for _ in range(_MAX_PARENTS):
        parent = by_key.get(fields.get("crossref", fields.get("xdata", "")).strip().casefold())
        if parent is None or parent is fields:
            break
        inherited = {name: value for name, value in parent.items() if name not in {"title", "author", "doi", "url", "crossref"}}
        if "title" in parent:
            inherited.setdefault("booktitle", parent["title"])
        fields = inherited | {name: value for name, value in fields.items() if name not in {"crossref", "xdata"}}
        if "crossref" in parent:
            fields["crossref"] = parent["crossref"]
    return fields


def _record(found: Entry, fields: Mapping[str, str], notices: tuple[str, ...]) -> Record | Skipped:
    line = (found.start_line or 0) + 1

    def text(name: str) -> str:
        return without_markup(to_unicode(fields.get(name, "")))

    title = text("title")
    if subtitle := text("subtitle"):
        title = f"{title}: {subtitle}"
    if not title:
        return Skipped("", line, f"the entry {found.key!r} has no title")
    kind = fields.get("archiveprefix", fields.get("eprinttype", "arxiv"))
    eprint = fields.get("eprint", "") if re.search("arxiv|corr", kind, re.IGNORECASE) else ""
    arxiv = eprint or next((fields[name] for name in ("arxiv", "arxivid", "arxiv_id", "arxiv-id") if fields.get(name)), "")
    venue = text("journal") or text("journaltitle") or text("booktitle") or text("maintitle")
    names = split_names(fields.get("author", "") or fields.get("editor", ""))
    authors = tuple(map(_author, names))
    if not is_sure(authors):
        notices = (*notices, f"look at the authors: {fields.get('author', '')!r}")
    return Record(
        line,
        title,
        authors,
        year_of(fields.get("year", ""), fields.get("date", "")),
        venue,
        found.key,
        arxiv,
        fields.get("doi", ""),
        tuple(filter(None, (_address(fields.get(name, "")) for name in ("url", "howpublished")))),
        tuple(fields.get(name, "") for name in ("number", "note", "volume", "pages", "howpublished")),
        text("annote") or text("annotation"),
        tuple(tag.strip() for tag in re.split(r"[,;]", text("keywords")) if tag.strip()),
        notices,
    )


def _address(text: str) -> str:
    r"""The address in a field, out of `\url{}`; empty if the field is no address alone."""
    bare = re.sub(r"\\(?:url|href)\s*\{([^{}]*)\}(?:\{[^{}]*\})?", r"\1", text).strip().strip("{}")
    return bare.replace(r"\_", "_").replace(r"\%", "%").replace(r"\&", "&").replace(r"\#", "#") if "://" in bare[:8] else ""


def _author(name: str) -> Author:
    if name.casefold() in {"others", "et al.", "et al"}:
        return OTHERS
    if name.startswith("{") and name.endswith("}") and name.find("}") == len(name) - 1:
        return Author(to_unicode(name))
    if named := dict(_NAME_PART.findall(name)):
        family = to_unicode(f"{named.get('prefix', '')} {named.get('family', '')}")
        return Author(family, to_unicode(named.get("given", "")), to_unicode(named.get("suffix", "")))
    parts: NameParts = parse_single_name_into_parts(name, strict=False)
    family = to_unicode(" ".join([*parts.von, *parts.last]))
    return Author.of_parts(family, to_unicode(" ".join(parts.first)), to_unicode(" ".join(parts.jr)))
