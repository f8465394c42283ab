"""Reading lists: their papers in order, with remarks, tags, and what was read."""

from __future__ import annotations

import json
import sqlite3
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from kb.errors import QueryError
from kb.identifiers import paper_id
from kb.library.database import LibraryFile, now
from kb.papers import Author, Paper
from kb.store import Catalogue

_MAX_NAME_LENGTH = 100
_SAME_WORK_YEARS = 3  # between a preprint and the published version
_TELLING_TITLE_WORDS = 3  # words from which on a title is hardly another work's as well


@dataclass(frozen=True, slots=True)
class Entry:
    """A paper on a reading list."""

    paper_id: str
    title: str
    authors: tuple[Author, ...] = ()
    year: int | None = None
    venue: str = ""
    """As the user's own bibliography has it; the catalogue may know better."""
    remark: str = ""
    tags: tuple[str, ...] = ()
    added: datetime | None = None
    """UTC; set when the entry is put on a list."""
    read: datetime | None = None
    """UTC; `None` while unread."""

    @classmethod
    def of(cls, paper: Paper, remark: str = "", tags: Iterable[str] = ()) -> Entry:
        """The entry for a paper of the catalogue."""
        return cls(paper.id, paper.title, paper.authors, paper.year, "", remark, tuple(tags))


@dataclass(frozen=True, slots=True)
class ListSummary:
    """A reading list without its entries."""

    name: str
    created: datetime
    papers: int
    unread: int


@dataclass(frozen=True, slots=True)
class ReadingList:
    """A reading list in its order."""

    name: str
    created: datetime
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Removal:
    """Something taken off a list, or a list deleted, that can still be brought back."""

    number: int
    what: str
    """Such as `1 taken off 'Thesis'`."""


