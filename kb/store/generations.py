"""The knowledge base on disk: numbered, immutable generations of the catalogue, published by one atomic rename.

    HOME/
      CURRENT                   the name of the generation that is served
      generations/000012/       catalogue.duckdb, dense.faiss, lexical/, …, manifest.json; never written to again
      generations/.draft-…/     a job's working copy; swept by the next job if its own was killed
      vectors/                  embeddings by digest of their text (kb.encode.vector_store)
      backups/                  copies made before a migration or a restore; never deleted by this program
      config.toml               the categories followed and the jobs' times; written by the user, and by the app (categories)
      writer.lock               held by the job that writes

A job works in a draft and publishes it by replacing CURRENT. A reader has opened a generation that no longer changes, so
readers and writer never wait for each other, and a killed job leaves nothing but its draft.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import time
import uuid
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import duckdb

from kb.errors import NewerError, StoreError
from kb.files import replace_file, sync
from kb.locks import holding
from kb.store.catalogue import Catalogue
from kb.store.connection import Connection
from kb.store.schema import migrate, newest_schema, schema_of

CATALOGUE = "catalogue.duckdb"
_MANIFEST = "manifest.json"
_OWN_CHECKSUM = "crc32"  # of all the rest of the manifest
_KEPT_GENERATIONS = 2  # generations kept, so that whoever opened the last one can still read its files
_GENERATION_NAME = re.compile(r"\d{6,}")
_MIGRATION_WAIT = 600.0  # seconds: a job that is writing migrates too, and then there is nothing left to do
_STALE = 3600.0  # seconds after which nobody is writing to a temporary file any more
_CHUNK_BYTES = 1 << 20
_log = logging.getLogger(__name__)
# What DuckDB raises if the disk or the memory is full, as opposed to a wrong statement.
_DISK_OR_MEMORY_FULL = (duckdb.IOException, duckdb.OutOfMemoryException, duckdb.FatalException, duckdb.TransactionException)


@dataclass(frozen=True, slots=True)
class Manifest:
    """Facts of one generation: counts, model, files with their sizes and checksums; stored as `manifest.json`."""

    generation: int = 0
    schema: int = 0
    papers: int = 0
    notes: int = 0
    code_links: int = 0
    embedded: int = 0
    model_id: str = ""
    model_fingerprint: str = ""
    dimension: int = 0
    text_recipe: str = ""
    files: dict[str, int] = field(default_factory=dict)
    """Every file of the generation, with its size in bytes."""
    checksums: dict[str, int] = field(default_factory=dict)
    """CRC-32 of every file; none in a generation that an earlier version published."""

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read a generation's manifest. Raises StoreError if it is missing or damaged, NewerError if it is newer."""
        try:
            values = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
            schema = values["schema"]
            if isinstance(schema, int) and schema > newest_schema():
                raise NewerError(
                    f"This knowledge base was written by a newer version (schema {schema}, this program knows "
                    f"{newest_schema()}). Upgrade: `pip install --upgrade paper-kb`."
                )
            own = values.pop(_OWN_CHECKSUM, None)  # none in a manifest of an earlier version
            if own is not None and own != zlib.crc32(json.dumps(values).encode()):
                raise ValueError("its checksum differs")
            values.pop("documents_digest", None)  # which earlier versions wrote, and none read
            return cls(**values)
        except (OSError, ValueError, TypeError, LookupError) as error:
            raise StoreError(
                f"{folder / _MANIFEST} is missing or damaged ({error}). Run `kb doctor --repair`: it publishes a new generation."
            ) from error

    def write(self, folder: Path) -> None:
        """Write the manifest into a folder, with a checksum of its own content."""
        values = asdict(self)
        values[_OWN_CHECKSUM] = zlib.crc32(json.dumps(values).encode())
        (folder / _MANIFEST).write_text(json.dumps(values, indent=1), encoding="utf-8")


