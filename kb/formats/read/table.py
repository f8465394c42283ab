"""CSV: Zotero's export, and the one that `kb export --format csv` writes."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator

from kb.formats.read.record import Record, inverted_name, one_line, without_markup, year_of
from kb.papers import Author, Skipped

#: How a CSV file of either kind begins.
CSV_START = re.compile(r'"?Key"?,"?Item Type"?,|key,id,title,authors,')
_CITATION_KEY = re.compile(r"^Citation Key:[ \t]*(\S+)", re.MULTILINE)
_MAX_FIELD_BYTES = 200 << 20  # notes can be long


def read_csv(text: str) -> Iterator[Record | Skipped]:
    """Records of a CSV file; `Skipped` has no source yet."""
    csv.field_size_limit(_MAX_FIELD_BYTES)
    rows = csv.DictReader(io.StringIO(text, newline=""), restval="")
    line = 1
    for row in rows:
        line, start = rows.line_num, line + 1
        values = {name: value for name, value in row.items() if isinstance(name, str) and isinstance(value, str)}
        yield from _own(values, start) if "Item Type" not in values else _zoteros(values, start)


def _zoteros(row: dict[str, str], line: int) -> Iterator[Record | Skipped]:
    if row["Item Type"] in {"attachment", "note"}:
        return
    title = without_markup(row.get("Title", ""))
    if not title:
        yield Skipped("", line, "the row has no Title")
        return
    extra = row.get("Extra", "")
    key = _CITATION_KEY.search(extra)
    yield Record(
        line,
        title,
        tuple(inverted_name(name) for name in row.get("Author", "").split("; ") if name.strip()),
        year_of(row.get("Publication Year", ""), row.get("Date", "")),
        without_markup(row.get("Publication Title", "") or row.get("Conference Name", "")),
        key[1] if key else "",
        doi=row.get("DOI", ""),
        addresses=tuple(filter(None, [row.get("Url", "").strip()])),
        texts=(row.get("Number", ""), row.get("Archive Location", ""), extra),
        remark=one_line(re.sub(r"<[^>]+>", " ", row.get("Notes", ""))),
        tags=tuple(tag.strip() for tag in row.get("Manual Tags", "").split(";") if tag.strip()),
    )


def _own(row: dict[str, str], line: int) -> Iterator[Record | Skipped]:
    # An apostrophe keeps a spreadsheet from running a cell as a formula.
    cells = {name: re.sub(r"\A'(?=\s*[=+\-@\t\r＝＋－＠])", "", value) for name, value in row.items()}
    if not cells.get("title", "").strip():
        yield Skipped("", line, "the row has no title")
        return
    identifier = cells.get("id", "")
    yield Record(
        line,
        one_line(cells["title"]),
        tuple(_reading_order(name) for name in cells.get("authors", "").split("; ") if name.strip()),
        year_of(cells.get("year", "")),
        cells.get("venue", ""),
        cells.get("key", ""),
        cells.get("arxiv", "") or (identifier.removeprefix("arxiv:") if identifier.startswith("arxiv:") else ""),
        cells.get("doi", ""),
        tuple(filter(None, [cells.get("url", ""), identifier])),
        remark=cells.get("remark", ""),
        tags=tuple(tag.strip() for tag in cells.get("tags", "").split(",") if tag.strip()),
    )


def _reading_order(name: str) -> Author:
    return Author.from_name(name.strip())
