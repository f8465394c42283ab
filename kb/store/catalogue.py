"""The catalogue: reading it, and bringing papers, notes and code links into it.

Every way in goes through the same steps: rows are staged, compared by meaning with what is there, and only
what differs is written. `settle()` then makes whole what follows from the rows: which papers only notes tell of, and
which of those are other names of a paper with metadata.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kb.errors import QueryError
from kb.identifiers import ARXIV_ID_PATTERN, paper_id
from kb.papers import Author, CodeLink, Mention, Note, Paper, Skipped, Version, plain_text

Keys = NDArray[np.int64]

_AUTHORS = "STRUCT(family VARCHAR, given VARCHAR, suffix VARCHAR)[]"
_VERSIONS = "STRUCT(number INTEGER, created TIMESTAMP)[]"
# Columns that an ingest brings; the others of `papers` follow from them.
_COLUMNS = (
    "id, title, abstract, authors, categories, comments, journal_ref, doi, licence, url, "
    "published, updated, year, versions, withdrawn, origin"
)
# What makes a paper another than it was. `updated` alone does not: the same record is served under new dates.
_MEANING = "title, abstract, authors, categories, comments, journal_ref, doi, licence, published, versions, withdrawn"
# The columns of `runs`, in the order of Run's fields.
_RUN = "job, source, started, finished, outcome, counts, message, number, span, requests, retries"
_PAPER_ARROW = pa.schema(
    [
        *[(name, pa.string()) for name in ("id", "title", "abstract")],
        ("authors", pa.list_(pa.struct([(n, pa.string()) for n in ("family", "given", "suffix")]))),
        ("categories", pa.list_(pa.string())),
        *[(name, pa.string()) for name in ("comments", "journal_ref", "doi", "licence", "url")],
        ("published", pa.date32()),
        ("updated", pa.date32()),
        ("year", pa.int32()),
        ("versions", pa.list_(pa.struct([("number", pa.int32()), ("created", pa.timestamp("us"))]))),
        ("withdrawn", pa.bool_()),
        ("origin", pa.string()),
    ]
)
#: The public arXiv metadata snapshot, one row a record, and the line that it came from.
SNAPSHOT_ARROW = pa.schema(
    [
        ("line", pa.int64()),
        *[
            (name, pa.string())
            for name in (
                "id",
                "title",
                "authors",
                "comments",
                "journal-ref",
                "doi",
                "categories",
                "license",
                "abstract",
                "update_date",
            )
        ],
        ("versions", pa.list_(pa.struct([("version", pa.string()), ("created", pa.string())]))),
        ("authors_parsed", pa.list_(pa.list_(pa.string()))),
    ]
)


# Any of the paper's categories is asked for, itself or by its archive; takes the list twice.
_IN_CATEGORIES = """(list_has_any(categories, ?::VARCHAR[])
    OR list_has_any(list_transform(categories, lambda c: split_part(c, '.', 1)), ?::VARCHAR[]))"""


# What a record without a mark of its own says of being withdrawn (RE2).
_WITHDRAWN = r"(?i)(?:paper|article|submission|manuscript|work|it)\s+(?:has been|is|was|is being)\s+withdrawn|^\s*withdrawn\b"


def _says_withdrawn(comments: str, abstract: str) -> str:
    """SQL: whether a record's texts say that the paper is withdrawn."""
    return f"regexp_matches(coalesce({comments}, '') || ' ' || left(coalesce({abstract}, ''), 120), '{_WITHDRAWN}')"


def _blanks(column: str) -> str:
    """SQL: a text with every run of blanks made one, and '' for NULL."""
    # Most texts have no run of them, and looking for two kinds of characters costs a tenth of the pattern.
    runs = " OR ".join(f"contains({column}, {blank})" for blank in ("'  '", "chr(10)", "chr(9)", "chr(13)"))
    return f"trim(CASE WHEN {runs} THEN regexp_replace({column}, '\\s+', ' ', 'g') ELSE coalesce({column}, '') END)"


