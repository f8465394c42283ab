"""Notes in the catalogue: what documents say of papers, the papers that they name, and those without a title."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

import pyarrow as pa

from kb.papers import Mention, Note, TitleSource, plain_text
from kb.store.connection import Connection, Row

MatchStatus = Literal["made", "offered", "accepted", "refused"]


@dataclass(frozen=True, slots=True)
class NoteChanges:
    """What reading a document again did to its notes."""

    new: int = 0
    changed: int = 0
    unchanged: int = 0
    removed: int = 0


@dataclass(frozen=True, slots=True)
class Mentioned:
    """A link to a paper in a note on another paper, or beside the notes of a document."""

    source: str
    line: int
    text: str
    """The words that are linked."""
    note_on: str
    """Canonical id of the paper that the note is about; empty where the link stands beside the notes of its document."""
    title: str
    """That paper's title."""


@dataclass(frozen=True, slots=True)
class TitleOrigin:
    """Where the title of a paper comes from."""

    title_source: TitleSource
    source: str
    line: int


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
    status: MatchStatus


class Notes:
    """The notes of one open catalogue."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    # Bringing them in ------------------------------------------------------------------------------------------------

    def replace(self, source: str, notes: Sequence[Note], mentions: Sequence[Mention]) -> NoteChanges:
        """Replace the notes and mentions of a document; returns what changed since it was last read."""
        before = self._connection.read(
            "SELECT named_id, title, body, authors, venue, year, url, tags FROM notes WHERE source = ? ORDER BY number", [source]
        )
        after = [(n.paper_id, n.title, n.body, list(n.authors), n.venue, n.year, n.url, list(n.tags)) for n in notes]
        changes = _note_changes(before, after)
        self._connection.write("DELETE FROM notes WHERE source = ?", [source])
        self._connection.write("DELETE FROM mentions WHERE source = ?", [source])
        if notes:
            table = pa.table(
                {
                    "number": pa.array(list(range(len(notes))), pa.int64()),
                    "source": pa.array([source] * len(notes), pa.string()),
                    "named_id": pa.array([n.paper_id for n in notes], pa.string()),
                    "paper_id": pa.array([n.paper_id for n in notes], pa.string()),
                    "plain": pa.array([plain_text(n.body) for n in notes], pa.string()),
                    "line": pa.array([n.line for n in notes], pa.int32()),
                    "year": pa.array([n.year for n in notes], pa.int32()),
                    "authors": pa.array([list(n.authors) for n in notes], pa.list_(pa.string())),
                    "tags": pa.array([list(n.tags) for n in notes], pa.list_(pa.string())),
                }
                | {
                    name: pa.array([getattr(n, name) for n in notes], pa.string())
                    for name in ("title", "body", "venue", "url", "section", "title_source")
                }
            )
            with self._connection.registered("note_rows", table):
                self._connection.write("INSERT INTO notes BY NAME SELECT * FROM note_rows ORDER BY number")
        numbered = [(i, m) for i, n in enumerate(notes) for m in n.mentions] + [(None, m) for m in mentions]
        if numbered:
            table = pa.table(
                {
                    "source": pa.array([source] * len(numbered), pa.string()),
                    "note": pa.array([i for i, _ in numbered], pa.int64()),
                    "line": pa.array([m.line for _, m in numbered], pa.int32()),
                    "stars": pa.array([m.stars for _, m in numbered], pa.int32()),
                    "confidence": pa.array([m.confidence for _, m in numbered], pa.float64()),
                }
                | {
                    name: pa.array([getattr(m, name) for _, m in numbered], pa.string())
                    for name in ("kind", "target", "text", "remark", "evidence")
                }
            )
            with self._connection.registered("mention_rows", table):
                self._connection.write("INSERT INTO mentions BY NAME SELECT * FROM mention_rows")
        return changes

    def sources(self) -> list[str]:
        """Every document that has notes or mentions here."""
        rows = self._connection.read("SELECT source FROM notes UNION SELECT source FROM mentions ORDER BY 1")
        return [source for (source,) in rows]

    def papers(self) -> dict[str, str]:
        """Title of every paper that a note tells of, by canonical id."""
        rows = self._connection.read("SELECT id, title FROM papers WHERE id IN (SELECT paper_id FROM notes) ORDER BY key")
        return dict(rows)

    def count_of(self, source: str) -> int:
        """The number of notes of a document."""
        return int(self._connection.read("SELECT count(*) FROM notes WHERE source = ?", [source])[0][0])

    def move(self, source: str, target: str) -> None:
        """Give the notes and mentions of a document another place."""
        for table in ("notes", "mentions", "note_files"):
            self._connection.write(f"UPDATE {table} SET source = ? WHERE source = ?", [target, source])

    def digests(self) -> dict[str, str]:
        """Digest of every file of notes as it was last read, by source."""
        return dict(self._connection.read("SELECT source, digest FROM note_files"))

    def keep_digest(self, source: str, digest: str) -> None:
        """Remember how a file of notes was last read; an empty digest forgets it."""
        self._connection.write("DELETE FROM note_files WHERE source = ?", [source])
        if digest:
            self._connection.write("INSERT INTO note_files VALUES (?, ?)", [source, digest])

    def title_origin(self, identifier: str) -> TitleOrigin | None:
        """The note that gives the title of a paper which only notes tell of; `None` for any other paper."""
        rows = self._connection.read("SELECT title_source, source, line FROM title_origins WHERE paper_id = ?", [identifier])
        return TitleOrigin(*rows[0]) if rows else None

    def settle(self) -> None:
        """Derive aliases, papers known by notes alone, and code links from notes and papers; idempotent.

        A paper that a note names by DOI, OpenReview id or address is another name of an arXiv paper with that
        DOI, or with the same title where exactly one has it and the years are no more than three apart. What is left
        becomes a paper that only notes tell of. A note without a title goes to the paper that it was matched with. Code
        that a note names becomes a link of its paper.
        """
        self._connection.write(_settling())

    # Reading ---------------------------------------------------------------------------------------------------------

    def on(self, identifiers: Sequence[str]) -> dict[str, list[Note]]:
        """The notes on these papers, by canonical id."""
        rows = self._connection.read(
            """SELECT paper_id, number, source, line, named_id, title, body, authors, venue, year, url, section, tags,
                      title_source
               FROM notes WHERE paper_id IN (SELECT unnest(?)) ORDER BY source, number""",
            [list(identifiers)],
        )
        if not rows:
            return {}
        mentions: dict[tuple[str, int], list[Mention]] = {}
        for source, number, *mention in self._connection.read(
            """SELECT source, note, kind, target, text, line, stars, remark, confidence, evidence FROM mentions
               WHERE (source, note) IN (SELECT (source, number) FROM notes WHERE paper_id IN (SELECT unnest(?)))
               ORDER BY line, rowid""",
            [list(identifiers)],
        ):
            mentions.setdefault((source, number), []).append(Mention(*mention))
        found: dict[str, list[Note]] = {}
        for paper, number, source, line, named, title, body, authors, venue, year, url, section, tags, origin in rows:
            note = Note(
                source, line, named, title, body, tuple(authors), venue, year, url, section, tuple(tags),
                tuple(mentions.get((source, number), ())), origin,
            )  # fmt: skip
            found.setdefault(paper, []).append(note)
        return found

    def naming(self, identifier: str) -> list[Mentioned]:
        """Where notes on other papers name the paper with this canonical id, by document and line."""
        rows = self._connection.read(
            """SELECT mentions.source, mentions.line, mentions.text, coalesce(papers.id, ''), coalesce(papers.title, '')
               FROM mentions LEFT JOIN notes ON notes.source = mentions.source AND notes.number = mentions.note
               LEFT JOIN papers ON papers.id = notes.paper_id
               WHERE mentions.kind = 'paper' AND (mentions.target = ? OR mentions.target IN
                   (SELECT id FROM aliases WHERE aliases.paper_id = ?))
                 AND notes.paper_id IS DISTINCT FROM ?
               ORDER BY mentions.source, mentions.line, mentions.text""",
            [identifier] * 3,
        )
        return [Mentioned(*row) for row in rows]

    # Notes without a title -------------------------------------------------------------------------------------------

    def untitled(self) -> list[UntitledNote]:
        """Every untitled note, in the order of documents and lines."""
        rows = self._connection.read(
            """SELECT named_id, source, line, authors, plain FROM notes WHERE title = '' AND starts_with(named_id, 'url:note:')
               QUALIFY row_number() OVER (PARTITION BY named_id ORDER BY source, number) = 1 ORDER BY source, number"""
        )
        return [UntitledNote(i, source, line, tuple(authors), plain) for i, source, line, authors, plain in rows]

    def matches(self) -> list[NoteMatch]:
        """The stored matches by note, the most confident first."""
        rows = self._connection.read(
            "SELECT note_id, paper_id, confidence, standing FROM note_matches ORDER BY note_id, confidence DESC, paper_id"
        )
        return [NoteMatch(*row) for row in rows]

    def keep_matches(self, matches: Sequence[NoteMatch]) -> None:
        """Replace all stored matches; `settle()` then applies them."""
        self._connection.write("DELETE FROM note_matches")
        self._connection.write_many(
            "INSERT INTO note_matches VALUES (?, ?, ?, ?)", [(m.note_id, m.paper_id, m.confidence, m.status) for m in matches]
        )


@cache
def _settling() -> str:
    return resources.files("kb.store").joinpath("settle_notes.sql").read_text(encoding="utf-8")


def _note_changes(before: list[Row], after: list[Row]) -> NoteChanges:
    """Compare two readings of a document; a note is identified by its paper's id and its position among the notes on it."""

    def by_position(rows: list[Row]) -> dict[tuple[str, int], Row]:
        turns: dict[str, int] = {}
        found: dict[tuple[str, int], Row] = {}
        for row in rows:
            turns[row[0]] = turn = turns.get(row[0], 0) + 1
            found[row[0], turn] = row
        return found

    old, new = by_position(before), by_position(after)
    same = sum(1 for at, row in new.items() if old.get(at) == row)
    return NoteChanges(
        new=len(new.keys() - old.keys()),
        changed=len(new.keys() & old.keys()) - same,
        unchanged=same,
        removed=len(old.keys() - new.keys()),
    )
