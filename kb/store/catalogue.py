"""The catalogue: papers, cards and code links read, filters, and the records of jobs.

Papers come in by `kb.store.merge`, notes by `kb.store.notes`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kb.errors import QueryError
from kb.papers import Author, Card, CodeLink, Paper, Skipped, Version
from kb.store.connection import Connection
from kb.store.notes import Notes

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
class Run:
    """Record of one run of a job."""

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
    """Requests sent to the remote service, retries included."""
    retries: int = 0


@dataclass(frozen=True, slots=True)
class Filters:
    """Restrictions on a search, all of which must hold; an empty one restricts nothing."""

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
    """First and last year of `2019`, `2019..2023`, `2019..` or `..2023`. Raises QueryError for any other text."""
    if not text:
        return (None, None)
    first, dots, last = text.partition("..")
    try:
        years = (int(first) if first else None, int(last) if last else None) if dots else (int(first), int(first))
    except ValueError:
        raise QueryError(f"{text!r} is no range of years, such as 2019 or 2019..2023.") from None
    if years[0] is not None and years[1] is not None and years[0] > years[1]:
        raise QueryError(f"{text!r} is the wrong way round: the earlier year comes first, {years[1]}..{years[0]}.")
    return years


def parse_categories(texts: Sequence[str]) -> list[str]:
    """Categories as arXiv writes them, of `cs.ro`, `CS.RO` or `cs.RO,cs.CV`."""
    return [_category(name) for text in texts for name in re.split(r"[,;\s]+", text) if name]


def _category(name: str) -> str:
    """A category with its archive in small letters; a subject of two letters is in capitals, a longer one is not."""
    archive, dot, subject = name.partition(".")
    return f"{archive.lower()}{dot}{subject.upper() if len(subject) == 2 else subject.lower()}"


# Apostrophes as people type them; names are compared with the straight one.
_APOSTROPHES = "’‘ʼ`´"
_TO_APOSTROPHE = str.maketrans(dict.fromkeys(_APOSTROPHES, "'"))


def author_pattern(text: str) -> str:
    """Regular expression for `--author`, over names in reading order, in small letters, without accents: a part of the name.

    `LeCun, Yann` is turned round. With an initial, as in `Y. LeCun`, it stands for any given name that begins with it.
    """
    family, comma, given = text.partition(",")
    letters = unicodedata.normalize("NFKD", (f"{given} {family}" if comma else text).translate(_TO_APOSTROPHE)).lower()
    words = "".join(c for c in letters if not unicodedata.combining(c)).split()
    is_initial = [re.fullmatch(r"\w\.?", word) is not None for word in words]
    if not any(is_initial[:-1]):
        return re.escape(" ".join(words))
    parts = [rf"{re.escape(word[0])}\S*" if initial else re.escape(word) for word, initial in zip(words, is_initial, strict=True)]
    return r"(?:^|\s)" + r"\s+(?:\S+\s+)*?".join([*parts[:-1], re.escape(words[-1])])


@dataclass(frozen=True, slots=True)
class DocumentBatch:
    """Keys of all papers, ascending, and the digest of the text that is embedded for each."""

    keys: Keys
    digests: list[str]


@dataclass(frozen=True, slots=True)
class Abstract:
    """The fields of a paper that models are trained on."""

    key: int
    title: str
    abstract: str
    category: str
    """The primary one; '' for none."""
    year: int
    quarter: int
    """Of the year it was published in, from 1; 0 where the day is not known, as is the year."""


class Catalogue:
    """Papers, cards, code links and runs of one open catalogue. Reading is safe from many threads; writing is for one."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.notes = Notes(connection)

    # Code links ------------------------------------------------------------------------------------------------------

    def replace_code_links(self, links: Sequence[tuple[str, CodeLink]], sources: Sequence[str]) -> int:
        """Replace all links that these sources gave for the papers of the last merge; returns the number of new links."""
        self.connection.write(
            "DELETE FROM code_links WHERE list_contains(?, source) AND paper_id IN (SELECT id FROM touched)", [list(sources)]
        )
        self.add_code_links(links)
        return len(links)

    def add_code_links(self, links: Sequence[tuple[str, CodeLink]]) -> None:
        """Add links, each with the canonical id of its paper."""
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
        with self.connection.registered("link_rows", rows):
            self.connection.write("INSERT INTO code_links BY NAME SELECT * FROM link_rows")

    # Reading -------------------------------------------------------------------------------------------------------

    def counts(self) -> dict[str, int]:
        """Numbers of papers, notes and code links."""
        row = self.connection.read(
            "SELECT (SELECT count(*) FROM papers), (SELECT count(*) FROM notes), (SELECT count(*) FROM code_links)"
        )[0]
        return dict(zip(("papers", "notes", "code_links"), map(int, row), strict=True))

    def documents(self) -> DocumentBatch:
        """Key and text digest of every paper."""
        columns = self.connection.read_columns("SELECT key, md5(title || chr(31) || body) AS digest FROM documents ORDER BY key")
        return DocumentBatch(columns["key"].astype(np.int64), [str(d) for d in columns["digest"]])

    def texts(self, keys: Keys) -> dict[int, tuple[str, str]]:
        """Title and body of the papers with keys of shape (n,)."""
        rows = self.connection.read("SELECT key, title, body FROM documents WHERE key IN (SELECT unnest(?))", [keys.tolist()])
        return {int(key): (title, body) for key, title, body in rows}

    def abstracts(self) -> list[Abstract]:
        """Every paper that has an abstract, in the order of the keys."""
        rows = self.connection.read(
            """SELECT key, title, abstract, coalesce(categories[1], ''), coalesce(year, 0), coalesce(quarter(published), 0)
               FROM papers WHERE abstract <> '' ORDER BY key"""
        )
        return [Abstract(*row) for row in rows]

    def papers(self, keys: Sequence[int]) -> dict[int, Paper]:
        """Papers with these keys; an unknown key is left out."""
        rows = self.connection.read(f"SELECT key, {COLUMNS} FROM papers WHERE key IN (SELECT unnest(?))", [list(keys)])
        return {int(row[0]): _paper(row[1:]) for row in rows}

    def cards(self, keys: Sequence[int]) -> dict[int, Card]:
        """Cards of the papers with these keys; an unknown key is left out."""
        papers = self.papers(keys)
        ids = [paper.id for paper in papers.values()]
        code, notes = self.code_of(ids), self.notes.on(ids)
        return {key: Card(paper, tuple(code.get(paper.id, ())), tuple(notes.get(paper.id, ()))) for key, paper in papers.items()}

    def key_of(self, identifier: str) -> int | None:
        """Key of the paper with this canonical id, alias or DOI; `None` if there is none."""
        # Two queries: most ids are canonical, and to look for that alone takes half as long.
        rows = self.connection.read("SELECT key FROM papers WHERE id = ?", [identifier]) or self.connection.read(
            """SELECT key FROM papers WHERE id = (SELECT paper_id FROM aliases WHERE aliases.id = ? LIMIT 1)
               OR (starts_with(?, 'doi:') AND (doi = ?[5:] OR list_contains(string_split(doi, ' '), ?[5:]))) LIMIT 1""",
            [identifier] * 4,
        )
        return int(rows[0][0]) if rows else None

    def keys_titled(self, title: str) -> list[int]:
        """Keys of the papers with this title, ignoring case, accents and punctuation."""
        rows = self.connection.read(
            "SELECT key FROM papers WHERE title_key = title_key(?) AND title_key <> '' ORDER BY key", [title]
        )
        return [int(key) for (key,) in rows]

    def keys_with_repository(self, url: str) -> list[int]:
        """Keys, ascending, of the papers whose code is in a repository, given by its address."""
        rows = self.connection.read(
            "SELECT DISTINCT key FROM papers JOIN paper_code ON paper_code.paper_id = papers.id WHERE lower(url) = lower(?) "
            "ORDER BY key", [url]
        )  # fmt: skip
        return [int(key) for (key,) in rows]

    def identifiers(self) -> dict[int, str]:
        """Canonical id of every paper, by key."""
        return {int(key): identifier for key, identifier in self.connection.read("SELECT key, id FROM papers")}

    def known_from_notes_alone(self) -> frozenset[int]:
        """Keys of the papers without an abstract that only notes tell of."""
        rows = self.connection.read("SELECT key FROM papers WHERE origin = 'notes' AND abstract = ''")
        return frozenset(int(key) for (key,) in rows)

    def withdrawn(self) -> frozenset[int]:
        """Keys of the papers that were withdrawn."""
        return frozenset(int(key) for (key,) in self.connection.read("SELECT key FROM papers WHERE withdrawn"))

    def code_of(self, identifiers: Sequence[str]) -> dict[str, list[CodeLink]]:
        """Repositories by canonical id, by falling confidence; at equal confidence those named by the authors first."""
        rows = self.connection.read(
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
        """Keys, ascending, shape (n,), of the papers that pass; `None` for empty filters. Raises QueryError."""
        if not filters:
            return None
        conditions: list[str] = []
        parameters: list[Any] = []
        if filters.categories:
            conditions.append(IN_CATEGORIES)
            # As they are written too: other sources have categories that arXiv's spelling does not fit.
            parameters += [[*filters.categories, *parse_categories(filters.categories)]] * 2
        if filters.author:
            conditions.append(
                f"""len(list_filter(authors, lambda a: regexp_matches(lower(strip_accents(
                       translate(concat_ws(' ', a.given, a.family, a.suffix), '{_APOSTROPHES}', ?))), ?))) > 0"""
            )
            parameters += ["'" * len(_APOSTROPHES), author_pattern(filters.author)]
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
        sql = f"SELECT key FROM papers WHERE {' AND '.join(conditions)} ORDER BY key"
        return self.connection.read_columns(sql, parameters)["key"].astype(np.int64)

    def keys_by_date(self) -> Keys:
        """Keys of all papers, shape (n,), the newest first, those without a date and withdrawn ones last."""
        return self._ordered_keys("withdrawn, published DESC NULLS LAST, year DESC NULLS LAST, key DESC")

    def keys_by_stars(self) -> Keys:
        """Keys of all papers, shape (n,), the most stars first, of equals the newest; withdrawn ones last."""
        stars = "(SELECT max(stars) FROM paper_code WHERE paper_id = papers.id)"
        return self._ordered_keys(f"withdrawn, {stars} DESC NULLS LAST, published DESC NULLS LAST, key DESC")

    def _ordered_keys(self, order: str) -> Keys:
        return self.connection.read_columns(f"SELECT key FROM papers ORDER BY {order}")["key"].astype(np.int64)

    def categories(self) -> list[tuple[str, int]]:
        """Every category with its number of papers, the largest first."""
        return [
            (name, int(n))
            for name, n in self.connection.read(
                "SELECT c, count(*) FROM (SELECT unnest(categories) AS c FROM papers) GROUP BY c ORDER BY count(*) DESC, c"
            )
        ]

    def newest(self) -> date | None:
        """Day of the last publication."""
        newest: date | None = self.connection.read("SELECT max(published) FROM papers")[0][0]
        return newest

    def years(self) -> tuple[int, int] | None:
        """First and last year of all papers."""
        first, last = self.connection.read("SELECT min(year), max(year) FROM papers")[0]
        return None if first is None else (int(first), int(last))

    # Runs ------------------------------------------------------------------------------------------------------------

    def record_run(self, run: Run, skipped: Sequence[Skipped]) -> int:
        """Store the record of a run and what it skipped, replacing the run's earlier record; returns the run's number."""
        number = run.number or int(self.connection.write("SELECT nextval('run_numbers')")[0][0])
        self.connection.write("DELETE FROM runs WHERE number = ?", [number])
        self.connection.write("DELETE FROM skipped WHERE run = ?", [number])
        self.connection.write(
            f"INSERT INTO runs ({_RUN}) VALUES (?, ?, ?, ?, ?, MAP(?::VARCHAR[], ?::BIGINT[]), ?, ?, ?, ?, ?)",
            [
                run.job, run.source, run.started, run.finished, run.outcome, list(run.counts), list(run.counts.values()),
                run.message, number, run.span, run.requests, run.retries,
            ],
        )  # fmt: skip
        if skipped:
            self.connection.write_many(
                "INSERT INTO skipped VALUES (?, ?, ?, ?)", [(number, s.source, s.line, s.reason) for s in skipped]
            )
        return number

    def runs(self, limit: int = 20) -> list[Run]:
        """The last runs, the newest first."""
        rows = self.connection.read(f"SELECT {_RUN} FROM runs ORDER BY number DESC LIMIT ?", [limit])
        return [Run(*row) for row in rows]


def _paper(row: Sequence[Any]) -> Paper:
    names = [name.strip() for name in COLUMNS.split(",")]
    values = dict(zip(names, row, strict=True))
    values["authors"] = tuple(Author(**a) for a in values["authors"])
    values["categories"] = tuple(values["categories"])
    values["versions"] = tuple(Version(**v) for v in values["versions"])
    return Paper(**values)