_SNAPSHOT = f"""
    SELECT 'arxiv:' || bare AS id, {_blanks("title")} AS title, {_blanks("abstract")} AS abstract,
        CASE WHEN len(authors_parsed) > 0
            THEN list_transform(authors_parsed, lambda a: {{
                'family': {_blanks("a[1]")}, 'given': {_blanks("a[2]")}, 'suffix': {_blanks("a[3]")}}})
            ELSE list_transform(
                list_filter(string_split_regex({_blanks("authors")}, ',\\s*(?:and\\s+)?|\\s+and\\s+'), lambda n: n <> ''),
                lambda n: {{'family': regexp_extract(n, '\\S+$'), 'given': trim(regexp_replace(n, '\\S+$', '')), 'suffix': ''}})
            END::{_AUTHORS} AS authors,
        list_filter(string_split({_blanks("categories")}, ' '), lambda c: c <> '') AS categories,
        {_blanks("comments")} AS comments, {_blanks('"journal-ref"')} AS journal_ref,
        lower({_blanks("doi")}) AS doi, coalesce(license, '') AS licence, '' AS url,
        coalesce(stamps[1].created::DATE, updated_on) AS published, updated_on AS updated,
        coalesce(year(stamps[1].created), CASE WHEN bare[1] = '9' AND contains(bare, '/') THEN 1900 ELSE 2000 END
            + try_cast(regexp_extract(bare, '(\\d\\d)\\d*[.\\d]*$', 1) AS INTEGER)) AS year,
        coalesce(stamps, []) AS versions,
        {_says_withdrawn("comments", "abstract")} AS withdrawn,
        'arxiv' AS origin
    FROM (
        SELECT *, regexp_replace(trim(id), '\\.[A-Za-z-]+/', '/') AS bare, try_cast(update_date AS DATE) AS updated_on,
            list_transform(versions, lambda v: {{
                'number': try_cast(ltrim(v.version, 'v') AS INTEGER),
                'created': try_strptime(v.created, '%a, %d %b %Y %H:%M:%S %Z')::TIMESTAMP}})::{_VERSIONS} AS stamps
        FROM snapshot_rows
    )
"""


@dataclass(frozen=True, slots=True)
class PaperChanges:
    """What an upsert did to the papers."""

    new: int = 0
    changed: int = 0
    unchanged: int = 0


@dataclass(frozen=True, slots=True)
class NoteChanges:
    """What reading a document again did to its notes."""

    new: int = 0
    changed: int = 0
    unchanged: int = 0
    removed: int = 0


@dataclass(frozen=True, slots=True)
class Run:
    """The record of one job."""

    job: str
    source: str
    started: datetime
    finished: datetime
    outcome: str
    counts: dict[str, int] = field(default_factory=dict)
    message: str = ""
    number: int = 0
    """0 for a run that has no record yet."""
    span: str = ""
    """The window that was asked for, such as `2026-03-01..2026-03-09`."""
    requests: int = 0
    """Requests sent to the far side, those tried again included."""
    retries: int = 0


@dataclass(frozen=True, slots=True)
class Filters:
    """Restricts a search; what is empty restricts nothing. All that are given must hold."""

    categories: tuple[str, ...] = ()
    """Any of them; `cs` stands for every `cs.…`."""
    author: str = ""
    """Part of an author's name, without regard to case and accents."""
    years: tuple[int | None, int | None] = (None, None)
    """First and last year, both included."""
    has_code: bool = False
    source: str = ""
    """'notes': papers that a note tells of; 'arxiv': papers with arXiv metadata."""
    ids: tuple[str, ...] = ()
    """Only these papers, by canonical id or another name of it."""
    since: date | None = None
    """First day of publication."""

    def __bool__(self) -> bool:
        return self != Filters()


def parse_years(text: str) -> tuple[int | None, int | None]:
    """`2019`, `2019..2023`, `2019..` or `..2023` as first and last year."""
    if not text:
        return (None, None)
    first, dots, last = text.partition("..")
    try:
        return (int(first) if first else None, int(last) if last else None) if dots else (int(first), int(first))
    except ValueError:
        raise QueryError(f"{text!r} is no range of years, such as 2019 or 2019..2023.") from None


@dataclass(frozen=True, slots=True)
class DocumentBatch:
    """Documents in the order of their keys: what is embedded, and under which digest."""

    keys: Keys
    digests: list[str]


@dataclass(frozen=True, slots=True)
class Abstract:
    """Of a paper only what a model is trained on."""

    key: int
    title: str
    abstract: str
    category: str
    """The primary one; '' for none."""
    year: int
    quarter: int
    """Of the year it was published in, from 1; 0 where the day is not known, as is the year."""


