"""Backup and restore of the user's own files, `library.sqlite` and `config.toml`, in one .zip archive.

The archive also has `backup.json`: the time of the backup, and the SHA-256 of each file.
The catalogue, the vectors and the indexes are not in it: they can be made again from their sources.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import struct
import tempfile
import zipfile
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kb.errors import QueryError, SourceError, StoreError
from kb.files import make_private, replace_file, replacing
from kb.library import LIBRARY_FILE, LibraryFile
from kb.store import Home

_MANIFEST = "backup.json"
_MAX_FILE_BYTES = 256 << 20  # bytes of one file unpacked; ten thousand lists have some megabytes
# What zipfile raises for a file that is damaged, encrypted (RuntimeError), or made to break its reader.
_UNREADABLE = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, KeyError, ValueError, EOFError, RuntimeError, OSError, struct.error,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Restoration:
    """Result of a restore."""

    made: str
    """When the backup was made: UTC, to the second."""
    restored: tuple[str, ...]
    unchanged: tuple[str, ...]
    """Files that were like those of the backup already."""
    newer: tuple[str, ...]
    """Files that had been changed after the backup was made."""
    kept: Path | None
    """Folder with the files that were there before and differed; `None` where there were none."""


def back_up(home: Home, archive: Path) -> list[str]:
    """Write the archive atomically; returns the names of the files in it.

    Raises QueryError if the file exists already or there is nothing to back up, and StoreError if the user's files are
    damaged or the archive cannot be written.
    """
    if archive.exists():
        raise QueryError(f"{archive} exists already. Choose another name, such as one with the date.")
    library = LibraryFile(home.path / LIBRARY_FILE)
    if problems := library.problems():
        raise StoreError(f"{library.path} is damaged ({problems[0]}). No backup was made of it; restore one from before.")
    try:
        with tempfile.TemporaryDirectory(prefix=".backup-", dir=archive.parent) as place:
            folder = Path(place)
            if library.path.exists():
                library.copy_to(folder / LIBRARY_FILE)
            if home.configuration.exists():
                (folder / home.configuration.name).write_bytes(home.configuration.read_bytes())
            names = sorted(path.name for path in folder.iterdir())
            if not names:
                raise QueryError(f"There is nothing to keep in {home.path} yet: no reading list and no config.toml.")
            sums = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
            contents = {"format": 1, "made": _now().isoformat(), "files": sums}
            with replacing(archive, mode=0o600) as packed, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
                target.writestr(_MANIFEST, json.dumps(contents, indent=1))
                for name in names:
                    target.write(folder / name, name)
    except OSError as error:
        raise StoreError(f"{archive} cannot be written: {error.strerror or error}. Choose another place.") from error
    return names


def restore(home: Home, archive: Path) -> Restoration:
    """Replace the user's files by those of the archive.

    The whole archive is checked before anything is changed. Files that differ are first copied to a folder of their own in
    `backups`. Raises SourceError if the archive is damaged or is none, NewerError if a newer version wrote it, and
    StoreError if the folder cannot be written.
    """
    stamp = _now()
    try:
        make_private(home.path)
        with tempfile.TemporaryDirectory(prefix=".restore-", dir=home.path) as place:
            folder = Path(place)
            contents = _unpack(archive, folder)
            aside = home.backups / f"before-restoration-{stamp:%Y%m%dT%H%M%S}-{hashlib.sha256(place.encode()).hexdigest()[:6]}"
            restored: list[str] = []
            unchanged: list[str] = []
            newer: list[str] = []
            for name in contents["files"]:
                present = home.path / name
                if present.exists():
                    if _equals(present, folder / name):
                        unchanged.append(name)
                        continue
                    if _modified(present) > datetime.fromisoformat(contents["made"]):
                        newer.append(name)
                    aside.mkdir(parents=True, exist_ok=True)
                    _keep(present, aside / name)
                _put(folder / name, present)
                restored.append(name)
            kept = aside if aside.exists() else None
            return Restoration(contents["made"], tuple(restored), tuple(unchanged), tuple(newer), kept)
    except OSError as error:
        raise StoreError(f"{home.path} cannot be written: {error.strerror or error}. Run the same command again.") from error


def _unpack(archive: Path, folder: Path) -> dict[str, Any]:
    """Unpack the archive into a folder and verify it; returns the content of `backup.json`. Raises SourceError."""
    try:
        with zipfile.ZipFile(archive) as source:
            contents = _checked_contents(json.loads(_member(source, _MANIFEST)))
            files = {name: _member(source, name) for name in contents["files"]}
    except FileNotFoundError:
        raise SourceError(f"{archive}: there is no such file.") from None
    except _UNREADABLE as error:
        raise SourceError(f"{archive} is no backup that can be read ({error}). Take another one.") from error
    for name, data in files.items():
        if hashlib.sha256(data).hexdigest() != contents["files"][name]:
            raise SourceError(f"{archive}: {name} is not what was backed up. Take another backup.")
        (folder / name).write_bytes(data)
    if LIBRARY_FILE in files and (problems := LibraryFile(folder / LIBRARY_FILE).problems()):
        raise SourceError(f"{archive}: {LIBRARY_FILE} is damaged ({problems[0]}). Take another backup.")
    return contents


def _checked_contents(contents: Any) -> dict[str, Any]:  # noqa: ANN401
    """The content of `backup.json`, checked. Raises ValueError if `back_up` did not write it."""
    if not isinstance(contents, dict) or contents.get("format") != 1 or not isinstance(contents.get("files"), dict):
        raise ValueError(f"{_MANIFEST} is of another form")
    if not contents["files"].keys() <= {LIBRARY_FILE, "config.toml"}:
        raise ValueError(f"{_MANIFEST} names files that are none of the user's")
    if datetime.fromisoformat(str(contents.get("made"))).tzinfo is not None:
        raise ValueError(f"{_MANIFEST} has a time of another form")
    return contents


def _member(source: zipfile.ZipFile, name: str) -> bytes:
    if source.getinfo(name).file_size > _MAX_FILE_BYTES:
        raise ValueError(f"{name} is too large")
    return source.read(name)


def _equals(present: Path, new: Path) -> bool:
    if present.name != LIBRARY_FILE:
        return present.read_bytes() == new.read_bytes()
    try:
        return LibraryFile(present).equals(new)
    except StoreError:
        return False


def _modified(path: Path) -> datetime:
    """Time of the last change of a file or its write-ahead log: UTC, without zone, to the second."""
    beside = path.with_name(f"{path.name}-wal")
    last = max(p.stat().st_mtime for p in (path, beside) if p.exists())
    return datetime.fromtimestamp(int(last), UTC).replace(tzinfo=None)


def _keep(present: Path, target: Path) -> None:
    """Copy a file that is to be replaced; a damaged library is moved instead, with its write-ahead log."""
    if present.name == LIBRARY_FILE:
        library = LibraryFile(present)
        if not library.problems():
            library.copy_to(target)
            return
        for suffix in ("-wal", "-shm"):
            beside = present.with_name(present.name + suffix)
            if beside.exists():
                beside.rename(target.with_name(target.name + suffix))
        present.rename(target)
        return
    replace_file(target, present.read_bytes(), mode=0o600)


def _put(new: Path, present: Path) -> None:
    if present.name == LIBRARY_FILE:
        # Into the file that is there, in one transaction: the app may have it open.
        LibraryFile(present).restore_from(new)
    else:
        replace_file(present, new.read_bytes(), mode=0o600)


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None, microsecond=0)