class Library:
    """Reading lists in the user's file. Safe to share between threads: every call has its own connection."""

    def __init__(self, path: Path) -> None:
        """Set the path; the first change creates the file."""
        self._file = LibraryFile(path)

    def lists(self) -> list[ListSummary]:
        """Every list, the oldest first."""
        with self._file.reading() as file:
            if file is None:
                return []
            rows = file.execute(
                """SELECT name, created, count(paper_id), count(paper_id) - count(read) FROM lists
                   LEFT JOIN entries ON entries.list = lists.number AND entries.removal IS NULL
                   WHERE lists.removal IS NULL GROUP BY lists.number ORDER BY lists.number"""
            ).fetchall()
        return [ListSummary(name, datetime.fromisoformat(created), papers, unread) for name, created, papers, unread in rows]

    def read_list(self, name: str) -> ReadingList:
        """A list with its entries in order. Raises QueryError if there is no such list."""
        with self._file.reading() as file:
            if file is None:
                raise _no_list(name)
            number, shown, created = _find_list(file, name)
            rows = file.execute(
                """SELECT paper_id, title, authors, year, venue, remark, tags, added, read FROM entries
                   WHERE list = ? AND removal IS NULL ORDER BY position, rowid""",
                [number],
            ).fetchall()
        return ReadingList(shown, datetime.fromisoformat(created), tuple(_entry(row) for row in rows))

    def paper_ids(self) -> list[str]:
        """Every paper on any list, in order of adding."""
        with self._file.reading() as file:
            if file is None:
                return []
            rows = file.execute(
                """SELECT paper_id FROM entries JOIN lists ON lists.number = entries.list
                   WHERE entries.removal IS NULL AND lists.removal IS NULL
                   GROUP BY paper_id ORDER BY min(added), min(entries.rowid)"""
            ).fetchall()
        return [identifier for (identifier,) in rows]

    def papers_of(self, name: str) -> tuple[str, ...]:
        """Ids of the papers on a list, to filter by; none where no list is named. Raises QueryError for an empty list."""
        if not name:
            return ()
        found = tuple(entry.paper_id for entry in self.read_list(name).entries)
        if not found:
            raise QueryError(f"The list {name!r} is empty. Add to it: `kb list add {name!r} ID`.")
        return found

    def lists_with(self, identifiers: Sequence[str]) -> list[str]:
        """Names of the lists that have a paper, given all the ids it is known by; the oldest list first."""
        with self._file.reading() as file:
            if file is None:
                return []
            rows = file.execute(
                f"""SELECT DISTINCT lists.number, name FROM lists JOIN entries ON entries.list = lists.number
                    WHERE lists.removal IS NULL AND entries.removal IS NULL
                      AND paper_id IN ({", ".join("?" * len(identifiers))}) ORDER BY lists.number""",
                [paper_id(identifier) for identifier in identifiers],
            ).fetchall()
        return [name for _, name in rows]

    def create(self, name: str, entries: Sequence[Entry] = ()) -> int:
        """Create a list of these papers; returns their number.

        Raises QueryError if the name is taken, empty, or over 100 characters.
        """
        shown = _list_name(name)
        with self._file.writing() as file:
            if file.execute("SELECT 1 FROM lists WHERE name_key = ? AND removal IS NULL", [shown.casefold()]).fetchone():
                raise QueryError(f"There is a list {shown!r} already. Add to it: `kb list add {shown!r} ID`.")
            made = file.execute("INSERT INTO lists (name, name_key, created) VALUES (?, ?, ?)", [shown, shown.casefold(), now()])
            return _append(file, int(made.lastrowid or 0), entries)

    def rename(self, name: str, new_name: str) -> None:
        """Rename a list. Raises QueryError if there is no such list, or as `create` does."""
        shown = _list_name(new_name)
        with self._file.writing() as file:
            number, _, _ = _find_list(file, name)
            if file.execute(
                "SELECT 1 FROM lists WHERE name_key = ? AND removal IS NULL AND number <> ?", [shown.casefold(), number]
            ).fetchone():
                raise QueryError(f"There is a list {shown!r} already. Take another name.")
            file.execute("UPDATE lists SET name = ?, name_key = ? WHERE number = ?", [shown, shown.casefold(), number])

    def add(self, name: str, entries: Sequence[Entry]) -> int:
        """Append papers to a list; one that is there already stays as it is. Returns how many are new.

        Raises QueryError if there is no such list.
        """
        with self._file.writing() as file:
            number, _, _ = _find_list(file, name)
            return _append(file, number, entries)

    def remove(self, name: str, identifiers: Sequence[str]) -> int:
        """Remove papers from a list, which `undo` reverts. Returns how many were on it.

        Raises QueryError if there is no such list.
        """
        with self._file.writing() as file:
            number, shown, _ = _find_list(file, name)
            there = _present(file, number, identifiers)
            if there:
                removal = _new_removal(file, f"{len(there)} taken off {shown!r}")
                file.executemany(
                    "UPDATE entries SET removal = ? WHERE list = ? AND removal IS NULL AND paper_id = ?",
                    [(removal, number, identifier) for identifier in there],
                )
        return len(there)

    def delete(self, name: str) -> None:
        """Delete a list, which `undo` reverts. Raises QueryError if there is no such list."""
        with self._file.writing() as file:
            number, shown, _ = _find_list(file, name)
            file.execute("UPDATE lists SET removal = ? WHERE number = ?", [_new_removal(file, f"list {shown!r} deleted"), number])

    def last_removal(self) -> Removal | None:
        """The last removal that was not undone; `None` if there is none."""
        with self._file.reading() as file:
            row = file.execute("SELECT number, what FROM removals ORDER BY number DESC LIMIT 1").fetchone() if file else None
        return Removal(*row) if row else None

    def undo(self, number: int | None = None) -> str:
        """Undo a removal, by default the last one; returns its description, empty if there is none.

        A paper that was added again since then stays as it is. Raises QueryError if there is a new list of the same name.
        """
        with self._file.writing() as file:
            last = file.execute(
                "SELECT number, what FROM removals WHERE ? IS NULL OR number = ? ORDER BY number DESC LIMIT 1", [number, number]
            ).fetchone()
            if last is None:
                return ""
            removal, what = last
            taken = file.execute(
                """SELECT gone.name FROM lists AS gone JOIN lists AS live USING (name_key)
                   WHERE gone.removal = ? AND live.removal IS NULL""",
                [removal],
            ).fetchone()
            if taken:
                raise QueryError(f"There is a new list {taken[0]!r}; delete or export it before the old one comes back.")
            file.execute("UPDATE lists SET removal = NULL WHERE removal = ?", [removal])
            file.execute(
                """DELETE FROM entries WHERE removal = ? AND EXISTS (SELECT 1 FROM entries AS live
                   WHERE live.list = entries.list AND live.paper_id = entries.paper_id AND live.removal IS NULL)""",
                [removal],
            )
            file.execute("UPDATE entries SET removal = NULL WHERE removal = ?", [removal])
            file.execute("DELETE FROM removals WHERE number = ?", [removal])
        return str(what)

    def mark(
        self,
        name: str,
        identifiers: Sequence[str],
        *,
        read: bool | None = None,
        remark: str | None = None,
        tags: Iterable[str] = (),
        untag: Iterable[str] = (),
    ) -> int:
        """Set read state, remark or tags of papers of a list; `None` or empty changes nothing. Returns how many were on it.

        Raises QueryError if there is no such list.
        """
        with self._file.writing() as file:
            number, _, _ = _find_list(file, name)
            there = _present(file, number, identifiers)
            for identifier in there:
                at = [number, identifier]
                where = "WHERE list = ? AND paper_id = ? AND removal IS NULL"
                if read is not None:  # the day of a first reading stays
                    file.execute(f"UPDATE entries SET read = CASE WHEN ? THEN coalesce(read, ?) END {where}", [read, now(), *at])
                if remark is not None:
                    file.execute(f"UPDATE entries SET remark = ? {where}", [remark, *at])
                known = set(json.loads(file.execute(f"SELECT tags FROM entries {where}", at).fetchone()[0]))
                wanted = sorted((known | set(tags)) - set(untag))
                file.execute(f"UPDATE entries SET tags = ? {where}", [json.dumps(wanted, ensure_ascii=False), *at])
        return len(there)

    def move(self, name: str, identifier: str, place: int) -> None:
        """Move a paper to a position in its list, counted from 1; beyond the end is the end.

        Raises QueryError if the list or the paper on it does not exist.
        """
        with self._file.writing() as file:
            number, shown, _ = _find_list(file, name)
            order = [
                i
                for (i,) in file.execute(
                    "SELECT paper_id FROM entries WHERE list = ? AND removal IS NULL ORDER BY position, rowid", [number]
                ).fetchall()
            ]
            wanted = paper_id(identifier)
            if wanted not in order:
                raise QueryError(f"{identifier} is not on {shown!r}.")
            order.remove(wanted)
            order.insert(max(place, 1) - 1, wanted)
            file.executemany(
                "UPDATE entries SET position = ? WHERE list = ? AND paper_id = ? AND removal IS NULL",
                [(position, number, i) for position, i in enumerate(order, start=1)],
            )


