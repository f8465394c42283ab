"""Import of the public arXiv metadata snapshot (JSON lines)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.json

from ingest.arxiv.line_reader import LineBlock, read_lines
from ingest.code.extract import merge_and_link
from ingest.report import Report
from kb.errors import SourceError
from kb.progress import Progress
from kb.store import SNAPSHOT_ARROW, Catalogue, StagedPapers

_BLANK = b"\xef\xbb\xbf \t\r"  # before a value, the mark of the byte order among it
_RECORD = pa.schema([field for field in SNAPSHOT_ARROW if field.name != "line"])


def ingest_snapshot(
    catalogue: Catalogue, paths: Sequence[Path], progress: Progress, categories: Sequence[str] = (), limit: int | None = None
) -> Report:
    """Upsert the records of these files, at most `limit` over all files together.

    A record that cannot be read is reported and the rest goes in. Raises SourceError if a file cannot be read at all.
    """
    report = Report(source=", ".join(map(str, paths)))
    staged = StagedPapers(catalogue)
    staged.begin()
    left = limit
    for path in paths:
        progress.start(f"Reading {path.name}", path.stat().st_size if path.is_file() else 0, "B")
        for block in _prefetch(_records(path, progress)):
            taken, bad = staged.stage_snapshot(block.rows, categories, left)
            report.add(block.report)
            for line, reason in bad:
                report.skip(str(path), line, reason)
            report.count("of other categories" if categories else "over the limit", block.rows.num_rows - taken - len(bad))
            if left is not None:
                left -= taken
                if left == 0:
                    break
        if left == 0:
            break
    changes, links = merge_and_link(catalogue)
    report.count("new", changes.new)
    report.count("changed", changes.changed)
    report.count("unchanged", changes.unchanged)
    report.count("code links", links)
    catalogue.notes.settle()
    return report


@dataclass(frozen=True, slots=True)
class _Records:
    """Parsed block of a file."""

    rows: pa.Table
    """With the schema SNAPSHOT_ARROW."""
    report: Report
    """Lines that are no records."""


def _prefetch(blocks: Iterator[_Records]) -> Iterator[_Records]:
    """Yield the same blocks, each parsed in a thread while the one before is processed."""
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, blocks, None)
        while block := coming.result():
            coming = thread.submit(next, blocks, None)
            yield block


def _records(path: Path, progress: Progress) -> Iterator[_Records]:
    report = Report(str(path))

    def lost(line: int, reason: str) -> None:
        report.skip(report.source, line, reason)

    for block in read_lines(path, progress.advance, lost):
        if block.first_line == 1 and block.lines[0].lstrip(_BLANK).startswith(b"["):
            raise SourceError(
                f"{path} is one JSON array; expected is one JSON object a line. Convert it: `jq -c '.[]' {path.name}`."
            )
        yield _Records(_table(block, report), report)
        report = Report(report.source)
    yield _Records(SNAPSHOT_ARROW.empty_table(), report)  # that the file ends too early is known at its end


def _table(block: LineBlock, report: Report) -> pa.Table:
    """Parse a block to rows of SNAPSHOT_ARROW; lines that are no records are reported."""
    numbers = [number for number, line in enumerate(block.lines, block.first_line) if not _is_blank(line)]
    lines = [line for line in block.lines if not _is_blank(line)]
    if not lines:
        return SNAPSHOT_ARROW.empty_table()
    if lines[0].lstrip(_BLANK).startswith(b"{"):  # Arrow dies over a first value that is null
        try:
            # A block in one go, in Arrow's own threads: some thirty times as fast as line by line.
            table = _parse(b"\n".join(lines))
            table.validate(full=True)  # text that is no UTF-8 would be the end of DuckDB's connection
            if table.num_rows == len(lines):
                return table.add_column(0, "line", pa.array(numbers, pa.int64()))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            pass  # one bad line fails the block, and does not say which it is
    rows: list[dict[str, Any]] = []
    for number, line in zip(numbers, lines, strict=True):
        try:
            rows.append({"line": number, **_record(line)})
        except ValueError as error:
            report.skip(report.source, number, str(error))
    return pa.Table.from_pylist(rows, schema=SNAPSHOT_ARROW)


def _is_blank(line: bytes) -> bool:
    return not line or line.isspace()


def _parse(data: bytes) -> pa.Table:
    options = pyarrow.json.ParseOptions(explicit_schema=_RECORD, unexpected_field_behavior="ignore")
    read = pyarrow.json.ReadOptions(block_size=max(len(data), 1 << 20))
    return pyarrow.json.read_json(pa.BufferReader(data), read_options=read, parse_options=options)


def _record(line: bytes) -> dict[str, Any]:
    """Parse one line to fields of the right types. Raises ValueError saying what is wrong with it."""
    try:
        value = json.loads(line)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        shown = line[:60].decode("utf-8", "replace")
        raise ValueError(f"no JSON object: {error.__class__.__name__} in {shown!r}{'…' if len(line) > 60 else ''}") from None
    if not isinstance(value, dict):
        raise ValueError("no JSON object, but " + type(value).__name__)
    try:
        return pa.array([{f.name: value.get(f.name) for f in _RECORD}], pa.struct(list(_RECORD))).to_pylist()[0]  # type: ignore[no-any-return]
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeEncodeError) as error:
        raise ValueError(f"a field is not of the type it should have: {error}") from None
