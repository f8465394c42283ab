"""Which files of a folder hold notes, and the text in them, whatever its encoding."""

from __future__ import annotations

import fnmatch
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import charset_normalizer

from kb.errors import SourceError

MARKDOWN = frozenset({".md", ".markdown", ".mdown", ".mkd", ".mdx", ".qmd", ".rmd", ".txt"})
#: Read as what they are: Org, HTML and bookmark files, bibliographies.
OTHERS = frozenset({".org", ".html", ".htm", ".bib", ".ris"})
_LEFT_OUT = frozenset({"node_modules", "templates", "_templates", "template", "__pycache__", "venv", "site-packages"})
IGNORE_FILE = ".kbignore"
_LARGEST = 64 << 20  # bytes; the longest lists of papers have some hundred KB
_BYTE_ORDER_MARKS = ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"), (b"\xef\xbb\xbf", "utf-8-sig"))
# What notes are written in, beside UTF-8; guesses of other encodings are nearly always wrong.
_ENCODINGS = ["gb18030", "shift_jis", "euc_jp", "euc_kr", "big5", "cp1251", "cp1252", "latin_1", "utf_16"]


@dataclass(frozen=True, slots=True)
class FilesFound:
    """The files of notes below a path, and what lies beside them."""

    files: tuple[Path, ...]
    left_out: Counter[str] = field(default_factory=Counter)
    """Number of visible files of other kinds, by suffix; '' for none."""


def find_notes(path: Path) -> FilesFound:
    """The file itself, or the notes below a folder in order; linked folders are followed once.

    Hidden files and folders are left out, `node_modules` and templates, and what a `.kbignore` says.
    Raises SourceError where the path does not exist or has no notes below it.
    """
    if not path.exists():
        raise SourceError(f"{path}: there is no such file or folder; `kb ingest notes --forget {path}` takes its notes away")
    if not path.is_dir():
        return FilesFound((path,))
    found: list[Path] = []
    left_out: Counter[str] = Counter()
    known: set[Path] = set()
    ignored: list[tuple[Path, list[str]]] = []
    for folder, folders, files in os.walk(path, followlinks=True):
        here = Path(folder)
        if here.resolve() in known:
            folders.clear()
            continue
        known.add(here.resolve())
        if IGNORE_FILE in files:
            ignored.append((here, _patterns(here / IGNORE_FILE)))
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".")
            and name.lower() not in _LEFT_OUT
            and not _is_ignored(here / name, ignored, is_folder=True)
        )
        for name in files:
            file = here / name
            if name.startswith(".") or _is_ignored(file, ignored, is_folder=False):
                continue
            if file.suffix.lower() in MARKDOWN | OTHERS or _is_csl(file):
                found.append(file)
            else:
                left_out[file.suffix.lower()] += 1
    if not found:
        raise SourceError(
            f"{path}: no notes below this folder; they are looked for in {', '.join(sorted(MARKDOWN | OTHERS))} files"
        )
    return FilesFound(tuple(sorted(found)), left_out)


def note_files(path: Path) -> list[Path]:
    """The files of `find_notes` alone. Raises SourceError as it does."""
    return list(find_notes(path).files)


def _is_csl(file: Path) -> bool:
    return file.name.lower().endswith((".csl.json", "references.json", "library.json"))


def _patterns(file: Path) -> list[str]:
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def _is_ignored(path: Path, ignored: Sequence[tuple[Path, list[str]]], *, is_folder: bool) -> bool:
    """Whether a `.kbignore` at or above a path names it: by name, or by its path from there; `drafts/` is a folder only."""
    for folder, patterns in ignored:
        if not path.is_relative_to(folder):
            continue
        relative = path.relative_to(folder).as_posix()
        for pattern in patterns:
            bare = pattern.strip("/")
            if pattern.endswith("/") and not is_folder:
                continue
            if fnmatch.fnmatch(relative, bare) or ("/" not in bare and fnmatch.fnmatch(path.name, bare)):
                return True
    return False


def read_text(path: Path) -> tuple[str, str, bytes]:
    """The text of a file, the encoding that was guessed for it, and its bytes; the guess is '' for UTF-8 and byte order marks.

    Raises SourceError where the file is missing, a folder, no regular file, too large, or no text.
    """
    if path.is_dir():
        raise SourceError(f"{path}: is a folder, not a file of notes")
    if path.exists() and not path.is_file():
        raise SourceError(f"{path}: is no regular file")
    try:
        if path.stat().st_size > _LARGEST:
            raise SourceError(f"{path}: is larger than {_LARGEST >> 20} MiB, which no file of notes is")
        data = path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror or error}") from None
    for mark, encoding in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            try:
                return data.decode(encoding), "", data
            except UnicodeDecodeError as error:
                raise SourceError(f"{path}: byte {error.start} is no {encoding}, which its byte order mark says it is") from None
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        return _guessed(path, data, error), _encoding(data), data
    if (position := data.find(b"\0")) >= 0:
        line = data.count(b"\n", 0, position) + 1
        raise SourceError(f"{path}: byte {position} (line {line}) is zero: this is no text")
    return text, "", data


def _encoding(data: bytes) -> str:
    best = charset_normalizer.from_bytes(data[:200_000], cp_isolation=_ENCODINGS).best()
    return best.encoding if best is not None else ""


def _guessed(path: Path, data: bytes, error: UnicodeDecodeError) -> str:
    line = data.count(b"\n", 0, error.start) + 1
    where = f"{path}: byte {error.start} (line {line}) is no UTF-8"
    if b"\0" in data and data.count(b"\0") * 5 < len(data):
        raise SourceError(f"{where}, and no text") from None
    encoding = _encoding(data)
    if not encoding:
        raise SourceError(f"{where}, and no other encoding is likely: convert the file to UTF-8 first") from None
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        raise SourceError(f"{where}, nor {encoding} throughout: convert the file to UTF-8 first") from None
