"""Bibliography reader: BibTeX, RIS, CSL-JSON and Zotero's CSV, parsed into entries of a reading list."""

from __future__ import annotations

import csv
import io
import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rispy
from bibtexparser.entrypoint import parse_string
from bibtexparser.exceptions import BlockAbortedException
from bibtexparser.library import Library as BibtexLibrary
from bibtexparser.middlewares.names import NameParts, parse_single_name_into_parts, split_multiple_persons_names
from bibtexparser.model import DuplicateBlockKeyBlock, DuplicateFieldKeyBlock, ParsingFailedBlock
from bibtexparser.model import Entry as BibtexEntry

from kb.errors import IdentifierError, SourceError
from kb.identifiers import paper_id, title_id
from kb.library import Choices, Entry, Library, resolve_entries
from kb.papers import Author, Skipped
from kb.store import Catalogue
from kb.text.latex import to_unicode

_ARXIV_IN_TEXT = re.compile(
    r"(?:arxiv[:.\s]\s*|abs/|arxiv\.org/\w+/)([a-z-]+(?:\.[A-Z]{2})?/\d{7}|\d{4}\.\d{4,5})", re.IGNORECASE
)
_YEAR = re.compile(r"(?:19|20)\d{2}")
_ARXIV_VENUES = re.compile(r"arxiv|corr\b", re.IGNORECASE)
_MAX_BYTES = 200 << 20
_CSV_START = re.compile(r'"?Key"?,"?Item Type"?,')
# biblatex's extended name format, as Better BibTeX writes it: `family=Berg, given=Anna, prefix=van den`.
_NAME_PART = re.compile(r'(?<![\w-])(family|given|prefix|suffix)\s*=\s*"?([^",]*)')
_CITATION_KEY = re.compile(r"^Citation Key:[ \t]*(\S+)", re.MULTILINE)
_RIS_START = re.compile(r"^\ufeff?\s*TY  ?- ", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Bibliography:
    """Parsed bibliography file."""

    entries: tuple[Entry, ...]
    keys: tuple[tuple[str, str], ...]
    """Pairs of canonical id and citation key in the file."""
    skipped: tuple[Skipped, ...]


def read_bibliography(path: Path) -> Bibliography:
    """Read a BibTeX, RIS, CSL-JSON or Zotero CSV file; the format is detected from its content.

    A reference is identified by arXiv id, DOI, address or title, in this order. References without a title, or that cannot be
    parsed, are in `skipped`. Raises SourceError if the file is in none of the four formats, too large or unreadable.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise SourceError(f"{path} is larger than {_MAX_BYTES >> 20} MiB; a bibliography of that size is none.")
        data = path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}.") from error
    return parse_bibliography(data, str(path))


def parse_bibliography(data: bytes, source: str) -> Bibliography:
    """Parse a bibliography from bytes; `source` names it in messages.

    Raises SourceError if it is no UTF-8 or in none of the four formats.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceError(f"{source}: byte {error.start} is no UTF-8. Export again with UTF-8 as the encoding.") from None
    if text.lstrip()[:1] in {"[", "{"}:
        read = _read_csl(text, source)
    elif _CSV_START.match(text):
        read = _read_csv(text, source)
    elif _RIS_START.match(text):
        read = _read_ris(text, source)
    elif re.search(r"^\s*@\w+\s*[{(]", text, re.MULTILINE):
        read = _read_bibtex(text, source)
    else:
        raise SourceError(
            f"{source} is neither BibTeX nor RIS nor CSL-JSON nor Zotero's CSV. In Zotero: Export Library, then one of these."
        )
    entries: dict[str, Entry] = {}
    keys: list[tuple[str, str]] = []
    skipped: list[Skipped] = []
    for item in read:
        if isinstance(item, Skipped):
            skipped.append(item)
            continue
        entry, key = item
        if entry.paper_id not in entries and key:
            keys.append((entry.paper_id, key))
        entries.setdefault(entry.paper_id, entry)
    return Bibliography(tuple(entries.values()), tuple(keys), tuple(skipped))


def add_to_list(found: Bibliography, name: str, library: Library, choices: Choices, catalogue: Catalogue | None) -> int:
    """Add the references to a list, created if missing, under the catalogue's identifiers; returns the number of new entries.

    Stores the file's citation keys for their papers. Raises QueryError if the name is empty or over 100 characters.
    """
    entries = resolve_entries(found.entries, catalogue)
    names = {before.paper_id: after.paper_id for before, after in zip(found.entries, entries, strict=True)}
    if " ".join(name.split()).casefold() not in {x.name.casefold() for x in library.lists()}:
        library.create(name)
    added = library.add(name, entries)
    choices.citation_keys([(names[identifier], key) for identifier, key in found.keys])
    return added


_Parsed = Iterator[tuple[Entry, str] | Skipped]


# BibTeX ------------------------------------------------------------------------------------------------------------


def _read_bibtex(text: str, source: str) -> _Parsed:
    logging.getLogger("bibtexparser").setLevel(logging.CRITICAL)  # parse errors are reported as Skipped instead
    library: BibtexLibrary = parse_string(text)
    for block in library.blocks:
        line = (block.start_line or 0) + 1
        if isinstance(block, DuplicateBlockKeyBlock | DuplicateFieldKeyBlock):
            # A repeated key still is another reference; of a repeated field the first value counts.
            found = block.ignore_error_block
            if isinstance(found, BibtexEntry):
                for field in found.fields:  # bibtexparser leaves the delimiters of such an entry in place
                    field.value = re.sub(r'\A(?:\{(.*)\}|"(.*)")\Z', r"\1\2", str(field.value).strip(), flags=re.DOTALL)
                yield _bibtex_entry(found, source, line)
        elif isinstance(block, ParsingFailedBlock):
            reason = block.error.abort_reason if isinstance(block.error, BlockAbortedException) else str(block.error)
            yield Skipped(source, line, f"no BibTeX entry that can be read, a brace may be missing: {' '.join(reason.split())}")
        elif isinstance(block, BibtexEntry):
            yield _bibtex_entry(block, source, line)


def _bibtex_entry(found: BibtexEntry, source: str, line: int) -> tuple[Entry, str] | Skipped:
    fields: dict[str, str] = {}
    for field in found.fields:
        fields.setdefault(field.key.lower(), str(field.value))
    text: Callable[[str], str] = lambda name: to_unicode(fields.get(name, ""))  # noqa: E731
    title = text("title")
    if not title:
        return Skipped(source, line, f"the entry {found.key!r} has no title")
    eprint = fields.get("eprint", "")
    if not _ARXIV_VENUES.search(fields.get("archiveprefix", fields.get("eprinttype", "arxiv"))):
        eprint = ""
    venue = text("journal") or text("journaltitle") or text("booktitle")
    identifier = _identify(
        arxiv=eprint,
        doi=fields.get("doi", ""),
        addresses=(fields.get("url", ""), fields.get("howpublished", "")),
        texts=(fields.get("number", ""), fields.get("journal", ""), fields.get("note", ""), fields.get("volume", "")),
        title=title,
    )
    tags = [tag.strip() for tag in re.split(r"[,;]", text("keywords")) if tag.strip()]
    entry = Entry(
        identifier,
        title,
        tuple(_bibtex_authors(fields.get("author", ""))),
        _year(fields.get("year", "") or fields.get("date", "")),
        "" if _ARXIV_VENUES.search(venue) else venue,
        text("annote") or text("annotation"),
        tuple(tags),
    )
    return entry, found.key


def _bibtex_authors(text: str) -> Iterator[Author]:
    for name in split_multiple_persons_names(" ".join(text.split())):
        if name.casefold() == "others":
            continue
        if name.startswith("{") and name.endswith("}"):
            yield Author(to_unicode(name))
            continue
        if named := dict(_NAME_PART.findall(name)):
            family = to_unicode(f"{named.get('prefix', '')} {named.get('family', '')}")
            yield Author(family, to_unicode(named.get("given", "")), to_unicode(named.get("suffix", "")))
            continue
        parts: NameParts = parse_single_name_into_parts(name, strict=False)
        family = to_unicode(" ".join([*parts.von, *parts.last]))
        yield Author(family, to_unicode(" ".join(parts.first)), to_unicode(" ".join(parts.jr)))


# RIS -----------------------------------------------------------------------------------------------------------------


def _read_ris(text: str, source: str) -> _Parsed:
    starts = [match.start() for match in re.finditer(r"^TY  ?- ", text, re.MULTILINE)]
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        line = text.count("\n", 0, start) + 1
        try:
            (found,) = rispy.loads(text[start:end], skip_unknown_tags=False)
        except (ValueError, OSError, KeyError) as error:
            yield Skipped(source, line, f"no RIS reference that can be read: {error}")
            continue
        yield _ris_entry(found, source, line)


def _ris_entry(found: dict[str, Any], source: str, line: int) -> tuple[Entry, str] | Skipped:
    title = _text(found.get("title") or found.get("primary_title"))
    if not title:
        return Skipped(source, line, "the reference has no title (TI)")
    venue = _text(found.get("secondary_title") or found.get("journal_name") or found.get("alternate_title3"))
    authors = found.get("authors") or found.get("first_authors") or []
    texts = [_text(found.get(name)) for name in ("number", "note", "accession_number", "custom7", "secondary_title")]
    identifier = _identify(
        arxiv="",
        doi=_text(found.get("doi")),
        addresses=[_text(url) for url in found.get("urls") or [found.get("url")]],
        texts=[*texts, *map(_text, found.get("unknown_tag", {}).get("M3", []))],
        title=title,
    )
    entry = Entry(
        identifier,
        title,
        tuple(_inverted_name(_text(name)) for name in authors if _text(name)),
        _year(_text(found.get("year") or found.get("publication_year") or found.get("date"))),
        "" if _ARXIV_VENUES.search(venue) else venue,
        "\n\n".join(_text(note) for note in found.get("notes", []) if not str(note).startswith(("Comment:", "arXiv:", "Code:"))),
        tuple(_text(word) for word in found.get("keywords", [])),
    )
    return entry, _text(found.get("id"))


def _inverted_name(name: str) -> Author:
    """Parse `Family, Given, Suffix`; a name without a comma is an organisation or a single name."""
    family, _, rest = name.partition(",")
    given, _, suffix = rest.partition(",")
    return Author(family.strip(), given.strip(), suffix.strip())


# CSL-JSON ------------------------------------------------------------------------------------------------------------


def _read_csl(text: str, source: str) -> _Parsed:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{source} is no JSON: {error}.") from None
    items = found.get("items", [found]) if isinstance(found, dict) else found
    if not isinstance(items, list):
        raise SourceError(f"{source} holds no list of references. Export again as CSL-JSON.")
    for number, item in enumerate(items, start=1):
        if not isinstance(item, dict) or not _text(item.get("title")):
            yield Skipped(source, number, f"item {number} has no title")
            continue
        yield _csl_entry(item)


def _csl_entry(item: dict[str, Any]) -> tuple[Entry, str]:
    title = re.sub(r"</?(?:i|b|sub|sup|span)\b[^>]*>", "", _text(item["title"]))
    venue = _text(item.get("container-title"))
    names = item.get("author")
    identifier = _identify(
        arxiv="",
        doi=_text(item.get("DOI")),
        addresses=(_text(item.get("URL")),),
        texts=[_text(item.get(name)) for name in ("number", "note", "container-title", "archive_location")],
        title=title,
    )
    entry = Entry(
        identifier,
        title,
        tuple(_csl_name(name) for name in names if isinstance(name, dict)) if isinstance(names, list) else (),
        _csl_year(item.get("issued")),
        "" if _ARXIV_VENUES.search(venue) else venue,
        tags=tuple(word.strip() for word in _text(item.get("keyword")).split(",") if word.strip()),
    )
    return entry, _text(item.get("citation-key") or item.get("id"))


def _csl_name(name: dict[str, Any]) -> Author:
    particle = _text(name.get("non-dropping-particle")) or _text(name.get("dropping-particle"))
    family = _text(name.get("family")) or _text(name.get("literal"))
    return Author(" ".join(filter(None, [particle, family])), _text(name.get("given")), _text(name.get("suffix")))


def _csl_year(issued: object) -> int | None:
    if not isinstance(issued, dict):
        return None
    parts = issued.get("date-parts")
    return _year(json.dumps(parts) if parts else _text(issued.get("raw") or issued.get("literal")))


# Zotero's CSV --------------------------------------------------------------------------------------------------------


def _read_csv(text: str, source: str) -> _Parsed:
    csv.field_size_limit(_MAX_BYTES)  # notes can be long
    rows = csv.DictReader(io.StringIO(text, newline=""), restval="")
    line = 1
    for row in rows:
        line, start = rows.line_num, line + 1
        if row["Item Type"] in {"attachment", "note"}:
            continue
        if not _text(row.get("Title")):
            yield Skipped(source, start, "the row has no Title")
            continue
        yield _csv_entry({name: value for name, value in row.items() if isinstance(value, str)})


def _csv_entry(row: dict[str, str]) -> tuple[Entry, str]:
    title = re.sub(r"</?(?:i|b|sub|sup|span)\b[^>]*>", "", _text(row["Title"]))
    venue = _text(row.get("Publication Title")) or _text(row.get("Conference Name"))
    extra = row.get("Extra", "")
    identifier = _identify(
        arxiv="",
        doi=row.get("DOI", ""),
        addresses=(row.get("Url", ""),),
        texts=(row.get("Number", ""), row.get("Archive Location", ""), extra, venue),
        title=title,
    )
    entry = Entry(
        identifier,
        title,
        tuple(_inverted_name(name) for name in row.get("Author", "").split("; ") if name.strip()),
        _year(row.get("Publication Year", "") or row.get("Date", "")),
        "" if _ARXIV_VENUES.search(venue) else venue,
        _text(re.sub(r"<[^>]+>", " ", row.get("Notes", ""))),
        tuple(tag.strip() for tag in row.get("Manual Tags", "").split(";") if tag.strip()),
    )
    key = _CITATION_KEY.search(extra)
    return entry, key[1] if key else ""


# What all share ------------------------------------------------------------------------------------------------------


def _text(value: object) -> str:
    """A string or number as text on one line; anything else as the empty string."""
    # JSON can hold lone surrogates, which UTF-8 cannot encode.
    return " ".join(str(value).encode("utf-8", "replace").decode().split()) if isinstance(value, str | int) else ""


def _year(text: str) -> int | None:
    match = _YEAR.search(text)
    return int(match[0]) if match else None


def _identify(*, arxiv: str, doi: str, addresses: Iterable[str], texts: Iterable[str], title: str) -> str:
    """Canonical id from arXiv id, DOI, address or title, in this order."""
    addresses = [re.sub(r"\\url\{([^}]*)\}", r"\1", address).strip() for address in addresses if address]
    named = [f"arxiv:{match[1]}" for text in [*addresses, *texts] for match in _ARXIV_IN_TEXT.finditer(text)]
    candidates = [f"arxiv:{re.sub('^arxiv:', '', arxiv.strip(), flags=re.IGNORECASE)}" if arxiv else "", *named]
    doi = to_unicode(doi) if re.search(r"[\\{}]", doi) else doi.strip()  # LaTeX conversion would make `--` a dash
    bare_doi = re.sub(r"^(?:https?://(?:dx\.)?doi\.org/|doi:\s*)", "", doi, flags=re.IGNORECASE)
    candidates += [f"doi:{bare_doi}" if bare_doi else "", *addresses]
    for candidate in filter(None, candidates):
        try:
            return paper_id(candidate)
        except IdentifierError:
            continue  # free text: try the next field
    return title_id(title)
