"""Notes without a title, and the papers that they were found to be about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from kb.store.catalogue import Catalogue

Standing = Literal["made", "offered", "accepted", "refused"]


@dataclass(frozen=True, slots=True)
class UntitledNote:
    """A note that gives neither link nor title; one that stands in several documents is one."""

    id: str
    source: str
    line: int
    authors: tuple[str, ...]
    text: str
    """Its body, without markup."""


@dataclass(frozen=True, slots=True)
class NoteMatch:
    """A paper that an untitled note may be about."""

    note_id: str
    paper_id: str
    """Canonical id; empty where the user says that none of those offered is."""
    confidence: float
    standing: Standing


class MatchCatalogue:
    """The untitled notes of one open catalogue."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    def untitled(self) -> list[UntitledNote]:
        """Every untitled note, in the order of documents and lines."""
        rows = self._catalogue._read(
            """SELECT named_id, source, line, authors, plain FROM notes WHERE title = '' AND starts_with(named_id, 'url:note:')
               QUALIFY row_number() OVER (PARTITION BY named_id ORDER BY source, number) = 1 ORDER BY source, number"""
        )
        return [UntitledNote(i, source, line, tuple(authors), plain) for i, source, line, authors, plain in rows]

    def matches(self) -> list[NoteMatch]:
        """What is kept, the surest of each note first."""
        rows = self._catalogue._read(
            "SELECT note_id, paper_id, confidence, standing FROM note_matches ORDER BY note_id, confidence DESC, paper_id"
        )
        return [NoteMatch(*row) for row in rows]

    def keep(self, matches: Sequence[NoteMatch]) -> None:
        """Puts these in place of all that are kept; `settle()` then follows them."""
        self._catalogue._write("DELETE FROM note_matches")
        self._catalogue._write_many(
            "INSERT INTO note_matches VALUES (?, ?, ?, ?)", [(m.note_id, m.paper_id, m.confidence, m.standing) for m in matches]
        )
