"""Notes from files and folders into the catalogue."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ingest.notes.document import Document
from ingest.notes.files import FilesFound, find_notes, read_text
from ingest.notes.read import read_notes, with_guess
from ingest.report import Report
from kb.errors import SourceError
from kb.progress import Progress
from kb.store import Catalogue

#: Part of every file's digest: another number makes all files be read again.
READER_VERSION = 1
_NAMED_KINDS = 6
_NAMED_PAPERS = 1_000


def ingest_notes(catalogue: Catalogue, paths: Sequence[Path], progress: Progress) -> Report:
    """Read these files, and the notes of these folders, in place of what was read from them before.

    A file that has not changed is not read again. The notes of a file that is gone from one of the folders go with it, or to its
    new place where a new file holds the same text. A file that cannot be read is reported and keeps the notes it had; raises
    SourceError where a path names nothing to read at all.
    """
    report = Report(source=", ".join(map(str, paths)))
    found = [find_notes(path) for path in paths]
    files = {file.resolve() for one in found for file in one.files}
    known = catalogue.notes.digests()
    before = catalogue.notes.papers()
    gone = _gone(catalogue, paths, files)
    progress.start("Reading notes", len(files), "files")
    for file in sorted(files):
        source = str(file)
        if os.fsencode(source) != source.encode("utf-8", "replace"):
            report.skip(source.encode("utf-8", "replace").decode(), 0, "the name is no UTF-8; rename the file")
            progress.advance(1)
            continue
        try:
            _ingest_file(catalogue, file, known, gone, report)
        except SourceError as error:
            report.skip(str(file), 0, str(error))
        progress.advance(1)
    folders = [path.resolve() for path in paths if path.is_dir()]
    for source in gone:
        if any(Path(source).is_relative_to(folder) for folder in folders):
            _take_away(catalogue, source, report)
    _tell_left_out(found, report)
    catalogue.notes.settle()
    new = [(identifier, title) for identifier, title in catalogue.notes.papers().items() if identifier not in before]
    report.new_papers = new[:_NAMED_PAPERS]
    return report


def forget_notes(catalogue: Catalogue, paths: Sequence[Path], progress: Progress) -> Report:
    """Take away what these files and folders brought, whether or not they are still there.

    Raises SourceError where nothing came from a path.
    """
    report = Report(source=", ".join(map(str, paths)))
    sources = catalogue.notes.sources()
    for path in paths:
        place = path.resolve()
        under = [source for source in sources if Path(source) == place or Path(source).is_relative_to(place)]
        if not under:
            raise SourceError(f"{path}: no notes came from there; `kb doctor` names those whose file is gone")
        progress.start("Taking notes away", len(under), "files")
        for source in under:
            report.count("files", 1)
            _take_away(catalogue, source, report)
            progress.advance(1)
    catalogue.notes.settle()
    return report


def _take_away(catalogue: Catalogue, source: str, report: Report) -> None:
    report.count("removed", catalogue.notes.replace(source, (), ()).removed)
    catalogue.notes.keep_digest(source, "")


def _gone(catalogue: Catalogue, paths: Sequence[Path], files: set[Path]) -> dict[str, str]:
    """Sources whose file is gone, with the digests they had; those outside of these folders may have moved into them."""
    digests = catalogue.notes.digests()
    folders = [path.resolve() for path in paths if path.is_dir()]
    gone: dict[str, str] = {}
    for source in catalogue.notes.sources():
        place = Path(source)
        if place in files or place.exists():
            continue
        if any(place.is_relative_to(folder) for folder in folders) or digests.get(source):
            gone[source] = digests.get(source, "")
    return gone


def _ingest_file(catalogue: Catalogue, file: Path, known: dict[str, str], gone: dict[str, str], report: Report) -> None:
    source = str(file)
    text, encoding, data = read_text(file)
    digest = hashlib.sha256(data + f"\0{READER_VERSION}{file.suffix.lower()}".encode()).hexdigest()
    report.count("files", 1)
    if encoding:
        report.message = f"{report.message} {file.name} is no UTF-8: read as {encoding}, a guess.".strip()
    if source not in known:
        former = next((old for old, its in gone.items() if its == digest), "")
        if former:
            catalogue.notes.move(former, source)
            del gone[former]
            report.count("moved", 1)
            known[source] = digest
    if known.get(source) == digest:
        report.count("unchanged", catalogue.notes.count_of(source))
        return
    document = with_guess(read_notes(file, text, source), encoding)
    _keep(catalogue, document, report)
    # What could not be read is told again the next time, so that it is not forgotten.
    catalogue.notes.keep_digest(source, "" if document.skipped else digest)


def _keep(catalogue: Catalogue, document: Document, report: Report) -> None:
    changes = catalogue.notes.replace(document.source, document.notes, document.mentions)
    for name in ("new", "changed", "unchanged", "removed"):
        report.count(name, getattr(changes, name))
    report.count("mentions", len(document.mentions) + sum(len(n.mentions) for n in document.notes))
    if document.no_paper:
        report.leave_out(document.source, 1, document.no_paper)
    for skipped in document.skipped:
        report.skip(skipped.source, skipped.line, skipped.reason)


def _tell_left_out(found: Sequence[FilesFound], report: Report) -> None:
    """Count files of other kinds, and name the kinds."""
    kinds: Counter[str] = Counter()
    for one in found:
        kinds += one.left_out
    total = kinds.total()
    if not total:
        return
    report.count("files left out", total)
    named = ", ".join(f"{n} {kind or 'without a suffix'}" for kind, n in kinds.most_common(_NAMED_KINDS))
    files = "file" if total == 1 else "files"
    more = ", …" if len(kinds) > _NAMED_KINDS else ""
    report.message = f"{report.message} {total:,} {files} of other kinds left out: {named}{more}.".strip()