def _list_name(name: str) -> str:
    """The name with single blanks. Raises QueryError if it is not valid."""
    shown = " ".join(name.split())
    if not shown or len(shown) > _MAX_NAME_LENGTH or not shown.isprintable():
        raise QueryError(f"{name!r} can be no list's name: take 1 to {_MAX_NAME_LENGTH} printable characters.")
    return shown


def _no_list(name: str) -> QueryError:
    return QueryError(f"There is no list {name!r}. See `kb lists`, or make it: `kb list new {name!r}`.")


def _find_list(file: sqlite3.Connection, name: str) -> tuple[int, str, str]:
    """Number, name and date of creation of a list. Raises QueryError if there is no such list."""
    key = " ".join(name.split()).casefold()
    row = file.execute("SELECT number, name, created FROM lists WHERE name_key = ? AND removal IS NULL", [key]).fetchone()
    if row is None:
        raise _no_list(name)
    return int(row[0]), str(row[1]), str(row[2])


def _append(file: sqlite3.Connection, number: int, entries: Sequence[Entry]) -> int:
    """Append the papers that are not on the list yet; returns their number."""
    present = {i for (i,) in file.execute("SELECT paper_id FROM entries WHERE list = ? AND removal IS NULL", [number]).fetchall()}
    last = file.execute("SELECT coalesce(max(position), 0) FROM entries WHERE list = ?", [number]).fetchone()[0]
    new = list({e.paper_id: e for e in reversed(entries) if paper_id(e.paper_id) not in present}.values())[::-1]
    file.executemany(
        "INSERT INTO entries (list, paper_id, position, title, authors, year, venue, remark, tags, added, read) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                number,
                paper_id(e.paper_id),
                last + place,
                e.title,
                json.dumps([[a.family, a.given, a.suffix] for a in e.authors], ensure_ascii=False),
                e.year,
                e.venue,
                e.remark,
                json.dumps(sorted(set(e.tags)), ensure_ascii=False),
                e.added.isoformat() if e.added else now(),
                e.read.isoformat() if e.read else None,
            )
            for place, e in enumerate(new, start=1)
        ],
    )
    return len(new)


