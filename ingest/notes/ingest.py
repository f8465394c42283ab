"""Markdown notes from files and folders into the catalogue."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ingest.notes import note_files, read_document
from ingest.report import Report
from kb.errors import SourceError
from kb.progress import Progress
from kb.store import Catalogue


def ingest_notes(catalogue: Catalogue, paths: Sequence[Path], progress: Progress) -> Report:
    """Reads these files, and the Markdown files of these folders, in place of what was read from them before.

    The notes of a file that is gone from one of the folders go with it. A file that cannot be read is reported and
    keeps the notes it had; raises SourceError where a path names nothing to read at all.
    """
    report = Report(source=", ".join(map(str, paths)))
    files = {file.resolve() for path in paths for file in note_files(path)}
    progress.start("Reading notes", len(files), "files")
    for file in sorted(files):
        source = str(file)
        if os.fsencode(source) != source.encode("utf-8", "replace"):
            report.skip(source.encode("utf-8", "replace").decode(), 0, "the name is no UTF-8; rename the file")
            progress.advance(1)
            continue
        try:
            document = read_document(file, source)
        except SourceError as error:
            report.skip(source, 0, str(error))
            progress.advance(1)
            continue
        changes = catalogue.notes.replace(source, document.notes, document.mentions)
        report.count("files", 1)
        for name in ("new", "changed", "unchanged", "removed"):
            report.count(name, getattr(changes, name))
        report.count("mentions", len(document.mentions) + sum(len(n.mentions) for n in document.notes))
        if document.no_paper:
            report.leave_out(source, 1, document.no_paper)
        for skipped in document.skipped:
            report.skip(skipped.source, skipped.line, skipped.reason)
        progress.advance(1)
    folders = [path.resolve() for path in paths if path.is_dir()]
    for source in catalogue.notes.sources():
        gone = Path(source)
        if gone not in files and any(gone.is_relative_to(folder) for folder in folders) and not gone.exists():
            report.count("removed", catalogue.notes.replace(source, (), ()).removed)
    catalogue.notes.settle()
    return report