class Catalogue:
    """The catalogue in one open file. Reading is safe from many threads; a draft is written by one."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def _read(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        # A cursor a query: DuckDB's connections are not to be shared between threads, cursors of one are.
        with self._connection.cursor() as cursor:
            return cursor.execute(sql, list(parameters)).fetchall()

    def _write(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        # Fetched to the end: a connection with a result left open takes no other work.
        return self._connection.execute(sql, list(parameters)).fetchall()

    @contextmanager
    def _registered(self, name: str, rows: pa.Table) -> Iterator[None]:
        self._connection.register(name, rows)
        try:
            yield
        finally:
            self._connection.unregister(name)

    def _write_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        if rows:
            self._connection.executemany(sql, [list(row) for row in rows]).fetchall()

    # Bringing papers in ------------------------------------------------------------------------------------------

    def begin_papers(self) -> None:
        """Opens the staging area. It holds one row a record until the papers are merged."""
        # In memory as temporary tables are, and spilled as they are, but seen by every cursor.
        self._write("ATTACH IF NOT EXISTS ':memory:' AS work")
        self._write(f"CREATE OR REPLACE TABLE work.staging AS SELECT 0::BIGINT AS ordinal, {_COLUMNS} FROM papers LIMIT 0")

    def stage_snapshot(
        self, rows: pa.Table, categories: Sequence[str] = (), limit: int | None = None
    ) -> tuple[int, list[tuple[int, str]]]:
        """Stages rows in the form of SNAPSHOT_ARROW.

        Returns how many were staged, and line and reason of each that cannot be: no such arXiv id, no title.
        Rows of other categories are neither.
        """
        with self._registered("snapshot_rows", rows):
            bad = self._write(
                """SELECT line, CASE WHEN coalesce(trim(id), '') = '' THEN 'the record has no id'
                        WHEN coalesce(trim(title), '') = '' THEN 'the record ' || id || ' has no title'
                        ELSE id || ' is no arXiv id that can exist' END
                   FROM snapshot_rows
                   WHERE coalesce(trim(title), '') = '' OR NOT regexp_full_match(coalesce(trim(id), ''), ?) ORDER BY line""",
                [ARXIV_ID_PATTERN],
            )
            before = self._staged()
            self._write(
                f"""INSERT INTO work.staging
                    SELECT (SELECT count(*) FROM work.staging) + row_number() OVER (), {_COLUMNS} FROM ({_SNAPSHOT})
                    WHERE title <> '' AND regexp_full_match(id[7:], ?) AND (len(?) = 0 OR {_IN_CATEGORIES})
                    {"LIMIT ?" if limit is not None else ""}""",
                [ARXIV_ID_PATTERN, *[list(categories)] * 3, *([limit] if limit is not None else [])],
            )
            return self._staged() - before, bad

    def stage_papers(self, papers: Sequence[Paper], marks_withdrawn: bool = True) -> None:
        """Stages papers from any other source.

        A source that does not mark withdrawn papers says so: what its texts do not tell stays as it is known.
        """
        rows = pa.Table.from_pylist([_paper_row(p) for p in papers], schema=_PAPER_ARROW)
        mark = (
            "" if marks_withdrawn else f"REPLACE (CASE WHEN {_says_withdrawn('comments', 'abstract')} THEN TRUE END AS withdrawn)"
        )
        with self._registered("paper_rows", rows):
            self._write(
                f"""INSERT INTO work.staging SELECT (SELECT count(*) FROM work.staging) + row_number() OVER (), {_COLUMNS}
                    FROM (SELECT * {mark} FROM paper_rows)"""
            )

    def _staged(self) -> int:
        return self._count("work.staging")

    def merge_papers(self) -> PaperChanges:
        """Upserts what was staged, by meaning: only what differs is written.

        A record staged twice counts once, the one with most versions; an older record than the one stored
        changes nothing; a field that the new record lacks keeps what was known.
        """
        with self.merging() as changes:
            return changes

    @contextmanager
    def merging(self) -> Iterator[PaperChanges]:
        """As `merge_papers`, in a thread beside what is done in the `with`: that may read, and must not write.

        Most of the time goes into compressing what is written, for which DuckDB takes one thread up to 122,880 papers.
        """
        changes = self._compare_papers()
        with ThreadPoolExecutor(1) as thread:
            writing = thread.submit(self._write_papers)
            try:
                yield changes
                writing.result()
            except BaseException:
                self._connection.interrupt()
                raise
        self._write("DROP TABLE work.staging; DROP TABLE work.differing; DROP TABLE work.fresh")

    def _compare_papers(self) -> PaperChanges:
        """Finds what of the staged papers is `fresh`, and what of the others is `differing` from what is stored."""
        self._write(
            """CREATE OR REPLACE TEMP TABLE chosen AS
               SELECT id, arg_max(ordinal, (len(versions), coalesce(updated, DATE '1900-01-01'), ordinal)) AS ordinal
               FROM work.staging GROUP BY id"""
        )
        # Filled with what the record lacks first: a comparison of what would be written with what is there.
        self._write(
            f"""CREATE OR REPLACE TABLE work.differing AS
                SELECT staging.* REPLACE (
                    coalesce(nullif(staging.abstract, ''), papers.abstract) AS abstract,
                    coalesce(nullif(staging.comments, ''), papers.comments) AS comments,
                    coalesce(nullif(staging.journal_ref, ''), papers.journal_ref) AS journal_ref,
                    coalesce(nullif(staging.doi, ''), papers.doi) AS doi,
                    coalesce(nullif(staging.licence, ''), papers.licence) AS licence,
                    coalesce(nullif(staging.url, ''), papers.url) AS url,
                    list_transform(staging.versions, lambda v: {{'number': v.number, 'created': coalesce(v.created,
                        list_filter(papers.versions, lambda p: p.number = v.number)[1].created)}}) AS versions,
                    coalesce(staging.withdrawn, papers.withdrawn AND len(staging.versions) = len(papers.versions)) AS withdrawn)
                FROM work.staging JOIN chosen USING (id, ordinal) JOIN papers USING (id)
                WHERE papers.origin = 'notes'
                   OR (coalesce(staging.updated >= papers.updated, TRUE) AND len(staging.versions) >= len(papers.versions)
                       AND row({_qualified("staging")}) IS DISTINCT FROM row({_qualified("papers")}))"""
        )
        self._write(
            f"""DELETE FROM work.differing USING papers WHERE differing.id = papers.id AND papers.origin = 'arxiv'
                AND row({_qualified("differing")}) IS NOT DISTINCT FROM row({_qualified("papers")})"""
        )
        self._write("CREATE OR REPLACE TABLE work.fresh AS SELECT id, ordinal FROM chosen ANTI JOIN papers USING (id)")
        self._write(
            """DROP TABLE chosen;
               CREATE OR REPLACE TEMP TABLE touched AS SELECT id FROM work.fresh UNION ALL SELECT id FROM work.differing"""
        )
        new, changed = self._count("work.fresh"), self._count("work.differing")
        return PaperChanges(new, changed, self._staged() - new - changed)

    def _write_papers(self) -> None:
        """Writes what `_compare_papers` found."""
        self._write(
            """INSERT INTO former_texts SELECT id, len(papers.versions), papers.title, papers.abstract
               FROM papers JOIN work.differing USING (id)
               WHERE papers.origin = 'arxiv' AND len(differing.versions) > len(papers.versions)
                 AND (differing.title, differing.abstract) IS DISTINCT FROM (papers.title, papers.abstract)"""
        )
        assignments = ", ".join(f"{name.strip()} = differing.{name.strip()}" for name in _COLUMNS.split(",")[1:])
        self._write(
            f"""UPDATE papers SET {assignments}, title_key = title_key(differing.title)
                FROM work.differing WHERE papers.id = differing.id"""
        )
        self._write(
            f"""INSERT INTO papers (key, title_key, {_COLUMNS})
                SELECT nextval('paper_keys'), title_key(title), {_COLUMNS}
                FROM (SELECT staging.* REPLACE (coalesce(staging.withdrawn, FALSE) AS withdrawn)
                      FROM work.staging JOIN work.fresh USING (id, ordinal) ORDER BY ordinal)"""
        )
        self._write(
            """DELETE FROM withdrawals USING papers, touched
               WHERE withdrawals.paper_id = papers.id AND papers.id = touched.id AND version = len(papers.versions);
               INSERT INTO withdrawals SELECT id, len(versions), updated, comments
               FROM papers WHERE withdrawn AND id IN (SELECT id FROM touched)"""
        )

    def _count(self, table: str) -> int:
        return int(self._write(f"SELECT count(*) FROM {table}")[0][0])

    def touch_all(self) -> None:
        """Counts every paper as one that the last merge wrote."""
        self._write("CREATE OR REPLACE TEMP TABLE touched AS SELECT id FROM papers")

    def replace_code_links(self, links: Sequence[tuple[str, CodeLink]], sources: Sequence[str]) -> int:
        """Puts these links in place of all that these sources gave for the papers last touched."""
        self._write(
            "DELETE FROM code_links WHERE list_contains(?, source) AND paper_id IN (SELECT id FROM touched)", [list(sources)]
        )
        self.add_code_links(links)
        return len(links)

    def add_code_links(self, links: Sequence[tuple[str, CodeLink]]) -> None:
        """Adds links, each with the canonical id of its paper."""
        rows = pa.table(
            {
                "paper_id": pa.array([p for p, _ in links], pa.string()),
                "url": pa.array([x.url for _, x in links], pa.string()),
                "source": pa.array([x.source for _, x in links], pa.string()),
                "official": pa.array([x.official for _, x in links], pa.bool_()),
                "stars": pa.array([x.stars for _, x in links], pa.int32()),
                "confidence": pa.array([x.confidence for _, x in links], pa.float64()),
                "evidence": pa.array([x.evidence for _, x in links], pa.string()),
                "framework": pa.array([x.framework for _, x in links], pa.string()),
            }
        )
        with self._registered("link_rows", rows):
            self._write("INSERT INTO code_links BY NAME SELECT * FROM link_rows")

    # Bringing notes in ---------------------------------------------------------------------------------------------

    def replace_notes(self, source: str, notes: Sequence[Note], mentions: Sequence[Mention]) -> NoteChanges:
        """Puts a document's notes and mentions in place of those it had when it was last read."""
        before = self._read(
            "SELECT named_id, title, body, authors, venue, year, url, tags FROM notes WHERE source = ? ORDER BY number", [source]
        )
        after = [(n.paper_id, n.title, n.body, list(n.authors), n.venue, n.year, n.url, list(n.tags)) for n in notes]
        changes = _note_changes(before, after)
        self._write("DELETE FROM notes WHERE source = ?", [source])
        self._write("DELETE FROM mentions WHERE source = ?", [source])
        if notes:
            self._write_many(
                "INSERT INTO notes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (
                        i,
                        source,
                        n.line,
                        n.paper_id,
                        n.paper_id,
                        n.title,
                        n.body,
                        plain_text(n.body),
                        list(n.authors),
                        n.venue,
                        n.year,
                        n.url,
                        n.section,
                        list(n.tags),
                    )
                    for i, n in enumerate(notes)
                ],
            )
        numbered = [(i, m) for i, n in enumerate(notes) for m in n.mentions] + [(None, m) for m in mentions]
        if numbered:
            self._write_many(
                "INSERT INTO mentions VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [(source, i, m.line, m.kind, m.target, m.text, m.stars, m.remark) for i, m in numbered],
            )
        return changes

    def note_sources(self) -> list[str]:
        """Every document that has notes or mentions here."""
        rows = self._read("SELECT source FROM notes UNION SELECT source FROM mentions ORDER BY 1")
        return [source for (source,) in rows]

    def settle(self) -> None:
        """Derives what follows from notes and papers together; running it again changes nothing.

        A paper that a note names by DOI, OpenReview id or address is another name of an arXiv paper with that
        DOI, or with the same title where exactly one has it and the years are no more than three apart. What is left
        becomes a paper that only notes tell of. A note without a title goes to the paper that it was matched with. Code
        that a note names becomes a link of its paper.
        """
        self._write(_SETTLE)

    # Reading -------------------------------------------------------------------------------------------------------

    def counts(self) -> dict[str, int]:
        """Numbers of papers, notes and code links."""
        row = self._read("SELECT (SELECT count(*) FROM papers), (SELECT count(*) FROM notes), (SELECT count(*) FROM code_links)")[
            0
        ]
        return dict(zip(("papers", "notes", "code_links"), map(int, row), strict=True))

    def documents(self) -> DocumentBatch:
        """Key and text digest of every paper."""
        with self._connection.cursor() as cursor:
            columns = cursor.execute(
                "SELECT key, md5(title || chr(31) || body) AS digest FROM documents ORDER BY key"
            ).fetchnumpy()
        return DocumentBatch(np.asarray(columns["key"], dtype=np.int64), [str(d) for d in columns["digest"]])

    def texts(self, keys: Keys) -> dict[int, tuple[str, str]]:
        """Title and body of these papers."""
        rows = self._read("SELECT key, title, body FROM documents WHERE key IN (SELECT unnest(?))", [keys.tolist()])
        return {int(key): (title, body) for key, title, body in rows}

    def abstracts(self) -> list[Abstract]:
        """Every paper that has an abstract, in the order of the keys."""
        rows = self._read(
            """SELECT key, title, abstract, coalesce(categories[1], ''), coalesce(year, 0), coalesce(quarter(published), 0)
               FROM papers WHERE abstract <> '' ORDER BY key"""
        )
        return [Abstract(*row) for row in rows]

    def papers(self, keys: Sequence[int]) -> dict[int, Paper]:
        """The papers with these keys; a key that is gone is left out."""
        rows = self._read(f"SELECT key, {_COLUMNS} FROM papers WHERE key IN (SELECT unnest(?))", [list(keys)])
        return {int(row[0]): _paper(row[1:]) for row in rows}

    def key_of(self, identifier: str) -> int | None:
        """Key of the paper of that canonical id, or of the one that it is another name of."""
        rows = self._read(
            """SELECT key FROM papers WHERE id = $id OR id = (SELECT paper_id FROM aliases WHERE aliases.id = $id LIMIT 1)
               OR (starts_with($id, 'doi:') AND doi = $id[5:]) ORDER BY id <> $id LIMIT 1""".replace("$id", "?"),
            [identifier] * 5,
        )
        return int(rows[0][0]) if rows else None

    def keys_titled(self, title: str) -> list[int]:
        """Keys of the papers of exactly that title, without regard to case, accents and punctuation."""
        rows = self._read("SELECT key FROM papers WHERE title_key = title_key(?) AND title_key <> '' ORDER BY key", [title])
        return [int(key) for (key,) in rows]

    def identifiers(self) -> dict[int, str]:
        """Canonical id of every paper, by key."""
        return {int(key): identifier for key, identifier in self._read("SELECT key, id FROM papers")}

    def withdrawn(self) -> frozenset[int]:
        """Keys of the papers that were withdrawn."""
        return frozenset(int(key) for (key,) in self._read("SELECT key FROM papers WHERE withdrawn"))

    def notes_on(self, identifiers: Sequence[str]) -> dict[str, list[Note]]:
        """The notes on these papers, by canonical id."""
        rows = self._read(
            """SELECT paper_id, number, source, line, named_id, title, body, authors, venue, year, url, section, tags
               FROM notes WHERE paper_id IN (SELECT unnest(?)) ORDER BY source, number""",
            [list(identifiers)],
        )
        if not rows:
            return {}
        mentions: dict[tuple[str, int], list[Mention]] = {}
        for source, number, *mention in self._read(
            """SELECT source, note, kind, target, text, line, stars, remark FROM mentions
               WHERE (source, note) IN (SELECT (source, number) FROM notes WHERE paper_id IN (SELECT unnest(?)))
               ORDER BY line, rowid""",
            [list(identifiers)],
        ):
            mentions.setdefault((source, number), []).append(Mention(*mention))
        found: dict[str, list[Note]] = {}
        for paper, number, source, line, named, title, body, authors, venue, year, url, section, tags in rows:
            note = Note(
                source, line, named, title, body, tuple(authors), venue, year, url, section, tuple(tags),
                tuple(mentions.get((source, number), ())),
            )  # fmt: skip
            found.setdefault(paper, []).append(note)
        return found

    def code_of(self, identifiers: Sequence[str]) -> dict[str, list[CodeLink]]:
        """The repositories of these papers, the surest first, then those that the authors named themselves."""
        rows = self._read(
            """SELECT paper_id, url, source, official, stars, confidence, evidence, framework, checked, archived FROM paper_code
               WHERE list_contains(?::VARCHAR[], paper_id)  -- reaches below the view's grouping, as a subquery would not
               ORDER BY paper_id, confidence DESC, place, stars DESC NULLS LAST, lower(url)""",
            [list(identifiers)],
        )
        found: dict[str, list[CodeLink]] = {}
        for paper, *link in rows:
            found.setdefault(paper, []).append(CodeLink(*link))
        return found

    def select(self, filters: Filters) -> Keys | None:
        """Keys of the papers that pass the filters; `None` where there are none and all pass."""
        if not filters:
            return None
        conditions: list[str] = []
        parameters: list[Any] = []
        if filters.categories:
            conditions.append(_IN_CATEGORIES)
            parameters += [list(filters.categories)] * 2
        if filters.author:
            conditions.append(
                """len(list_filter(authors, lambda a: contains(
                       lower(strip_accents(concat_ws(' ', a.given, a.family, a.suffix))), lower(strip_accents(?))))) > 0"""
            )
            parameters.append(" ".join(filters.author.split()))
        first, last = filters.years
        if first is not None:
            conditions.append("year >= ?")
            parameters.append(first)
        if last is not None:
            conditions.append("year <= ?")
            parameters.append(last)
        if filters.has_code:
            conditions.append("id IN (SELECT paper_id FROM paper_code)")
        if filters.since is not None:
            conditions.append("published >= ?")
            parameters.append(filters.since)
        if filters.ids:
            conditions.append(
                "id IN (SELECT unnest(?) UNION ALL SELECT paper_id FROM aliases WHERE aliases.id IN (SELECT unnest(?)))"
            )
            parameters += [list(filters.ids)] * 2
        match filters.source:
            case "":
                pass
            case "arxiv":
                conditions.append("origin = 'arxiv'")
            case "notes":
                conditions.append("id IN (SELECT paper_id FROM notes)")
            case other:
                raise QueryError(f"There is no source {other!r}; it is 'arxiv' or 'notes'.")
        with self._connection.cursor() as cursor:
            found = cursor.execute(
                f"SELECT key FROM papers WHERE {' AND '.join(conditions)} ORDER BY key", parameters
            ).fetchnumpy()
        return np.asarray(found["key"], dtype=np.int64)

    def categories(self) -> list[tuple[str, int]]:
        """Every category with its number of papers, the largest first."""
        return [
            (name, int(n))
            for name, n in self._read(
                "SELECT c, count(*) FROM (SELECT unnest(categories) AS c FROM papers) GROUP BY c ORDER BY count(*) DESC, c"
            )
        ]

    def newest(self) -> date | None:
        """Day of the last publication."""
        newest: date | None = self._read("SELECT max(published) FROM papers")[0][0]
        return newest

    def years(self) -> tuple[int, int] | None:
        """First and last year of all papers."""
        first, last = self._read("SELECT min(year), max(year) FROM papers")[0]
        return None if first is None else (int(first), int(last))

    # Runs ------------------------------------------------------------------------------------------------------------

    def record_run(self, run: Run, skipped: Sequence[Skipped]) -> int:
        """Keeps the record of a job, and what it skipped, in place of the run's record so far; returns the run's number."""
        number = run.number or int(self._write("SELECT nextval('run_numbers')")[0][0])
        self._write("DELETE FROM runs WHERE number = ?", [number])
        self._write("DELETE FROM skipped WHERE run = ?", [number])
        self._write(
            f"INSERT INTO runs ({_RUN}) VALUES (?, ?, ?, ?, ?, MAP(?::VARCHAR[], ?::BIGINT[]), ?, ?, ?, ?, ?)",
            [
                run.job, run.source, run.started, run.finished, run.outcome, list(run.counts), list(run.counts.values()),
                run.message, number, run.span, run.requests, run.retries,
            ],
        )  # fmt: skip
        if skipped:
            self._write_many("INSERT INTO skipped VALUES (?, ?, ?, ?)", [(number, s.source, s.line, s.reason) for s in skipped])
        return number

    def runs(self, limit: int = 20) -> list[Run]:
        """The last jobs, the newest first."""
        rows = self._read(f"SELECT {_RUN} FROM runs ORDER BY number DESC LIMIT ?", [limit])
        return [Run(*row) for row in rows]