class Generation:
    """A published generation, open for reading. Safe to share between threads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest = Manifest.read(folder)
        self._connection = Connection(folder / CATALOGUE, read_only=True)
        self.catalogue = Catalogue(self._connection)

    @property
    def name(self) -> str:
        """The name of its folder, a number of six digits."""
        return self.folder.name

    def file(self, name: str) -> Path:
        """Path of a file of this generation. Raises StoreError if it is missing or not of the published size."""
        path = self.folder / name
        expected = self.manifest.files.get(name)
        found = path.stat().st_size if path.is_file() else None
        if expected is None or found != expected:
            state = "is missing" if found is None else f"has {found} bytes instead of {expected}"
            raise StoreError(f"{path} {state}. Run `kb index`: it builds the indexes again, nothing stored is lost.")
        return path

    def verified_file(self, name: str) -> Path:
        """Path of a file of this generation, read and compared with its published checksum.

        Raises StoreError if the file is missing or not what was published.
        """
        path = self.file(name)
        expected = self.manifest.checksums.get(name)
        if expected is not None and checksum(path) != expected:
            raise StoreError(
                f"{path} is damaged: its content is not what was published. Run `kb index`: it builds the indexes again, "
                "nothing stored is lost."
            )
        return path

    def subfolder(self, name: str) -> Path:
        """Path of a folder of this generation. Raises StoreError if one of its files is missing or not of the published size."""
        for file in self.manifest.files:
            if file.startswith(f"{name}/"):
                self.file(file)
        return self.folder / name

    def close(self) -> None:
        """Close the database file."""
        self._connection.close()


class Draft:
    """A job's working copy of the newest generation."""

    def __init__(self, home: Home, folder: Path, manifest: Manifest) -> None:
        self._home = home
        self.folder = folder
        self.previous = manifest
        self.manifest = replace(manifest, schema=newest_schema())
        # Files taken over as they are keep the checksum that they had when they were written.
        self._taken_over = {name: path.stat().st_ino for name, path in _files(folder) if name != CATALOGUE}
        self._connection = Connection(folder / CATALOGUE, read_only=False)
        try:
            before = schema_of(self._connection)
            older = 0 < before < newest_schema()
            if older:
                # On stderr wherever the program runs: it takes ten seconds for 250,000 papers.
                _log.warning("Bringing %s to this version's form; the present one stays in %s.", home.path, home.backups)
                home.back_up_current(f"schema-{before}")
            migrate(self._connection)
            if older:
                self._compact()
        except BaseException:
            self._connection.close()
            raise
        self.catalogue = Catalogue(self._connection)

    def _compact(self) -> None:
        """Copy the catalogue into a new file: DuckDB keeps the space of tables that a migration rewrote."""
        path = self.folder / CATALOGUE
        compact = path.with_suffix(".compact")
        quoted = str(compact).replace("'", "''")  # ATTACH takes no parameter
        self._connection.write(f"ATTACH '{quoted}' AS compact")
        self._connection.write("COPY FROM DATABASE catalogue TO compact")
        self._connection.write("CHECKPOINT compact")
        self._connection.close()
        compact.replace(path)
        self._connection = Connection(path, read_only=False)

    def discard(self, *names: str) -> None:
        """Remove files and folders taken over from the previous generation, so that they are rebuilt."""
        for name, path in _files(self.folder):
            if name in names or name.partition("/")[0] in names:
                path.unlink()

    def publish(self) -> Manifest:
        """Make this draft the current generation; returns its manifest. Raises StoreError if it cannot be written."""
        counts = self.catalogue.counts()
        self._connection.write("CHECKPOINT")  # else a full disk would be noticed by nobody
        self.close()
        files = _files(self.folder)
        manifest = replace(
            self.manifest,
            generation=self._home.last_number() + 1,
            papers=counts["papers"],
            notes=counts["notes"],
            code_links=counts["code_links"],
            files={name: path.stat().st_size for name, path in files},
            checksums={name: self._checksum(name, path) for name, path in files},
        )
        manifest.write(self.folder)
        for path in self.folder.rglob("*"):
            sync(path)
        target = self._home.generations / f"{manifest.generation:06d}"
        self.folder.rename(target)
        sync(self._home.generations)
        self._home.set_current(target.name)
        return manifest

    def _checksum(self, name: str, path: Path) -> int:
        known = self.previous.checksums.get(name)
        if known is not None and self._taken_over.get(name) == path.stat().st_ino:
            return known
        return checksum(path)

    def close(self) -> None:
        """Close the database file."""
        self._connection.close()

    @property
    def vectors(self) -> Path:
        """Folder of what has been embedded."""
        return self._home.vectors


