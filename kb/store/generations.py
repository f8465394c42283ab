"""The knowledge base on disk: generations of the catalogue, published whole.

    HOME/
      CURRENT                   the name of the generation that is served
      generations/000012/       catalogue.duckdb, dense.faiss, lexical/, …, manifest.json; never written to again
      generations/.draft-…/     a job's working copy; swept by the next job if its own was killed
      vectors/                  what has been embedded (kb.vectors)
      writer.lock               held by the one job that writes

A job works in a draft, and publishes it by replacing CURRENT, one atomic rename. Whoever searches has opened
a generation that no longer changes, so neither waits for the other, and a killed job leaves nothing but its draft.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import duckdb
from filelock import FileLock, Timeout

from kb.errors import BusyError, StoreError
from kb.store.catalogue import Catalogue
from kb.store.schema import migrate, newest_schema

CATALOGUE = "catalogue.duckdb"
_MANIFEST = "manifest.json"
_KEEP = 2  # generations kept, so that whoever opened the last one can still read its files
_NAME = re.compile(r"\d{6,}")


@dataclass(frozen=True, slots=True)
class Manifest:
    """What belongs together in one generation."""

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
    documents_digest: str = ""
    """Digest over the papers and texts that the indexes hold; equal digests need no new index."""
    files: dict[str, int] = field(default_factory=dict)
    """Every file of the generation, with its size in bytes."""

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        try:
            return cls(**json.loads((folder / _MANIFEST).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise StoreError(
                f"{folder / _MANIFEST} is missing or damaged ({error}). Run `kb index`: it publishes a new generation."
            ) from error


class Generation:
    """One published state, open for reading. Safe to share between threads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest = Manifest.read(folder)
        if self.manifest.schema > newest_schema():
            raise StoreError(
                f"This knowledge base was written by a newer version (schema {self.manifest.schema}). "
                "Upgrade: `pip install --upgrade paper-kb`."
            )
        self._connection = _connect(folder / CATALOGUE, read_only=True)
        self.catalogue = Catalogue(self._connection)

    @property
    def name(self) -> str:
        return self.folder.name

    def file(self, name: str) -> Path:
        """A file of this generation; raises StoreError where it is missing or not of the size published."""
        path = self.folder / name
        expected = self.manifest.files.get(name)
        found = path.stat().st_size if path.is_file() else None
        if expected is None or found != expected:
            state = "is missing" if found is None else f"has {found} bytes instead of {expected}"
            raise StoreError(f"{path} {state}. Run `kb index`: it builds the indexes again, nothing stored is lost.")
        return path

    def subfolder(self, name: str) -> Path:
        """A folder of this generation; raises StoreError where one of its files is missing or not of the size published."""
        for file in self.manifest.files:
            if file.startswith(f"{name}/"):
                self.file(file)
        return self.folder / name

    def close(self) -> None:
        self._connection.close()