_SETTLE = r"""
CREATE OR REPLACE TEMP TABLE named AS
    SELECT named_id AS id, arg_min(title, (title = '', source, number)) AS title,
           arg_min(authors, (len(authors) = 0, source, number)) AS authors,
           arg_min(venue, (venue = '', source, number)) AS venue,
           arg_min(year, (year IS NULL, source, number)) AS year,
           arg_min(url, (url = '', source, number)) AS url,
           title_key(arg_min(title, (title = '', source, number))) AS title_key
    FROM notes GROUP BY named_id;

DELETE FROM aliases;
INSERT INTO aliases
    SELECT named.id, min(papers.id), 'doi' FROM named JOIN papers ON papers.doi = named.id[5:]
    WHERE starts_with(named.id, 'doi:') AND papers.origin = 'arxiv' GROUP BY named.id HAVING count(*) = 1;
INSERT INTO aliases
    SELECT named.id, min(papers.id), 'title'
    FROM named JOIN papers USING (title_key)
    WHERE papers.origin = 'arxiv' AND NOT starts_with(named.id, 'arxiv:') AND named.id NOT IN (SELECT id FROM aliases)
      AND length(title_key) >= 16 AND named.title LIKE '% % %'
      AND coalesce(abs(named.year - papers.year) <= 3, TRUE)
    GROUP BY named.id HAVING count(*) = 1;
-- Two notes on one paper that is in no catalogue: the firmer kind of id stands.
INSERT INTO aliases
    SELECT other.id, min(firm.id), 'title'
    FROM named AS other JOIN named AS firm USING (title_key)
    WHERE length(title_key) >= 16 AND other.title LIKE '% % %' AND coalesce(abs(other.year - firm.year) <= 3, TRUE)
      AND list_position(['arxiv', 'doi', 'openreview', 'url'], split_part(firm.id, ':', 1))
          + CASE WHEN starts_with(firm.id, 'url:note:') THEN 1 ELSE 0 END
        < list_position(['arxiv', 'doi', 'openreview', 'url'], split_part(other.id, ':', 1))
          + CASE WHEN starts_with(other.id, 'url:note:') THEN 1 ELSE 0 END
      AND other.id NOT IN (SELECT id FROM aliases) AND firm.id NOT IN (SELECT id FROM aliases)
    GROUP BY other.id HAVING count(*) = 1;
-- A note without a title is about the paper that it was found to be, under the name that this has by now.
INSERT INTO aliases
    SELECT note_id, paper, 'text'
    FROM (SELECT note_id, coalesce(aliases.paper_id, note_matches.paper_id) AS paper
          FROM note_matches LEFT JOIN aliases ON aliases.id = note_matches.paper_id WHERE standing IN ('made', 'accepted'))
    WHERE note_id IN (SELECT id FROM named) AND paper <> note_id
      AND paper IN (SELECT id FROM papers WHERE origin = 'arxiv' UNION ALL SELECT id FROM named);

UPDATE notes SET paper_id = named_id;
UPDATE notes SET paper_id = aliases.paper_id FROM aliases WHERE aliases.id = notes.named_id;

CREATE OR REPLACE TEMP TABLE known_by_notes AS
    SELECT named.*, CASE WHEN title <> '' THEN title
                         WHEN len(authors) > 0 THEN 'Untitled paper by ' || array_to_string(authors[:3], ', ')
                             || CASE WHEN len(authors) > 3 THEN ' et al.' ELSE '' END
                         ELSE id END AS shown
    FROM named
    WHERE id NOT IN (SELECT id FROM aliases) AND id NOT IN (SELECT id FROM papers WHERE origin = 'arxiv');
DELETE FROM papers WHERE origin = 'notes' AND id NOT IN (SELECT id FROM known_by_notes);
CREATE OR REPLACE TEMP TABLE stubs AS
    SELECT id, shown AS title, title_key(shown) AS title_key,
        list_transform(authors, lambda n: {'family': regexp_extract(n, '\S+$'), 'given': trim(regexp_replace(n, '\S+$', '')),
                                           'suffix': ''}) AS authors,
        venue AS journal_ref, url,
        coalesce(year, CASE WHEN starts_with(id, 'arxiv:') AND id[7:8] SIMILAR TO '\d\d' THEN 2000 + id[7:8]::INTEGER END) AS year
    FROM known_by_notes;
UPDATE papers SET title = stubs.title, title_key = stubs.title_key, authors = stubs.authors, journal_ref = stubs.journal_ref,
                  url = stubs.url, year = stubs.year
    FROM stubs WHERE papers.id = stubs.id
      AND row(papers.title, papers.authors, papers.journal_ref, papers.url, papers.year)
          IS DISTINCT FROM row(stubs.title, stubs.authors, stubs.journal_ref, stubs.url, stubs.year);
INSERT INTO papers
    SELECT nextval('paper_keys'), id, title, title_key, '', authors, [], '', journal_ref, CASE WHEN starts_with(id, 'doi:')
        THEN id[5:] ELSE '' END, '', url, NULL, NULL, year, [], FALSE, 'notes'
    FROM (SELECT * FROM stubs ANTI JOIN papers USING (id) ORDER BY id);

DELETE FROM code_links WHERE source = 'notes';
INSERT INTO code_links BY NAME
    SELECT DISTINCT ON (notes.paper_id, lower(target)) notes.paper_id, target AS url, 'notes' AS source,
        NULL::BOOLEAN AS official, mentions.stars, 0.8 AS confidence, 'a note on the paper names it' AS evidence, '' AS framework
    FROM mentions JOIN notes ON notes.source = mentions.source AND notes.number = mentions.note
    WHERE mentions.kind = 'repository' ORDER BY notes.paper_id, lower(target), target;
DROP TABLE named; DROP TABLE known_by_notes; DROP TABLE stubs;
"""


