"""CSL-JSON, with what Zotero, Better BibTeX and Crossref write in its place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from kb.errors import SourceError
from kb.formats.read.record import Record, one_line, without_markup, year_of
from kb.papers import Author, Skipped


def read_csl(text: str, source: str) -> Iterator[Record | Skipped]:
    """Records of a JSON file; `Skipped` has no source yet. Raises SourceError if it is no JSON, or holds no references."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{source} is no JSON: {error}.") from None
    if isinstance(found, dict):
        message = found.get("message")
        found = message if isinstance(message, dict) else found  # Crossref's answer
        found = found.get("items", found.get("references", [found]))
    if not isinstance(found, list):
        raise SourceError(f"{source} holds no list of references. Export again as CSL-JSON.")
    for number, item in enumerate(found, start=1):
        if not isinstance(item, dict):
            yield Skipped("", number, f"item {number} has no title")
        elif item.get("itemType") not in {"attachment", "note", "annotation"}:
            yield _record(item, number)


def _record(item: dict[str, Any], number: int) -> Record | Skipped:
    title = without_markup(_first(item.get("title")))
    if not title:
        return Skipped("", number, f"item {number} has no title")
    subtitle = without_markup(_first(item.get("subtitle")))
    names = item.get("author") or item.get("creators") or []
    venue = _first(item.get("container-title") or item.get("publicationTitle") or item.get("proceedingsTitle"))
    note = "\n".join(str(item.get(name) or "") for name in ("note", "extra"))
    tags = item.get("tags")
    words = [_first(tag.get("tag")) for tag in tags if isinstance(tag, dict)] if isinstance(tags, list) else []
    places = ("number", "archive_location", "archiveID", "archiveLocation", "volume")
    return Record(
        number,
        f"{title}: {subtitle}" if subtitle else title,
        tuple(_name(name) for name in names if isinstance(name, dict)) if isinstance(names, list) else (),
        _year(item),
        without_markup(venue),
        _first(item.get("citation-key") or item.get("citationKey") or item.get("citekey") or item.get("id")),
        doi=_first(item.get("DOI")),
        addresses=tuple(filter(None, [_first(item.get("URL") or item.get("url"))])),
        texts=(*(_first(item.get(name)) for name in places), note),
        tags=(*(word.strip() for word in _first(item.get("keyword")).split(",") if word.strip()), *filter(None, words)),
    )


def _first(value: object) -> str:
    """A text, or the first of a list of texts, as Crossref has titles."""
    return one_line(value[0] if isinstance(value, list) and value else value)


def _name(name: dict[str, Any]) -> Author:
    particle = one_line(name.get("non-dropping-particle")) or one_line(name.get("dropping-particle"))
    family = one_line(name.get("family") or name.get("lastName") or name.get("literal") or name.get("name"))
    given = one_line(name.get("given") or name.get("firstName"))
    return Author.of_parts(" ".join(filter(None, [particle, family])), given, one_line(name.get("suffix")))


def _year(item: dict[str, Any]) -> int | None:
    for name in ("issued", "published", "published-print", "published-online", "date", "created"):
        value = item.get(name)
        if isinstance(value, dict):
            parts = value.get("date-parts")
            value = json.dumps(parts) if parts else value.get("raw") or value.get("literal")
        if isinstance(value, str | int) and (year := year_of(str(value))):
            return year
    return None
