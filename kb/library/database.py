"""The SQLite file `library.sqlite`: schema, migrations, read and write transactions, copies."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from filelock import FileLock

from kb.errors import NewerError, StoreError
from kb.files import replacing

_BUSY_TIMEOUT = 60.0  # seconds that a change waits for its turn
BACKUPS = "backups"  # folder beside the file, where it is kept before a migration

# Numbered by position; PRAGMA user_version tells how many a file has seen.
_MIGRATIONS = (
    """
    CREATE TABLE removals (
        number   INTEGER PRIMARY KEY AUTOINCREMENT,
        happened TEXT NOT NULL,
        what     TEXT NOT NULL                        -- as `undo` tells it
    );
    CREATE TABLE lists (
        number   INTEGER PRIMARY KEY,
        name     TEXT NOT NULL,
        name_key TEXT NOT NULL,                       -- the name without regard to case
        created  TEXT NOT NULL,                       -- UTC
        removal  INTEGER REFERENCES removals          -- NULL while the list stands
    );
    CREATE UNIQUE INDEX one_list_a_name ON lists (name_key) WHERE removal IS NULL;
    CREATE TABLE entries (
        list     INTEGER NOT NULL REFERENCES lists,
        paper_id TEXT NOT NULL,
        position INTEGER NOT NULL,                    -- order within the list; gaps are meant
        title    TEXT NOT NULL,
        authors  TEXT NOT NULL,                       -- JSON: [[family, given, suffix], …]
        year     INTEGER,
        venue    TEXT NOT NULL,
        remark   TEXT NOT NULL,
        tags     TEXT NOT NULL,                       -- JSON: a sorted list
        added    TEXT NOT NULL,                       -- UTC
        read     TEXT,                                -- UTC; NULL while unread
        removal  INTEGER REFERENCES removals
    );
    CREATE UNIQUE INDEX one_entry_a_paper ON entries (list, paper_id) WHERE removal IS NULL;
    CREATE TABLE citation_keys (
        paper_id TEXT PRIMARY KEY,
        key      TEXT NOT NULL UNIQUE
    );
    CREATE TABLE dismissed (
        paper_id TEXT PRIMARY KEY,
        happened TEXT NOT NULL
    );
    CREATE TABLE recommended (
        list_key TEXT NOT NULL,                       -- '' for the whole library
        paper_id TEXT NOT NULL,
        day      TEXT NOT NULL,                       -- first shown
        PRIMARY KEY (list_key, paper_id)
    );
    """,
    """
    CREATE TABLE note_matches (
        note_id  TEXT PRIMARY KEY,
        paper_id TEXT NOT NULL,                       -- '' where none of the papers offered is the note's
        happened TEXT NOT NULL
    );
    """,
)


class LibraryFile:
    """The file, opened for every transaction. Safe to share between threads and processes."""

    def __init__(self, path: Path) -> None:
        """Set the path; the first write creates the file."""
        self.path = path
        self._ready = False

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection | None]:
        """Open a read transaction, one consistent state; `None` if there is no file. Raises StoreError if it is damaged."""
        if not self.path.exists():
            yield None
            return
        with self._connection() as file:
            file.execute("BEGIN")
            yield file
            file.execute("COMMIT")

    @property
    def read_only(self) -> bool:
        """Whether the folder exists and cannot be written."""
        return self.path.parent.exists() and not os.access(self.path.parent, os.W_OK)

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Open a write transaction, rolled back on any error. Raises StoreError if the file cannot be written or is damaged."""
        self._make_folder()
        with self._connection() as file:
            file.execute("BEGIN IMMEDIATE")
            try:
                yield file
            except BaseException:
                file.execute("ROLLBACK")
                raise
            file.execute("COMMIT")

    # The file as a whole ----------------------------------------------------------------------------------------------

    def copy_to(self, path: Path) -> None:
        """Copy a consistent state of the file to another path, atomically."""
        with self._connection() as file:
            _copy(file, path)

    def restore_from(self, path: Path) -> None:
        """Replace the content by that of another file, in one transaction."""
        self._make_folder()
        with self._connection() as file, closing(sqlite3.connect(path)) as other:
            other.backup(file)
        self._ready = False  # the other file may be of an older schema
        with self._connection():
            pass

    def problems(self) -> list[str]:
        """Problems of the file, in a sentence each. Raises NewerError if a newer version wrote it."""
        if not self.path.exists():
            return []
        try:
            with self._connection() as file:
                said = [str(line) for (line,) in file.execute("PRAGMA integrity_check(10)").fetchall() if line != "ok"]
                said += [
                    f"{table} refers to a row of {parent} that is gone"
                    for table, _, parent, _ in file.execute("PRAGMA foreign_key_check").fetchall()
                ]
                unreadable = file.execute(
                    "SELECT count(*) FROM entries WHERE NOT json_valid(authors) OR NOT json_valid(tags)"
                ).fetchone()[0]
                return said + ([f"{unreadable} entries have authors or tags that cannot be read"] if unreadable else [])
        except NewerError:
            raise
        except StoreError as error:
            return [str(error)]

    def equals(self, path: Path) -> bool:
        """Whether another file has the same content."""
        with self._connection() as file, closing(sqlite3.connect(path)) as other:
            return list(file.iterdump()) == list(other.iterdump())

    def _make_folder(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{self.path} cannot be written: {error.strerror}. Choose another folder with --home.") from error
        if self.read_only:
            raise StoreError(f"{self.path} cannot be written: its folder is read-only. Choose another folder with --home.")

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        try:
            with self._copied() if self.read_only else nullcontext(self.path) as path:
                file = sqlite3.connect(path, timeout=_BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
                try:
                    if not self._ready:
                        self._prepare(file, path)
                        self._ready = path == self.path
                    file.execute("PRAGMA foreign_keys = ON")
                    file.execute("PRAGMA synchronous = FULL")
                    yield file
                finally:
                    file.close()
        except (sqlite3.OperationalError, OSError) as error:
            raise StoreError(
                f"{self.path} cannot be used: {error}. Check the folder's permissions and free space, and try again."
            ) from error
        except sqlite3.DatabaseError as error:
            raise StoreError(f"{self.path} is damaged ({error}). Restore it from a backup, or move it away.") from error

    @contextmanager
    def _copied(self) -> Iterator[Path]:
        """A temporary copy: to read a file in WAL mode, SQLite must write beside it."""
        with TemporaryDirectory(prefix="kb-library-") as folder:
            for path in (self.path, self.path.with_name(self.path.name + "-wal")):
                if path.exists():
                    shutil.copyfile(path, Path(folder) / path.name)
            yield Path(folder) / self.path.name

    def _prepare(self, file: sqlite3.Connection, path: Path) -> None:
        """Migrate the file to the newest schema, under a lock between processes."""
        version = file.execute("PRAGMA user_version").fetchone()[0]
        if version > len(_MIGRATIONS):
            raise NewerError(
                f"{self.path} was written by a newer version (schema {version}). Upgrade: `pip install --upgrade paper-kb`."
            )
        if version == len(_MIGRATIONS):
            return
        with FileLock(path.with_name(path.name + ".lock")):
            file.execute("PRAGMA journal_mode = WAL")
            version = file.execute("PRAGMA user_version").fetchone()[0]
            if 0 < version < len(_MIGRATIONS):
                kept = path.parent / BACKUPS / f"{path.stem}-schema-{version}{path.suffix}"
                kept.parent.mkdir(exist_ok=True)
                _copy(file, kept)
            for number, sql in enumerate(_MIGRATIONS[version:], start=version + 1):
                file.executescript(f"BEGIN; {sql} PRAGMA user_version = {number}; COMMIT;")


def _copy(file: sqlite3.Connection, path: Path) -> None:
    with replacing(path) as temporary, closing(sqlite3.connect(temporary)) as copy:
        file.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")  # one file, nothing beside it


def now() -> str:
    """The current time as stored: ISO 8601, UTC, to the second."""
    return datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="seconds")
