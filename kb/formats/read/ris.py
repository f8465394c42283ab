"""RIS as found in the wild: indented, with one blank for two, without ER; parsed by rispy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import rispy

from kb.formats.read.record import Record, inverted_name, one_line, without_markup, year_of
from kb.papers import Author, Skipped

_TAG = re.compile(r"^[ \t\ufeff]*([A-Z][A-Z0-9])[ \t]*-[ \t]?(.*)$")
#: How a RIS file begins, somewhere.
RIS_START = re.compile(r"^[ \t\ufeff]*TY[ \t]*-[ \t]*[A-Z]", re.MULTILINE)


def read_ris(text: str) -> Iterator[Record | Skipped]:
    """Records of a RIS file; `Skipped` has no source yet."""
    chunks: list[tuple[int, list[str]]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        tag = _TAG.match(line)
        if tag and tag[1] == "TY":
            chunks.append((number, []))
        if not chunks or not line.strip() or (tag and tag[1] == "ER"):
            continue
        chunks[-1][1].append(f"{tag[1]}  - {tag[2].strip()}" if tag else line.strip())
    for number, lines in chunks:
        try:
            found = rispy.loads("\n".join([*lines, "ER  - ", ""]), skip_unknown_tags=False)
        except (ValueError, OSError, LookupError):
            found = []
        yield _record(found[0], number) if len(found) == 1 else Skipped("", number, "no RIS reference that can be read")


def _record(found: dict[str, Any], line: int) -> Record | Skipped:
    title = without_markup(one_line(found.get("title") or found.get("primary_title")))
    if not title:
        return Skipped("", line, "the reference has no title (TI)")
    venue = found.get("secondary_title") or found.get("journal_name") or found.get("alternate_title3")
    texts = [one_line(found.get(name)) for name in ("number", "note", "accession_number", "custom7", "volume")]
    notes = [one_line(note) for note in found.get("notes", [])]
    return Record(
        line,
        title,
        tuple(ris_authors(found.get("authors") or found.get("first_authors") or [])),
        year_of(*(one_line(found.get(name)) for name in ("year", "publication_year", "date"))),
        without_markup(one_line(venue)),
        one_line(found.get("id")),
        doi=one_line(found.get("doi")),
        addresses=tuple(filter(None, (one_line(url) for url in found.get("urls") or [found.get("url")]))),
        texts=(*texts, *notes, *map(one_line, found.get("unknown_tag", {}).get("M3", []))),
        remark="\n\n".join(note for note in notes if not note.startswith(("Comment:", "arXiv:", "Code:"))),
        tags=tuple(one_line(word) for word in found.get("keywords", [])),
    )


def ris_authors(names: list[object]) -> Iterator[Author]:
    """Authors, one a field, or several in one with semicolons between them."""
    for name in names:
        for part in one_line(name).split(";"):
            if part.strip():
                yield inverted_name(part.strip())
