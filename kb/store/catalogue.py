"""The catalogue: reading it, and bringing notes and code links into it; papers come in by `kb.store.intake`.

`settle()` makes whole what follows from the rows: which papers only notes tell of, and which of those are other names of a
paper with metadata.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kb.errors import QueryError
from kb.papers import Author, Card, CodeLink, Mention, Note, Paper, Skipped, Version, plain_text

Keys = NDArray[np.int64]

#: Columns that an ingest brings; the others of `papers` follow from them.
COLUMNS = (
    "id, title, abstract, authors, categories, comments, journal_ref, doi, licence, url, "
    "published, updated, year, versions, withdrawn, origin"
)
# The columns of `runs`, in the order of Run's fields.
_RUN = "job, source, started, finished, outcome, counts, message, number, span, requests, retries"
#: Any of the paper's categories is asked for, itself or by its archive; takes the list twice.
IN_CATEGORIES = """(list_has_any(categories, ?::VARCHAR[])
    OR list_has_any(list_transform(categories, lambda c: split_part(c, '.', 1)), ?::VARCHAR[]))"""


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

    def _count(self, table: str) -> int:
        return int(self._write(f"SELECT count(*) FROM {table}")[0][0])

    # Code links ------------------------------------------------------------------------------------------------------

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
        rows = self._read(f"SELECT key, {COLUMNS} FROM papers WHERE key IN (SELECT unnest(?))", [list(keys)])
        return {int(row[0]): _paper(row[1:]) for row in rows}

    def cards(self, keys: Sequence[int]) -> dict[int, Card]:
        """All that is known of the papers with these keys; a key that is gone is left out."""
        papers = self.papers(keys)
        ids = [paper.id for paper in papers.values()]
        code, notes = self.code_of(ids), self.notes_on(ids)
        return {key: Card(paper, tuple(code.get(paper.id, ())), tuple(notes.get(paper.id, ()))) for key, paper in papers.items()}

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
            conditions.append(IN_CATEGORIES)
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


def _paper(row: Sequence[Any]) -> Paper:
    names = [name.strip() for name in COLUMNS.split(",")]
    values = dict(zip(names, row, strict=True))
    values["authors"] = tuple(Author(**a) for a in values["authors"])
    values["categories"] = tuple(values["categories"])
    values["versions"] = tuple(Version(**v) for v in values["versions"])
    return Paper(**values)
