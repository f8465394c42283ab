"""Bibliography reader: BibTeX, RIS, CSL-JSON and CSV, parsed into entries of a reading list."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from kb.errors import SourceError
from kb.formats.read.bibtex import read_bibtex
from kb.formats.read.csl import read_csl
from kb.formats.read.record import Record, cleaned_key
from kb.formats.read.ris import RIS_START, read_ris
from kb.formats.read.table import CSV_START, read_csv
from kb.identifiers import title_id
from kb.library import Choices, Entry, Library, is_same_work, resolve_entries
from kb.papers import Skipped
from kb.store import Catalogue

_MAX_BYTES = 200 << 20
_BIBTEX_START = re.compile(r"^\s*@\w+\s*[{(]", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Bibliography:
    """Parsed bibliography file."""

    entries: tuple[Entry, ...]
    keys: tuple[tuple[str, str], ...]
    """Pairs of canonical id and citation key in the file."""
    skipped: tuple[Skipped, ...]
    notices: tuple[str, ...] = ()
    """What was mended, merged or left out in reading, each with file, line and citation key."""


@dataclass(frozen=True, slots=True)
class Addition:
    """What came of putting a bibliography on a list."""

    added: int
    """Papers that were not on the list before."""
    notices: tuple[str, ...]
    """What was mended, merged, renamed or left out, each with the citation key that it concerns."""


def read_bibliography(path: Path) -> Bibliography:
    """Read a BibTeX, RIS, CSL-JSON or CSV file; the format is detected from its content.

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
    entries: dict[str, Entry] = {}
    keys: dict[str, str] = {}
    skipped: list[Skipped] = []
    notices: list[str] = []
    for record in _records(text, source):
        if isinstance(record, Skipped):
            skipped.append(replace(record, source=source))
            continue
        where, key = f"{source}:{record.line}: {record.key or repr(record.title)}", cleaned_key(record.key)
        notices += [f"{where}: {notice}" for notice in record.notices]
        if record.key and not key and "://" not in record.key:
            notices.append(f"{where} is no citation key that BibTeX can hold; the paper gets one by rule")
        entry = record.entry()
        first = entries.setdefault(entry.paper_id, entry)
        if first is not entry and _is_by_title(entry) and not is_same_work(first, entry):
            entry = replace(entry, paper_id=_id_among_namesakes(entry))
            first = entries.setdefault(entry.paper_id, entry)
        if first is entry:
            if key:
                keys[entry.paper_id] = key
        else:
            known_as = keys.get(entry.paper_id) or first.title
            notices.append(f"{where} is the same paper as {known_as!r} before it ({entry.paper_id}) and was left out")
    return Bibliography(tuple(entries.values()), tuple(keys.items()), tuple(skipped), tuple(notices))


def _records(text: str, source: str) -> Iterator[Record | Skipped]:
    if text.lstrip()[:1] in {"[", "{"}:
        return read_csl(text, source)
    if CSV_START.match(text):
        return read_csv(text)
    if RIS_START.search(text) and not _BIBTEX_START.match(text):
        return read_ris(text)
    if _BIBTEX_START.search(text):
        return read_bibtex(text)
    raise SourceError(
        f"{source} is neither BibTeX nor RIS nor CSL-JSON nor Zotero's CSV. In Zotero: Export Library, then one of these."
    )


def add_to_list(found: Bibliography, name: str, library: Library, choices: Choices, catalogue: Catalogue | None) -> Addition:
    """Add the references to a list, created if missing, under the catalogue's identifiers.

    Stores the file's citation keys for their papers; a key that another paper has, or a paper that has one, is told.
    Raises QueryError if the list's name is empty or over 100 characters.
    """
    listed = _entries_by_id(library) if any(map(_is_by_title, found.entries)) else {}
    distinct = [_apart(entry, listed, catalogue) for entry in found.entries]
    entries = resolve_entries(distinct, catalogue)
    names = {before.paper_id: after.paper_id for before, after in zip(found.entries, entries, strict=True)}
    if " ".join(name.split()).casefold() not in {x.name.casefold() for x in library.lists()}:
        library.create(name)
    added = library.add(name, entries)
    wished = [(names[identifier], key) for identifier, key in found.keys]
    given = choices.citation_keys(wished)
    return Addition(added, (*found.notices, *_key_changes(wished, given), *_merged(found.entries, entries)))


def _entries_by_id(library: Library) -> dict[str, Entry]:
    return {entry.paper_id: entry for x in library.lists() for entry in library.read_list(x.name).entries}


def _is_by_title(entry: Entry) -> bool:
    return entry.paper_id == title_id(entry.title)


def _id_among_namesakes(entry: Entry) -> str:
    """The id of a work whose title others have as well: by title, first author and year."""
    return title_id(f"{entry.title} / {entry.authors[0].family if entry.authors else ''} / {entry.year or ''}")


def _apart(entry: Entry, listed: dict[str, Entry], catalogue: Catalogue | None) -> Entry:
    """The entry under another id if a list or the catalogue has another work of the same title under its own."""
    if not _is_by_title(entry):
        return entry
    other = listed.get(entry.paper_id)
    key = catalogue.key_of(entry.paper_id) if catalogue else None
    if catalogue and key is not None and other is None:
        other = Entry.of(catalogue.papers([key])[key])
    return entry if other is None or is_same_work(other, entry) else replace(entry, paper_id=_id_among_namesakes(entry))


def _key_changes(wished: list[tuple[str, str]], given: dict[str, str]) -> Iterator[str]:
    for identifier, key in wished:
        if given[identifier] == key:
            continue
        if given[identifier].startswith(f"{key}-"):
            yield f"{key} became {given[identifier]}: another paper has the key {key}"
        else:
            yield f"{key} gave way to {given[identifier]}, the key that {identifier} has already"


def _merged(before: tuple[Entry, ...], after: list[Entry]) -> Iterator[str]:
    """Entries of the file that the catalogue knows as one paper, or under another title."""
    seen: dict[str, str] = {}
    for entry, known in zip(before, after, strict=True):
        if known.paper_id in seen:
            yield f"{entry.title!r} is the same paper as {seen[known.paper_id]!r} ({known.paper_id}) and was left out"
        seen.setdefault(known.paper_id, entry.title)
