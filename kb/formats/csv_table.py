"""CSV writer, for spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from kb.formats.reference import Reference

_COLUMNS = "key id title authors year venue doi arxiv url code tags read added remark abstract".split()
# A spreadsheet runs a cell that begins with one of these as a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")


def write_csv(name: str, references: Sequence[Reference]) -> str:  # noqa: ARG001
    """Write a header and one row per reference. CSV has no place for the list's name."""
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(_COLUMNS)
    for r in references:
        row = [
            r.key,
            r.paper_id,
            r.plain_title,
            "; ".join(a.name for a in r.authors),
            str(r.year or ""),
            r.venue.name if r.venue else "",
            r.doi,
            r.arxiv,
            r.url,
            " ".join(r.code),
            ", ".join(r.tags),
            r.read.date().isoformat() if r.read else "",
            r.added.date().isoformat() if r.added else "",
            r.remark,
            r.plain_abstract,
        ]
        writer.writerow([_cell(value) for value in row])
    return file.getvalue()


def _cell(value: str) -> str:
    """The value, prefixed with an apostrophe if a spreadsheet would run it as a formula."""
    return f"'{value}" if value.lstrip().startswith(_FORMULA) or value.startswith(_FORMULA) else value
