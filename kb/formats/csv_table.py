"""CSV, for spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from kb.formats.reference import Reference

_COLUMNS = "key id title authors year venue doi arxiv url code tags read added remark abstract".split()
# With these a spreadsheet takes a cell for a formula and runs it.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")


def write_csv(name: str, references: Sequence[Reference]) -> str:  # noqa: ARG001
    """A header line and a line a reference. The list's name is not part of the format."""
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
    """The value with an apostrophe before it where a spreadsheet would run it."""
    return f"'{value}" if value.lstrip().startswith(_FORMULA) or value.startswith(_FORMULA) else value