def _present(file: sqlite3.Connection, number: int, identifiers: Sequence[str]) -> list[str]:
    """Those of the papers that are on the list."""
    rows = file.execute("SELECT paper_id FROM entries WHERE list = ? AND removal IS NULL", [number]).fetchall()
    on_list = {identifier for (identifier,) in rows}
    return [i for i in dict.fromkeys(paper_id(i) for i in identifiers) if i in on_list]


def _new_removal(file: sqlite3.Connection, what: str) -> int:
    cursor = file.execute("INSERT INTO removals (happened, what) VALUES (?, ?)", [now(), what])
    return int(cursor.lastrowid or 0)


def _entry(row: tuple[str, str, str, int | None, str, str, str, str, str | None]) -> Entry:
    identifier, title, authors, year, venue, remark, tags, added, read = row
    return Entry(
        identifier,
        title,
        tuple(Author(*parts) for parts in json.loads(authors)),
        year,
        venue,
        remark,
        tuple(json.loads(tags)),
        datetime.fromisoformat(added),
        datetime.fromisoformat(read) if read else None,
    )


def resolve_entries(entries: Sequence[Entry], catalogue: Catalogue | None) -> list[Entry]:
    """Replace id, title, authors and year of entries by those of the catalogue's paper with the same id or exact title.

    An entry without such a paper stays as it is, with its id as its title if it has none. `None`: there is no catalogue yet.
    """
    if catalogue is None:
        return [replace(entry, title=entry.title or entry.paper_id) for entry in entries]
    return [_known(catalogue, entry) for entry in entries]


def is_same_work(one: Entry, other: Entry) -> bool:
    """True if two entries of one title can be the same work: they share an author, and their years are near.

    What is not known of either does not tell them apart. A short title, such as `Introduction`, needs the same year.
    """
    families, others = ({_last_word(author.family) for author in entry.authors} for entry in (one, other))
    if families and others and not families & others:
        return False
    apart = abs(one.year - other.year) if one.year and other.year else 0
    return apart <= (_SAME_WORK_YEARS if len(one.title.split()) >= _TELLING_TITLE_WORDS else 0)


def _last_word(family: str) -> str:
    """A family name for comparison: its last word without case, accents and punctuation."""
    letters = unicodedata.normalize("NFKD", (family.split() or [""])[-1]).casefold()
    return "".join(c for c in letters if c.isalnum())


def _known(catalogue: Catalogue, entry: Entry) -> Entry:
    key = catalogue.key_of(entry.paper_id)
    if key is None and entry.paper_id.startswith("url:") and entry.title:
        titled = catalogue.papers(catalogue.keys_titled(entry.title))
        same = [key for key, paper in titled.items() if is_same_work(entry, Entry.of(paper))]
        key = same[0] if len(same) == 1 else None
    if key is None:
        return replace(entry, title=entry.title or entry.paper_id)
    paper = catalogue.papers([key])[key]
    return replace(
        entry, paper_id=paper.id, title=paper.title, authors=paper.authors or entry.authors, year=paper.year or entry.year
    )
