"""The SQLite file `library.sqlite`: schema, migrations, read and write transactions, copies."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

from kb.errors import BusyError, DamagedError, DiskFullError, NewerError, StoreError
from kb.files import is_full, make_private, replacing
from kb.locks import holding

_BUSY_TIMEOUT = 60.0  # seconds that a change waits for its turn
BACKUPS = "backups"  # folder beside the file, where it is kept before a migration

# Result codes of SQLite that say that it could not write, be it only beside the file.
_NOT_WRITABLE = {
    sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM,
}  # fmt: skip
_SHARED_MEMORY = Path("/dev/shm")
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
        self._used = False

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection | None]:
        """Open a read transaction, one consistent state; `None` if there is no file.

        Works on a full disk and in a folder that cannot be written. Raises StoreError if the file is damaged.
        """
        if not self._exists():
            yield None
            return
        with self._translating_errors():
            file = self._open_to_read()
        with closing(file):
            try:
                yield file
            except sqlite3.DatabaseError as error:
                raise self._translated(error) from error

    @property
    def read_only(self) -> bool:
        """Whether the folder exists and cannot be written."""
        return self.path.parent.exists() and not os.access(self.path.parent, os.W_OK)

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Open a write transaction, rolled back on any error.

        Raises StoreError if the file cannot be written or is damaged, DiskFullError if there is no room.
        """
        self._make_file()
        with self._translating_errors(), closing(self._open()) as file:
            file.execute("BEGIN IMMEDIATE")
            try:
                yield file
                file.execute("COMMIT")
            except BaseException:
                if file.in_transaction:  # SQLite has rolled back itself where the disk is full
                    file.execute("ROLLBACK")
                raise

    # The file as a whole ----------------------------------------------------------------------------------------------

    def copy_to(self, path: Path) -> None:
        """Copy a consistent state of the file to another path, atomically. Raises StoreError if it is damaged."""
        with self.reading() as file:
            if file is not None:
                _copy(file, path)

    def restore_from(self, path: Path) -> None:
        """Replace the content by that of another file, in one transaction. Raises StoreError as `writing` does."""
        self._make_file()
        with self._translating_errors(), closing(self._open()) as file, closing(sqlite3.connect(path)) as other:
            other.backup(file)
            self._prepare(file)  # the other file may be of an older schema

    def problems(self) -> list[str]:
        """Problems of the file, in a sentence each.

        Raises NewerError if a newer version wrote it, and StoreError if it cannot be read for another reason than damage.
        """
        try:
            with self.reading() as file:
                if file is None:
                    return []
                said = [str(line) for (line,) in file.execute("PRAGMA integrity_check(10)").fetchall() if line != "ok"]
                said += [
                    f"{table} refers to a row of {parent} that is gone"
                    for table, _, parent, _ in file.execute("PRAGMA foreign_key_check").fetchall()
                ]
                unreadable = file.execute(
                    "SELECT count(*) FROM entries WHERE NOT json_valid(authors) OR NOT json_valid(tags)"
                ).fetchone()[0]
                return said + ([f"{unreadable} entries have authors or tags that cannot be read"] if unreadable else [])
        except DamagedError as error:
            return [str(error)]

    def equals(self, path: Path) -> bool:
        """Whether another file has the same content. Raises StoreError if this one is damaged."""
        with self.reading() as file, closing(sqlite3.connect(path)) as other:
            return file is not None and list(file.iterdump()) == list(other.iterdump())

    # Opening ----------------------------------------------------------------------------------------------------------

    def _exists(self) -> bool:
        """Whether there is a file. Raises StoreError for a link to nowhere, or the lists would seem to be gone."""
        if self.path.is_symlink() and not self.path.exists():
            target = self.path.readlink()
            raise StoreError(f"{self.path} is a link to {target}, which is not there. Bring it back, or delete the link.")
        return self.path.exists()

    def _make_file(self) -> None:
        """Make a file of the newest schema where there is none: whole or not there, so that an empty one is a damaged one."""
        if self.read_only:
            raise StoreError(f"{self.path} cannot be written: its folder is read-only. Choose another folder with --home.")
        if self._exists():
            return
        with self._translating_errors(), self._migrating():
            if not self.path.exists():
                with replacing(self.path, mode=0o600) as temporary, closing(sqlite3.connect(temporary)) as file:
                    file.execute("PRAGMA journal_mode = WAL")
                    _migrate(file)

    def _migrating(self) -> AbstractContextManager[None]:
        """Hold the lock between processes that make or migrate the file."""
        lock = self.path.with_name(f"{self.path.name}.lock")
        return holding(lock, f"Another process is migrating {self.path}. Try again.", _BUSY_TIMEOUT)

    @contextmanager
    def _translating_errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.DatabaseError, OSError) as error:
            raise self._translated(error) from error

    def _translated(self, error: sqlite3.DatabaseError | OSError) -> StoreError:
        """The error to raise in place of one of SQLite or the operating system."""
        if not isinstance(error, sqlite3.OperationalError | OSError):
            return DamagedError(f"{self.path} is damaged ({error}). Restore it from a backup, or move it away.")
        if _primary_code(error) == sqlite3.SQLITE_BUSY:
            return BusyError(f"{self.path} has been in use by another process for {_BUSY_TIMEOUT:.0f} s. Try again.")
        if is_full(self.path.parent):
            return DiskFullError(f"The disk is full: {self.path} cannot be written, only read. Make room, and try again.")
        return StoreError(f"{self.path} cannot be used: {error}. Check the folder's permissions, and try again.")

    def _open(self) -> sqlite3.Connection:
        """A connection to the file, of the newest schema."""
        file = sqlite3.connect(self.path, timeout=_BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
        try:
            self._prepare(file)
            self._used = True
            file.execute("PRAGMA foreign_keys = ON")
            file.execute("PRAGMA synchronous = FULL")
        except BaseException:
            file.close()
            raise
        return file

    def _open_to_read(self) -> sqlite3.Connection:
        """A connection in a read transaction: to the file, or to a copy in memory.

        To read a file in WAL mode SQLite writes beside it, for which there may be no room or no permission.
        """
        if not self.read_only:
            try:
                file = self._open()
            except (sqlite3.OperationalError, OSError) as error:
                if _primary_code(error) not in _NOT_WRITABLE:
                    raise
                return self._open_copy()
            try:
                file.execute("BEGIN")
                file.execute("SELECT count(*) FROM sqlite_master").fetchone()  # where SQLite takes its lock
                return file
            except sqlite3.OperationalError as error:
                file.close()
                if _primary_code(error) not in _NOT_WRITABLE:
                    raise
        return self._open_copy()

    def _open_copy(self) -> sqlite3.Connection:
        """A connection to a copy in memory."""
        real = Path(os.path.realpath(self.path))  # beside which SQLite keeps the log
        log = real.with_name(f"{real.name}-wal")
        file = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        try:
            if log.exists() and log.stat().st_size:
                with _temporary_folder() as folder:
                    for path in (real, log):
                        shutil.copyfile(path, folder / path.name)
                    with closing(sqlite3.connect(folder / real.name)) as copy:
                        copy.backup(file)
            else:
                content = self.path.read_bytes()
                # Bytes 18 and 19 of the header say that there is a write-ahead log, which a file in memory cannot have.
                file.deserialize(content[:18] + b"\x01\x01" + content[20:])
            self._check_version(file)
            _migrate(file)
            file.execute("BEGIN")
        except BaseException:
            file.close()
            raise
        return file

    def _check_version(self, file: sqlite3.Connection) -> int:
        """Number of the file's schema.

        Raises DamagedError for an empty file, and NewerError for a newer one; who has used it before goes on.
        """
        version = _version(file)
        if not version:
            raise DamagedError(f"{self.path} is damaged (it is empty). Restore it from a backup, or move it away.")
        if version > len(_MIGRATIONS) and not self._used:
            raise NewerError(
                f"{self.path} was written by a newer version (schema {version}). Upgrade: `pip install --upgrade paper-kb`."
            )
        return version

    def _prepare(self, file: sqlite3.Connection) -> None:
        """Migrate the file to the newest schema, under a lock between processes. Raises NewerError if it is newer."""
        if self._check_version(file) >= len(_MIGRATIONS):
            return
        with self._migrating():
            file.execute("PRAGMA journal_mode = WAL")
            version = _version(file)
            if 0 < version < len(_MIGRATIONS):
                kept = self.path.parent / BACKUPS / f"{self.path.stem}-schema-{version}{self.path.suffix}"
                make_private(kept.parent)
                _copy(file, kept)
            _migrate(file)


def _version(file: sqlite3.Connection) -> int:
    """Number of migrations that a file has seen."""
    return int(file.execute("PRAGMA user_version").fetchone()[0])


def _migrate(file: sqlite3.Connection) -> None:
    version = _version(file)
    for number, sql in enumerate(_MIGRATIONS[version:], start=version + 1):
        file.executescript(f"BEGIN; {sql} PRAGMA user_version = {number}; COMMIT;")


def _primary_code(error: Exception) -> int:
    """SQLite's primary result code of an error; SQLITE_CANTOPEN for one of the operating system."""
    if isinstance(error, OSError):
        return sqlite3.SQLITE_CANTOPEN
    return int(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)) & 0xFF


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    """A temporary folder, in memory where the system has such and the disk is full."""
    place = _SHARED_MEMORY if is_full(Path(gettempdir())) and _SHARED_MEMORY.is_dir() else None
    with TemporaryDirectory(prefix="kb-library-", dir=place) as folder:
        yield Path(folder)


def _copy(file: sqlite3.Connection, path: Path) -> None:
    """Write a copy of all tables, atomically. Raises OSError where there is no room."""
    with replacing(path, mode=0o600) as temporary, closing(sqlite3.connect(temporary)) as copy:
        try:
            file.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")  # one file, nothing beside it
        except sqlite3.OperationalError as error:
            raise OSError(str(error)) from error


def now() -> str:
    """The current time as stored: ISO 8601, UTC, to the second."""
    return datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="seconds")
