"""Judged collections in BEIR format: documents, queries and relevance judgements (qrels).

A folder of judgements holds `corpus.jsonl`, `queries.jsonl` (each plain or .gz) and `qrels/*.tsv`.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kb.errors import IdentifierError, SourceError
from kb.identifiers import paper_id

#: Relevance grades by query and document.
Qrels = dict[str, dict[str, int]]


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a judged collection."""

    id: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Judgements:
    """A judged collection: documents, queries and qrels."""

    name: str
    documents: tuple[Document, ...]
    queries: dict[str, str]
    """Texts by query id; only queries with a relevant document."""
    qrels: Qrels

    @property
    def has_titles_only(self) -> bool:
        """True if all documents are arXiv papers without text: answers to be found in a knowledge base."""
        return all(not d.text for d in self.documents) and all(_is_arxiv(d.id) for d in self.documents)

    def source_documents(self) -> dict[str, str]:
        """Ids of the documents that queries are made from, by query; '' for none.

        A query of id `docid` or `docid_facet` is made from that document, which is not relevant to it.
        """
        documents = {d.id for d in self.documents}
        names = {query: (query, query.rpartition("_")[0]) for query in self.queries}
        return {query: next((name for name in pair if name in documents), "") for query, pair in names.items()}


def _is_arxiv(identifier: str) -> bool:
    try:
        return paper_id(identifier).startswith("arxiv:")
    except IdentifierError:
        return False


def read_judgements(folder: Path, split: str = "test", binary: bool = False) -> Judgements:
    """Read a folder of judgements.

    Qrels are read from `qrels/<split>.tsv`, or from every file in `qrels` if there is no such file. `binary` turns every grade
    above 0 into 1. Raises SourceError with file and line for what cannot be read.
    """
    if not folder.is_dir():
        raise SourceError(f"{folder} is no folder. It should hold corpus.jsonl, queries.jsonl and qrels/test.tsv.")
    documents = tuple(
        Document(_text(row, "_id", at), _text(row, "title", at, ""), _text(row, "text", at, ""))
        for at, row in _json_lines(folder, "corpus.jsonl")
    )
    duplicate = _first_duplicate([d.id for d in documents])
    if duplicate:
        raise SourceError(f"{folder}/corpus.jsonl holds the document {duplicate!r} more than once.")
    queries = {_text(row, "_id", at): _text(row, "text", at) for at, row in _json_lines(folder, "queries.jsonl")}
    files = sorted((folder / "qrels").glob("*.tsv"))
    files = [f for f in files if f.stem == split] or files
    if not files:
        raise SourceError(f"{folder}/qrels holds no .tsv file with the judgements.")
    qrels: Qrels = {}
    known = {d.id for d in documents}
    for file in files:
        for at, query, document, grade in _qrel_lines(file):
            if query not in queries:
                raise SourceError(f"{at}: the query {query!r} is not in queries.jsonl.")
            if document not in known:
                raise SourceError(f"{at}: the document {document!r} is not in corpus.jsonl.")
            qrels.setdefault(query, {})[document] = min(grade, 1) if binary else grade
    judged = {query: grades for query, grades in qrels.items() if any(grade > 0 for grade in grades.values())}
    if not judged:
        raise SourceError(f"{folder}/qrels judges no document relevant.")
    return Judgements(folder.resolve().name, documents, {q: queries[q] for q in judged}, judged)


def _json_lines(folder: Path, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Location and object of every line of a file, plain or .gz. Raises SourceError for a line that cannot be read."""
    path = next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None)
    if path is None:
        raise SourceError(f"{folder / name} is missing, and {name}.gz too.")
    number = 0
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise SourceError(f"{path}:{number}: the line is no JSON object.")
                yield f"{path}:{number}", row
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise SourceError(f"{path}:{number + 1}: the file cannot be read on ({error}).") from error
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{path}:{number}: the line is no JSON ({error}).") from None


def _text(row: Mapping[str, Any], name: str, at: str, default: str | None = None) -> str:
    """The text of a field, blanks collapsed unless it is an id. Raises SourceError if it is missing or not a text."""
    value = row.get(name, default)
    if value is None and default is not None:
        value = default
    if name == "_id" and isinstance(value, int):
        value = str(value)
    if not isinstance(value, str) or (name == "_id" and not value) or not _is_writable(value):
        raise SourceError(f"{at}: {name!r} is missing or no text.")
    return value if name == "_id" else " ".join(value.split())


def _is_writable(text: str) -> bool:
    """False for a text with a lone surrogate, which JSON can express and UTF-8 cannot."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _qrel_lines(path: Path) -> Iterator[tuple[str, str, str, int]]:
    """Location, query, document and grade of every line after the header, if any. Raises SourceError for other lines."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path} cannot be read ({error}).") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip() or (number == 1 and line.split("\t")[0] in {"query-id", "query_id", "qid"}):
            continue
        columns = line.split("\t")
        if len(columns) != 3:
            raise SourceError(f"{path}:{number}: {len(columns)} columns instead of query-id, corpus-id, score.")
        try:
            yield f"{path}:{number}", columns[0], columns[1], int(columns[2])
        except ValueError:
            raise SourceError(f"{path}:{number}: the score {columns[2]!r} is no whole number.") from None


def _first_duplicate(names: Sequence[str]) -> str | None:
    """The first name that occurs before; None if all differ."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None
