"""Import of the Papers-with-Code archive of links: JSON, plain or compressed, and Parquet."""

from __future__ import annotations

import io
import json
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet
import zstandard

from ingest.code.evidence import judge_listed
from ingest.report import Report
from kb.errors import IdentifierError, SourceError
from kb.identifiers import ArxivId, repository_url
from kb.papers import CodeLink
from kb.progress import Progress
from kb.store import Catalogue, CodeCatalogue
from kb.store.code import DUMP_ARROW

SOURCE = "paperswithcode"
_FIELDS = ("paper_title", "paper_arxiv_id", "repo_url", "is_official", "mentioned_in_paper", "framework")
_MAX_BYTES = 512 << 20  # unpacked; the whole archive has some 200 MB
_MAX_TEXT = 1 << 17  # bytes of a field; a dictionary can name a long one for each of millions of rows
_BATCH = 1000  # rows of Parquet read at once


def ingest_archive(catalogue: Catalogue, path: Path, progress: Progress) -> Report:
    """Replace the links of an earlier archive by those of this one.

    A row is matched to its paper by arXiv id, else by title; a title that several papers have is reported, and a paper that
    is not in the catalogue counted. Raises SourceError if the file cannot be read at all.
    """
    report = Report(source=str(path))
    rows = read_archive(path)
    progress.start(f"Reading {path.name}", len(rows), "rows")
    report.count("rows", len(rows))
    checked: list[dict[str, Any]] = []
    for number, row in enumerate(rows, start=1):
        try:
            checked.append({"line": number, **_checked(row)})
        except IdentifierError as error:
            report.skip(str(path), number, str(error))
        progress.advance(1)
    code = CodeCatalogue(catalogue)
    match = code.match_dump(pa.Table.from_pylist(checked, schema=DUMP_ARROW))
    for number, title, papers in match.ambiguous:
        report.skip(str(path), number, f"{title!r} is the title of {', '.join(papers)}: which is meant cannot be told")
    report.count("skipped", match.ambiguous_count - len(match.ambiguous))
    links: list[tuple[str, CodeLink]] = []
    repositories = code.matched()
    listed = Counter(found.paper_id for found in repositories)
    for found in repositories:
        judged = judge_listed(
            found.url,
            found.title,
            found.authors,
            official=found.official,
            mentioned=found.mentioned,
            alone=listed[found.paper_id] == 1,
        )
        link = CodeLink(found.url, SOURCE, found.official, None, judged.confidence, judged.evidence, found.framework)
        links.append((found.paper_id, link))
    code.replace_source(SOURCE, links)
    report.count("by arXiv id", match.by_id)
    report.count("by title", match.by_title)
    report.count("ambiguous", match.ambiguous_count)
    report.count("of papers not in the catalogue", match.unmatched)
    report.count("said twice", match.duplicates)
    report.count("code links", len(links))
    return report


def read_archive(path: Path) -> list[dict[str, Any]]:
    """Read the rows of the archive as they are. Raises SourceError if the file is no archive."""
    try:
        with path.open("rb") as file:
            start = file.read(4)
        if start == b"PAR1":
            rows = _read_parquet(path)
        else:
            rows = json.loads(_unpacked(path, start))
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror or error}.") from error
    except pa.ArrowException as error:
        raise SourceError(f"{path} is no Parquet file that can be read: {error}.") from error
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{path} is no JSON: {error}. Download it again if it was cut short.") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows[:1]) or (rows and "repo_url" not in rows[0]):
        raise SourceError(
            f"{path} holds no list of links with `repo_url`. Expected is Papers with Code's links-between-papers-and-code."
        )
    return rows


def _read_parquet(path: Path) -> list[dict[str, Any]]:
    """Read the rows in batches, texts as dictionaries. Raises SourceError if they are too large, pa.ArrowException."""
    present = pyarrow.parquet.read_schema(path).names
    columns = [name for name in _FIELDS if name in present]
    rows: list[dict[str, Any]] = []
    size = 0
    with pyarrow.parquet.ParquetFile(path, read_dictionary=columns) as file:
        for batch in file.iter_batches(_BATCH, columns=columns):
            for name, column in zip(batch.schema.names, batch.columns, strict=True):
                if isinstance(column, pa.DictionaryArray) and len(column.dictionary):
                    longest = pyarrow.compute.max(pyarrow.compute.binary_length(column.dictionary)).as_py()
                    if longest > _MAX_TEXT:
                        raise SourceError(f"{path} has a {name} of {longest:,} bytes: it is no archive of links.")
            part = batch.to_pylist()
            size += sum(len(value) for row in part for value in row.values() if isinstance(value, str))
            if size > _MAX_BYTES:
                raise SourceError(_too_large(path))
            rows += part
    return rows


def _unpacked(path: Path, start: bytes) -> bytes:
    """Content of a file, plain or compressed. Raises SourceError if it is cut, damaged or too large; OSError."""
    if path.stat().st_size > _MAX_BYTES:
        raise SourceError(_too_large(path))
    data = path.read_bytes()
    try:
        if start.startswith(b"\x1f\x8b"):
            stream = zlib.decompressobj(wbits=31)
            unpacked = stream.decompress(data, _MAX_BYTES + 1)
            if len(unpacked) > _MAX_BYTES:
                raise SourceError(_too_large(path))
            if not stream.eof:
                raise SourceError(f"{path} is cut short. Download it again.")
            return unpacked
        if start == b"\x28\xb5\x2f\xfd":
            unpacked = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)).read(_MAX_BYTES + 1)
            if len(unpacked) > _MAX_BYTES:
                raise SourceError(_too_large(path))
            return unpacked
    except (zlib.error, zstandard.ZstdError) as error:
        raise SourceError(f"{path} is damaged ({error}). Download it again.") from None
    return data


def _too_large(path: Path) -> str:
    return f"{path} holds more than {_MAX_BYTES >> 20} MiB, unpacked: it is no archive of links between papers and code."


def _checked(row: object) -> dict[str, Any]:
    """Convert a row to DUMP_ARROW. Raises IdentifierError if it names no repository or an impossible paper."""
    if not isinstance(row, dict):
        raise IdentifierError("the row is no object with fields")
    url = row.get("repo_url")
    if not isinstance(url, str):
        raise IdentifierError("the row has no repo_url")
    arxiv = row.get("paper_arxiv_id")
    title, framework = row.get("paper_title"), row.get("framework")
    official, mentioned = row.get("is_official"), row.get("mentioned_in_paper")
    return {
        "paper_id": ArxivId.parse(arxiv).paper_id if isinstance(arxiv, str) and arxiv.strip() else None,
        # JSON can write half a character, which no file can hold.
        "title": title.encode("utf-8", "replace").decode() if isinstance(title, str) else "",
        "url": repository_url(url),
        "official": official if isinstance(official, bool) else None,
        "mentioned": mentioned if isinstance(mentioned, bool) else None,
        "framework": framework.encode("utf-8", "replace").decode() if isinstance(framework, str) else "",
    }
