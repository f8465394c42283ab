"""Judged collections: documents, queries and which of the ones answer which of the others.

A folder of judgements holds `corpus.jsonl`, `queries.jsonl` (both also .gz) and `qrels/*.tsv`, in the form of BEIR.
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

#: Relevance by document, by query.
Qrels = dict[str, dict[str, int]]


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a judged collection."""

    id: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Judgements:
    """A judged collection."""

    name: str
    documents: tuple[Document, ...]
    queries: dict[str, str]
    """Text by query id; only queries that have a relevant document."""
    qrels: Qrels

    @property
    def names_papers_only(self) -> bool:
        """Whether the documents are titles of arXiv papers without a text: answers, to be found among many other papers."""
        return all(not d.text for d in self.documents) and all(_is_arxiv(d.id) for d in self.documents)

    def own(self) -> dict[str, str]:
        """The document that a query is made from, which is no answer to it: that of id `query`, or `query` without `_facet`."""
        documents = {d.id for d in self.documents}
        names = {query: (query, query.rpartition("_")[0]) for query in self.queries}
        return {query: next((name for name in pair if name in documents), "") for query, pair in names.items()}


def _is_arxiv(identifier: str) -> bool:
    try:
        return paper_id(identifier).startswith("arxiv:")
    except IdentifierError:
        return False


def read_judgements(folder: Path, split: str = "test", binary: bool = False) -> Judgements:
    """Reads a folder of judgements; raises SourceError that names file and line for what cannot be read.

    The qrels are those of `qrels/test.tsv` (or another split), and of every file in `qrels` where there is no such file.
    `binary` makes every grade above 0 a 1, for collections whose grades are no degrees of relevance.
    """
    if not folder.is_dir():
        raise SourceError(f"{folder} is no folder. It should hold corpus.jsonl, queries.jsonl and qrels/test.tsv.")
    documents = tuple(
        Document(_text(row, "_id", at), _text(row, "title", at, ""), _text(row, "text", at, ""))
        for at, row in _json_lines(folder, "corpus.jsonl")
    )
    twice = _repeated([d.id for d in documents])
    if twice:
        raise SourceError(f"{folder}/corpus.jsonl holds the document {twice!r} more than once.")
    queries = {_text(row, "_id", at): _text(row, "text", at) for at, row in _json_lines(folder, "queries.jsonl")}
    files = sorted((folder / "qrels").glob("*.tsv"))
    files = [f for f in files if f.stem == split] or files
    if not files:
        raise SourceError(f"{folder}/qrels holds no .tsv file with the judgements.")
    qrels: Qrels = {}
    known = {d.id for d in documents}
    for file in files:
        for at, query, document, grade in _judged(file):
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
    """Place and object of every line of a file, plain or .gz."""
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
    value = row.get(name, default)
    if value is None and default is not None:
        value = default
    if name == "_id" and isinstance(value, int):
        value = str(value)
    if not isinstance(value, str) or (name == "_id" and not value) or not _is_writable(value):
        raise SourceError(f"{at}: {name!r} is missing or no text.")
    return value if name == "_id" else " ".join(value.split())


def _is_writable(text: str) -> bool:
    """Whether a text is whole: JSON can write half a character, which no file can hold."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _judged(path: Path) -> Iterator[tuple[str, str, str, int]]:
    """Place, query, document and grade of every line; a heading is passed over."""
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


def _repeated(names: Sequence[str]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None