def _qualified(table: str) -> str:
    return ", ".join(f"{table}.{name.strip()}" for name in _MEANING.split(","))


def _note_changes(before: list[tuple[Any, ...]], after: list[tuple[Any, ...]]) -> NoteChanges:
    """Compares a document's notes with those of its last reading; the paper's id and its turn say which is which."""

    def by_turn(rows: list[tuple[Any, ...]]) -> dict[tuple[str, int], tuple[Any, ...]]:
        turns: dict[str, int] = {}
        found: dict[tuple[str, int], tuple[Any, ...]] = {}
        for row in rows:
            turns[row[0]] = turn = turns.get(row[0], 0) + 1
            found[row[0], turn] = row
        return found

    old, new = by_turn(before), by_turn(after)
    same = sum(1 for at, row in new.items() if old.get(at) == row)
    return NoteChanges(
        new=len(new.keys() - old.keys()),
        changed=len(new.keys() & old.keys()) - same,
        unchanged=same,
        removed=len(old.keys() - new.keys()),
    )


def _paper_row(paper: Paper) -> dict[str, Any]:
    """A paper as a row of _PAPER_ARROW; its id is checked once more, so that nothing else gets into the catalogue."""
    row: dict[str, Any] = {name: getattr(paper, name) for name in _PAPER_ARROW.names}
    row["id"] = paper_id(paper.id)
    row["authors"] = [{"family": a.family, "given": a.given, "suffix": a.suffix} for a in paper.authors]
    row["categories"] = list(paper.categories)
    row["versions"] = [{"number": v.number, "created": v.created} for v in paper.versions]
    return row


def _paper(row: Sequence[Any]) -> Paper:
    names = [name.strip() for name in _COLUMNS.split(",")]
    values = dict(zip(names, row, strict=True))
    values["authors"] = tuple(Author(**a) for a in values["authors"])
    values["categories"] = tuple(values["categories"])
    values["versions"] = tuple(Version(**v) for v in values["versions"])
    return Paper(**values)