class Draft:
    """A job's working copy of the newest generation."""

    def __init__(self, home: Home, folder: Path, manifest: Manifest) -> None:
        self._home = home
        self.folder = folder
        self.previous = manifest
        self.manifest = replace(manifest, schema=newest_schema())
        self._connection = _connect(folder / CATALOGUE, read_only=False)
        migrate(self._connection)
        self.catalogue = Catalogue(self._connection)

    def publish(self) -> Manifest:
        """Makes this draft the generation that is served."""
        counts = self.catalogue.counts()
        self.close()
        manifest = replace(
            self.manifest,
            generation=self._home.newest() + 1,
            papers=counts["papers"],
            notes=counts["notes"],
            code_links=counts["code_links"],
            files={name: path.stat().st_size for name, path in _files(self.folder)},
        )
        (self.folder / _MANIFEST).write_text(json.dumps(asdict(manifest), indent=1), encoding="utf-8")
        for path in self.folder.rglob("*"):
            _sync(path)
        target = self._home.generations / f"{manifest.generation:06d}"
        self.folder.rename(target)
        _sync(self._home.generations)
        self._home.point_to(target.name)
        return manifest

    def close(self) -> None:
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
        self._pointer = path / "CURRENT"

    def exists(self) -> bool:
        return self._pointer.is_file()

    def current_name(self) -> str:
        """Name of the generation that is served; cheap, so that a page can ask at every turn."""
        try:
            name = self._pointer.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            raise StoreError(
                f"There is no knowledge base in {self.path} yet. Make one: `kb ingest notes FILE`, or `kb ingest snapshot FILE`."
            ) from None
        except OSError as error:
            raise StoreError(f"{self._pointer} cannot be read: {error.strerror}. Check the folder's permissions.") from error
        if not _NAME.fullmatch(name):
            newest = self.newest()
            if not newest:
                raise StoreError(f"{self._pointer} is damaged and {self.generations} holds no generation. Ingest again.")
            return f"{newest:06d}"
        return name

    def open(self) -> Generation:
        """The generation that is served now."""
        for _ in range(20):
            name = self.current_name()
            try:
                return Generation(self.generations / name)
            except (StoreError, duckdb.Error):
                # Two jobs published between reading the name and opening it, and the folder is swept: take the new one.
                if name == self.current_name():
                    raise
        raise StoreError(f"Generations in {self.path} change faster than they can be opened. Try again.")

    def newest(self) -> int:
        """Number of the newest complete generation, 0 where there is none."""
        if not self.generations.is_dir():
            return 0
        return max(
            (int(p.name) for p in self.generations.iterdir() if _NAME.fullmatch(p.name) and (p / _MANIFEST).is_file()),
            default=0,
        )

    def point_to(self, name: str) -> None:
        temporary = self._pointer.with_name(f"CURRENT.{os.getpid()}.tmp")
        with temporary.open("w", encoding="utf-8") as file:
            file.write(name + "\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._pointer)
        _sync(self.path)

    @contextmanager
    def draft(self, wait: float = 0.0) -> Iterator[Draft]:
        """A working copy for one job. Left without `publish()`, or by an error, it is thrown away.

        Raises BusyError where another job holds it for longer than `wait` seconds, and StoreError where the
        folder cannot be written.
        """
        try:
            self.generations.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{self.path} cannot be written: {error.strerror}. Choose another folder with --home.") from error
        lock = FileLock(self.path / "writer.lock")
        try:
            lock.acquire(timeout=wait)
        except Timeout:
            raise BusyError(
                f"Another job is writing to {self.path}. Wait for it, or stop it; this one changed nothing."
            ) from None
        except OSError as error:
            raise StoreError(f"{self.path} cannot be written: {error.strerror}. Choose another folder with --home.") from error
        draft: Draft | None = None
        try:
            self._sweep()
            folder = self.generations / f".draft-{uuid.uuid4().hex[:12]}"
            folder.mkdir()
            draft = Draft(self, folder, self._copy_current(folder))
            yield draft
        finally:
            if draft is not None:
                draft.close()
            self._sweep()
            lock.release()

    def _copy_current(self, folder: Path) -> Manifest:
        if not self.exists():
            return Manifest()
        source = self.generations / self.current_name()
        try:
            manifest = Manifest.read(source)
        except StoreError:
            manifest = Manifest()
        if not (source / CATALOGUE).is_file():
            raise StoreError(f"{source / CATALOGUE} is missing. Ingest your sources again, or restore the folder from a backup.")
        shutil.copyfile(source / CATALOGUE, folder / CATALOGUE)
        for name, path in _files(source):
            # Index files are replaced, never written to, so one file can belong to many generations.
            if name != CATALOGUE:
                (folder / name).parent.mkdir(exist_ok=True)
                os.link(path, folder / name)
        return manifest

    def _sweep(self) -> None:
        """Removes drafts that were not published, and generations older than those kept."""
        newest = self.newest()
        for path in self.generations.iterdir():
            unpublished = path.name.startswith(".draft-")
            superseded = bool(_NAME.fullmatch(path.name)) and int(path.name) <= newest - _KEEP
            if unpublished or (superseded and path.name != self.current_name()):
                shutil.rmtree(path, ignore_errors=True)


def _connect(path: Path, *, read_only: bool) -> duckdb.DuckDBPyConnection:
    # An import must leave room for the rest of a laptop; DuckDB's own default is most of the memory.
    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": "1GB",
        "preserve_insertion_order": "false",
    }
    if not read_only:
        config["temp_directory"] = str(path.parent / "spill")
    try:
        connection = duckdb.connect(str(path), read_only=read_only, config=config)
        # DuckDB draws one on stdout where it takes the session for an interactive one, in the middle of a `--json`.
        connection.execute("SET enable_progress_bar = false")
        return connection
    except duckdb.Error as error:
        raise StoreError(
            f"{path} cannot be opened ({str(error).splitlines()[0]}). If it is damaged, restore the folder from a "
            "backup, or move it away and ingest your sources again."
        ) from error


def _files(folder: Path) -> list[tuple[str, Path]]:
    """The files that a generation consists of, its subfolders' included, by their names within it; its manifest apart."""
    # A reader leaves lock files behind; they belong to nobody.
    paths = sorted(p for p in folder.rglob("*") if p.is_file() and p != folder / _MANIFEST and p.suffix != ".lock")
    return [(path.relative_to(folder).as_posix(), path) for path in paths]


def _sync(path: Path) -> None:
    """Makes a file or folder durable before the next step relies on it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