class Home:
    """A knowledge base's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.generations = path / "generations"
        self.vectors = path / "vectors"
        self.backups = path / "backups"
        self.configuration = path / "config.toml"
        self._pointer = path / "CURRENT"

    def exists(self) -> bool:
        """Whether there is a generation. Raises StoreError if the user may not read which."""
        return bool(self._current())

    def current_name(self) -> str:
        """Name of the current generation; cheap enough to call on every page run. Raises StoreError if there is none."""
        if name := self._current():
            return name
        if self._pointer.exists():
            raise StoreError(f"{self._pointer} is damaged and {self.generations} holds no generation. Ingest again.")
        raise StoreError(
            f"There is no knowledge base in {self.path} yet. Make one: `kb ingest notes FILE`, or `kb ingest snapshot FILE`."
        )

    def _current(self) -> str:
        """Name of the generation that CURRENT names, else of the newest; '' if there is none."""
        try:
            name = self._pointer.read_text(encoding="utf-8").strip()
        except PermissionError as error:
            raise StoreError(f"{self._pointer} cannot be read: {error.strerror}. Check the folder's permissions.") from error
        except (OSError, UnicodeDecodeError):  # lost, damaged, or a first job was killed just before its last step
            name = ""
        if _GENERATION_NAME.fullmatch(name) and (self.generations / name).is_dir():
            return name
        newest = self.newest()
        return f"{newest:06d}" if newest else ""

    def open(self) -> Generation:
        """Open the current generation; one of an older schema is migrated first and kept in `backups`.

        Raises StoreError if there is none or it is damaged, NewerError if a newer version wrote it.
        """
        for _ in range(20):
            name = self.current_name()
            try:
                generation = Generation(self.generations / name)
                if generation.manifest.schema == newest_schema():
                    return generation
                generation.close()
                self._migrate()
            except (StoreError, duckdb.Error):
                # Two jobs published between reading the name and opening it, and the folder is swept: take the new one.
                if name == self.current_name():
                    raise
        raise StoreError(f"Generations in {self.path} change faster than they can be opened. Try again.")

    def _migrate(self) -> None:
        with self.draft(_MIGRATION_WAIT) as draft:
            if draft.previous.schema < newest_schema():
                draft.publish()

    def back_up_current(self, why: str) -> Path:
        """Back up the current generation by hard links, which take no space; returns its folder in `backups`."""
        source = self.generations / self.current_name()
        target = self.backups / f"{why}-generation-{source.name}"
        if not target.exists():
            partial = self.backups / f".partial-{uuid.uuid4().hex[:12]}"
            shutil.copytree(source, partial, copy_function=os.link)
            partial.rename(target)
            sync(self.backups)
        return target

    def roll_back(self) -> Path | None:
        """Make the newest earlier generation with an intact catalogue the current one.

        The present one is moved to `backups`, and its folder there is returned; `None`, and nothing changed, if there is no
        such earlier one. Raises BusyError if a job is writing.
        """
        with self._writing(0.0):
            present = self.current_name()
            earlier = self.previous_intact()
            if not earlier:
                return None
            self.set_current(earlier)
            self.backups.mkdir(exist_ok=True)
            return (self.generations / present).rename(self.backups / f"damaged-{present}-{uuid.uuid4().hex[:6]}")

    def previous_intact(self) -> str:
        """Name of the newest generation before the current one whose catalogue matches its checksum; '' if there is none."""
        present = self.current_name()
        names = (f"{number:06d}" for number in reversed(self.numbers()))
        return next((name for name in names if name != present and _is_intact(self.generations / name)), "")

    def newest(self) -> int:
        """Number of the newest complete generation; 0 if there is none."""
        return max((number for number in self.numbers() if (self.generations / f"{number:06d}" / _MANIFEST).is_file()), default=0)

    def last_number(self) -> int:
        """Highest number of a generation, complete or not; 0 if there is none."""
        return max(self.numbers(), default=0)

    def numbers(self) -> list[int]:
        """Numbers of all generations, complete or not, ascending."""
        if not self.generations.is_dir():
            return []
        return sorted(int(path.name) for path in self.generations.iterdir() if _GENERATION_NAME.fullmatch(path.name))

    def set_current(self, name: str) -> None:
        """Make this generation the current one, by one atomic rename. Raises OSError where that cannot be."""
        if self._pointer.is_symlink():  # nothing that this program made
            self._pointer.unlink()
        elif self._pointer.is_dir():
            self.backups.mkdir(exist_ok=True)
            self._pointer.rename(self.backups / f"damaged-CURRENT-{uuid.uuid4().hex[:6]}")
        replace_file(self._pointer, f"{name}\n")

    @contextmanager
    def draft(self, wait: float = 0.0) -> Iterator[Draft]:
        """Open a working copy for one job; without `publish()`, or after an error, it is discarded.

        Raises BusyError if another job is writing for longer than `wait` seconds, and StoreError if the folder cannot
        be written.
        """
        with self._writing(wait):
            draft: Draft | None = None
            try:
                self.generations.mkdir(exist_ok=True)
                self._sweep()
                folder = self.generations / f".draft-{uuid.uuid4().hex[:12]}"
                folder.mkdir()
                draft = Draft(self, folder, self._copy_current(folder))
                yield draft
            except OSError as error:
                raise self._out_of_room(error.strerror or str(error)) from error
            except _DISK_OR_MEMORY_FULL as error:
                raise self._out_of_room(str(error).splitlines()[0]) from error
            except RuntimeError as error:
                if str(error) == "Query interrupted":  # what DuckDB makes of Ctrl-C
                    raise KeyboardInterrupt from error
                raise
            finally:
                if draft is not None:
                    draft.close()
                self._sweep()

    def _writing(self, wait: float) -> AbstractContextManager[None]:
        """Hold the writer lock."""
        busy = f"Another job is writing to {self.path}. Wait for it, or stop it; this one changed nothing."
        return holding(self.path / "writer.lock", busy, wait)

    def _out_of_room(self, reason: str) -> StoreError:
        return StoreError(
            f"{self.path} cannot be written ({reason}). Nothing was published. Make room, or check the folder's permissions, "
            "and run the same command again."
        )

    def _copy_current(self, folder: Path) -> Manifest:
        if not self.exists():
            return Manifest()
        source = self.generations / self.current_name()
        try:
            manifest = Manifest.read(source)
        except NewerError:
            raise
        except StoreError:
            manifest = Manifest()  # its index files, which nothing vouches for, are not taken over
        if not (source / CATALOGUE).is_file():
            raise StoreError(f"{source / CATALOGUE} is missing. Ingest your sources again, or restore the folder from a backup.")
        shutil.copyfile(source / CATALOGUE, folder / CATALOGUE)
        for name in manifest.files:
            # Index files are replaced, never written to, so one file can belong to many generations.
            if name != CATALOGUE and (source / name).is_file():
                (folder / name).parent.mkdir(exist_ok=True)
                os.link(source / name, folder / name)
        return manifest

    def _sweep(self) -> None:
        """Remove unpublished drafts, generations older than those kept, and temporary files of an hour ago."""
        newest = self.newest()
        for path in self.generations.glob("*"):  # nothing where a full disk has no room for the folder
            unpublished = path.name.startswith(".draft-")
            superseded = bool(_GENERATION_NAME.fullmatch(path.name)) and int(path.name) <= newest - _KEPT_GENERATIONS
            if unpublished or (superseded and path.name != self.current_name()):
                shutil.rmtree(path, ignore_errors=True)
        for pattern in (".*.tmp", "*/.*.tmp", "*/*/.*.tmp"):  # what a killed process was about to rename
            for path in self.path.glob(pattern):
                with suppress(OSError):
                    if time.time() - path.stat().st_mtime > _STALE:
                        path.unlink()


def _files(folder: Path) -> list[tuple[str, Path]]:
    """Names (relative paths) and paths of the files of a generation, subfolders included, the manifest excluded."""
    # A reader leaves lock files behind; they belong to nobody.
    paths = sorted(p for p in folder.rglob("*") if p.is_file() and p != folder / _MANIFEST and p.suffix != ".lock")
    return [(path.relative_to(folder).as_posix(), path) for path in paths]


def _is_intact(folder: Path) -> bool:
    """Whether a generation's catalogue matches its published checksum."""
    try:
        manifest = Manifest.read(folder)
        return checksum(folder / CATALOGUE) == manifest.checksums[CATALOGUE]
    except (StoreError, OSError, KeyError):
        return False


def checksum(path: Path) -> int:
    """CRC-32 of a file; detects every error burst of up to 32 bits. Raises OSError if the file cannot be read."""
    value = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            value = zlib.crc32(chunk, value)
    return value
