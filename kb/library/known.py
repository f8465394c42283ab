"""Entries of reading lists under the names that the catalogue has for their papers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from kb.library.lists import Entry
from kb.store import Catalogue


def known_entries(entries: Sequence[Entry], catalogue: Catalogue | None) -> list[Entry]:
    """The entries under id, title, authors and year of the catalogue, where it knows them: by id or else by exact title.

    One that it does not know stays as it is, with its id for a title where it has none. `None` is a catalogue that is not
    there yet.
    """
    if catalogue is None:
        return [replace(entry, title=entry.title or entry.paper_id) for entry in entries]
    return [_known(catalogue, entry) for entry in entries]


def _known(catalogue: Catalogue, entry: Entry) -> Entry:
    key = catalogue.key_of(entry.paper_id)
    if key is None and entry.paper_id.startswith("url:") and entry.title:
        titled = catalogue.keys_titled(entry.title)
        key = titled[0] if len(titled) == 1 else None
    if key is None:
        return replace(entry, title=entry.title or entry.paper_id)
    paper = catalogue.papers([key])[key]
    return replace(
        entry, paper_id=paper.id, title=paper.title, authors=paper.authors or entry.authors, year=paper.year or entry.year
    )
