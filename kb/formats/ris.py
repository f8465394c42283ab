"""RIS writer, for Zotero, EndNote and Mendeley."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import rispy

from kb.formats.reference import Reference, is_organisation, is_others
from kb.papers import Author


def write_ris(name: str, references: Sequence[Reference]) -> str:  # noqa: ARG001
    """Write references in their order. RIS has no place for the list's name."""
    return str(rispy.dumps([_reference(r) for r in references], implementation=_Writer)).strip() + "\n" if references else ""


class _Writer(rispy.RisWriter):  # type: ignore[misc]
    """RIS writer without rispy's running numbers between references, which RIS does not have and pandoc rejects."""

    def set_header(self, count: int) -> str:  # noqa: ARG002
        return ""


def _reference(r: Reference) -> dict[str, Any]:
    venue = r.venue
    first, _, last = venue.pages.partition("–") if venue else ("", "", "")
    kind = "UNPB" if venue is None else "JOUR" if venue.kind == "journal" else "CPAPER"
    notes = [
        " ".join(r.remark.split()),
        f"arXiv:{r.arxiv}" + (f" [{r.primary_class}]" if r.primary_class else "") if r.arxiv else "",
        *(f"Code: {url}" for url in r.code),
    ]
    fields = {
        "type_of_reference": kind,
        "id": r.key,
        "title": r.plain_title,
        "authors": [_author(a) for a in r.authors],
        "secondary_title": venue.name if venue else "",
        "volume": venue.volume if venue else "",
        "number": venue.number if venue else "",
        "start_page": first,
        "end_page": last,
        "year": str(r.year or ""),
        "doi": r.doi,
        "urls": [r.url] if r.url else [],
        "keywords": list(r.tags),
        "notes": [note for note in notes if note],
        "abstract": r.plain_abstract,
    }
    return {name: value for name, value in fields.items() if value}


def _author(author: Author) -> str:
    if is_others(author):
        return "et al."
    if is_organisation(author):
        return author.name.replace(",", " ")
    return ", ".join(part.replace(",", " ") for part in (author.family, author.given, author.suffix) if part)
