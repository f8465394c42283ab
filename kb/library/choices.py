"""The user's choices besides reading lists: citation keys, dismissed and recommended papers, matches of untitled notes."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import date
from pathlib import Path

from kb.errors import DiskFullError
from kb.identifiers import paper_id
from kb.library.database import LibraryFile, now


class Choices:
    """The user's choices beyond reading lists. Safe to share between threads."""

    def __init__(self, path: Path) -> None:
        self._file = LibraryFile(path)

    def citation_keys(self, wished: Sequence[tuple[str, str]], *, remember: bool = True) -> dict[str, str]:
        """Citation keys by canonical id, given pairs of canonical id and preferred key.

        A key once assigned stays with its paper; one that another paper has gets the suffix `-2`, `-3` and so on. Without
        `remember`, or if the folder cannot be written or the disk is full, nothing is stored. Raises StoreError if the file
        is damaged or newer.
        """
        with self._file.reading() as file:
            known = _known_keys(file) if file else {}
        new = _new_keys(known, wished)
        if new and remember and not self._file.read_only:
            with suppress(DiskFullError), self._file.writing() as file:
                known = _known_keys(file)  # another process may have given some meanwhile
                new = _new_keys(known, wished)
                file.executemany("INSERT INTO citation_keys VALUES (?, ?)", list(new.items()))
        keys = known | new
        return {identifier: keys[identifier] for identifier, _ in wished}

    def dismiss(self, identifiers: Sequence[str]) -> None:
        """Exclude papers from recommendations, and use them as negative examples. Raises IdentifierError for what is no id."""
        with self._file.writing() as file:
            file.executemany("INSERT OR IGNORE INTO dismissed VALUES (?, ?)", [(paper_id(i), now()) for i in identifiers])

    def dismissed(self) -> list[str]:
        """Dismissed papers in order of dismissal."""
        with self._file.reading() as file:
            rows = file.execute("SELECT paper_id FROM dismissed ORDER BY rowid").fetchall() if file else []
        return [identifier for (identifier,) in rows]

    def recommended_before(self, list_name: str, day: date) -> list[str]:
        """What was recommended for a list (empty: for the whole library) on an earlier day."""
        with self._file.reading() as file:
            rows = (
                file.execute(
                    "SELECT paper_id FROM recommended WHERE list_key = ? AND day < ? ORDER BY rowid",
                    [list_name.casefold(), day.isoformat()],
                ).fetchall()
                if file
                else []
            )
        return [identifier for (identifier,) in rows]

    def record_recommended(self, list_name: str, identifiers: Sequence[str], day: date) -> None:
        """Record that papers were recommended for a list; the first day counts."""
        with self._file.writing() as file:
            file.executemany(
                "INSERT OR IGNORE INTO recommended VALUES (?, ?, ?)",
                [(list_name.casefold(), i, day.isoformat()) for i in identifiers],
            )

    def match(self, note_id: str, identifier: str) -> None:
        """Record which paper an untitled note is about; empty: none of those offered."""
        with self._file.writing() as file:
            file.execute(
                "INSERT OR REPLACE INTO note_matches VALUES (?, ?, ?)",
                [note_id, paper_id(identifier) if identifier else "", now()],
            )

    def matches(self) -> dict[str, str]:
        """Note id to paper id, as the user said it."""
        with self._file.reading() as file:
            return dict(file.execute("SELECT note_id, paper_id FROM note_matches").fetchall()) if file else {}


def _known_keys(file: sqlite3.Connection) -> dict[str, str]:
    return dict(file.execute("SELECT paper_id, key FROM citation_keys").fetchall())


def _new_keys(known: Mapping[str, str], wished: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Keys for those of the papers that have none, each unlike every other."""
    new: dict[str, str] = {}
    taken = {key.casefold() for key in known.values()}
    for identifier, wish in wished:
        if identifier in known or identifier in new:
            continue
        key, turn = wish, 1
        while key.casefold() in taken:
            turn += 1
            key = f"{wish}-{turn}"
        new[identifier] = key
        taken.add(key.casefold())
    return new
