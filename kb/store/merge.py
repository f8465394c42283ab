"""Stages papers and upserts them into a draft's catalogue; only rows whose meaning differs are written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from kb.identifiers import ARXIV_ID_PATTERN, paper_id
from kb.papers import Paper
from kb.store.catalogue import COLUMNS, IN_CATEGORIES, Catalogue

_AUTHORS = "STRUCT(family VARCHAR, given VARCHAR, suffix VARCHAR)[]"
_VERSIONS = "STRUCT(number INTEGER, created TIMESTAMP)[]"
# A paper has changed if one of these differs. `updated` is not among them: the same record is served under new dates.
_COMPARED_COLUMNS = "title, abstract, authors, categories, comments, journal_ref, doi, licence, published, versions, withdrawn"
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


# What a record without a mark of its own says of being withdrawn (RE2).
_WITHDRAWN = r"(?i)(?:paper|article|submission|manuscript|work|it)\s+(?:has been|is|was|is being)\s+withdrawn|^\s*withdrawn\b"


def _says_withdrawn(comments: str, abstract: str) -> str:
    """SQL: whether a record's texts say that the paper is withdrawn."""
    return f"regexp_matches(coalesce({comments}, '') || ' ' || left(coalesce({abstract}, ''), 120), '{_WITHDRAWN}')"


def _one_blank(column: str) -> str:
    """SQL: a text with each run of blanks collapsed to one space, and '' for NULL."""
    # Most texts have no run of them, and looking for two kinds of characters costs a tenth of the pattern.
    runs = " OR ".join(f"contains({column}, {blank})" for blank in ("'  '", "chr(10)", "chr(9)", "chr(13)"))
    return f"trim(CASE WHEN {runs} THEN regexp_replace({column}, '\\s+', ' ', 'g') ELSE coalesce({column}, '') END)"


_SNAPSHOT = f"""
    SELECT 'arxiv:' || bare AS id, {_one_blank("title")} AS title, {_one_blank("abstract")} AS abstract,
        CASE WHEN len(authors_parsed) > 0
            THEN list_transform(authors_parsed, lambda a: {{
                'family': {_one_blank("a[1]")}, 'given': {_one_blank("a[2]")}, 'suffix': {_one_blank("a[3]")}}})
            ELSE list_transform(
                list_filter(string_split_regex({_one_blank("authors")}, ',\\s*(?:and\\s+)?|\\s+and\\s+'), lambda n: n <> ''),
                lambda n: {{'family': regexp_extract(n, '\\S+$'), 'given': trim(regexp_replace(n, '\\S+$', '')), 'suffix': ''}})
            END::{_AUTHORS} AS authors,
        list_filter(string_split({_one_blank("categories")}, ' '), lambda c: c <> '') AS categories,
        {_one_blank("comments")} AS comments, {_one_blank('"journal-ref"')} AS journal_ref,
        lower({_one_blank("doi")}) AS doi, coalesce(license, '') AS licence, '' AS url,
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


class StagedPapers:
    """Papers staged in a draft's catalogue, and their upsert. All instances for one draft share its staging area."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._connection = catalogue.connection

    def begin(self) -> None:
        """Create the empty staging area: one row a record until the merge."""
        # In memory as temporary tables are, and spilled as they are, but seen by every cursor.
        self._connection.write("ATTACH IF NOT EXISTS ':memory:' AS work")
        self._connection.write(
            f"CREATE OR REPLACE TABLE work.staging AS SELECT 0::BIGINT AS ordinal, {COLUMNS} FROM papers LIMIT 0"
        )

    def stage_snapshot(
        self, rows: pa.Table, categories: Sequence[str] = (), limit: int | None = None
    ) -> tuple[int, list[tuple[int, str]]]:
        """Stage rows in the form of SNAPSHOT_ARROW.

        Returns how many were staged, and line and reason of each that cannot be: no such arXiv id, no title.
        Rows of other categories are neither.
        """
        with self._connection.registered("snapshot_rows", rows):
            bad = self._connection.write(
                """SELECT line, CASE WHEN coalesce(trim(id), '') = '' THEN 'the record has no id'
                        WHEN coalesce(trim(title), '') = '' THEN 'the record ' || id || ' has no title'
                        ELSE id || ' is no arXiv id that can exist' END
                   FROM snapshot_rows
                   WHERE coalesce(trim(title), '') = '' OR NOT regexp_full_match(coalesce(trim(id), ''), ?) ORDER BY line""",
                [ARXIV_ID_PATTERN],
            )
            before = self._staged()
            self._connection.write(
                f"""INSERT INTO work.staging
                    SELECT (SELECT count(*) FROM work.staging) + row_number() OVER (), {COLUMNS} FROM ({_SNAPSHOT})
                    WHERE title <> '' AND regexp_full_match(id[7:], ?) AND (len(?) = 0 OR {IN_CATEGORIES})
                    {"LIMIT ?" if limit is not None else ""}""",
                [ARXIV_ID_PATTERN, *[list(categories)] * 3, *([limit] if limit is not None else [])],
            )
            return self._staged() - before, bad

    def stage(self, papers: Sequence[Paper], marks_withdrawn: bool = True) -> None:
        """Stage papers from any other source.

        A source that does not mark withdrawn papers says so: what its texts do not tell stays as it is known.
        """
        rows = pa.Table.from_pylist([_paper_row(p) for p in papers], schema=_PAPER_ARROW)
        mark = (
            "" if marks_withdrawn else f"REPLACE (CASE WHEN {_says_withdrawn('comments', 'abstract')} THEN TRUE END AS withdrawn)"
        )
        with self._connection.registered("paper_rows", rows):
            self._connection.write(
                f"""INSERT INTO work.staging SELECT (SELECT count(*) FROM work.staging) + row_number() OVER (), {COLUMNS}
                    FROM (SELECT * {mark} FROM paper_rows)"""
            )

    def _staged(self) -> int:
        return self._connection.count("work.staging")

    def merge(self) -> PaperChanges:
        """Upsert what was staged, by meaning: only what differs is written.

        A record staged twice counts once, the one with most versions; an older record than the one stored
        changes nothing; a field that the new record lacks keeps what was known.
        """
        with self.merging() as changes:
            return changes

    @contextmanager
    def merging(self) -> Iterator[PaperChanges]:
        """As `merge`, in a thread beside what is done in the `with`: that may read, and must not write.

        Most of the time goes into compressing what is written, for which DuckDB takes one thread up to 122,880 papers.
        """
        changes = self._compare()
        with ThreadPoolExecutor(1) as thread:
            writing = thread.submit(self._write_all)
            try:
                yield changes
                writing.result()
            except BaseException:
                self._connection.interrupt()
                raise
        self._connection.write("DROP TABLE work.staging; DROP TABLE work.differing; DROP TABLE work.fresh")

    def _compare(self) -> PaperChanges:
        """Split the staged papers into `fresh` (new) and `differing` (changed); the rest are unchanged."""
        self._connection.write(
            """CREATE OR REPLACE TEMP TABLE chosen AS
               SELECT id, arg_max(ordinal, (len(versions), coalesce(updated, DATE '1900-01-01'), ordinal)) AS ordinal
               FROM work.staging GROUP BY id"""
        )
        # Filled with what the record lacks first: a comparison of what would be written with what is there.
        self._connection.write(
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
        self._connection.write(
            f"""DELETE FROM work.differing USING papers WHERE differing.id = papers.id AND papers.origin = 'arxiv'
                AND row({_qualified("differing")}) IS NOT DISTINCT FROM row({_qualified("papers")})"""
        )
        self._connection.write("CREATE OR REPLACE TABLE work.fresh AS SELECT id, ordinal FROM chosen ANTI JOIN papers USING (id)")
        self._connection.write(
            """DROP TABLE chosen;
               CREATE OR REPLACE TEMP TABLE touched AS SELECT id FROM work.fresh UNION ALL SELECT id FROM work.differing"""
        )
        new, changed = self._connection.count("work.fresh"), self._connection.count("work.differing")
        return PaperChanges(new, changed, self._staged() - new - changed)

    def _write_all(self) -> None:
        """Write the tables `fresh` and `differing` to the catalogue."""
        self._connection.write(
            """INSERT INTO former_texts SELECT id, len(papers.versions), papers.title, papers.abstract
               FROM papers JOIN work.differing USING (id)
               WHERE papers.origin = 'arxiv' AND len(differing.versions) > len(papers.versions)
                 AND (differing.title, differing.abstract) IS DISTINCT FROM (papers.title, papers.abstract)"""
        )
        assignments = ", ".join(f"{name.strip()} = differing.{name.strip()}" for name in COLUMNS.split(",")[1:])
        self._connection.write(
            f"""UPDATE papers SET {assignments}, title_key = title_key(differing.title)
                FROM work.differing WHERE papers.id = differing.id"""
        )
        self._connection.write(
            f"""INSERT INTO papers (key, title_key, {COLUMNS})
                SELECT nextval('paper_keys'), title_key(title), {COLUMNS}
                FROM (SELECT staging.* REPLACE (coalesce(staging.withdrawn, FALSE) AS withdrawn)
                      FROM work.staging JOIN work.fresh USING (id, ordinal) ORDER BY ordinal)"""
        )
        self._connection.write(
            """DELETE FROM withdrawals USING papers, touched
               WHERE withdrawals.paper_id = papers.id AND papers.id = touched.id AND version = len(papers.versions);
               INSERT INTO withdrawals SELECT id, len(versions), updated, comments
               FROM papers WHERE withdrawn AND id IN (SELECT id FROM touched)"""
        )

    def touch_all(self) -> None:
        """Treat every paper as written by the last merge."""
        self._connection.write("CREATE OR REPLACE TEMP TABLE touched AS SELECT id FROM papers")


def _qualified(table: str) -> str:
    return ", ".join(f"{table}.{name.strip()}" for name in _COMPARED_COLUMNS.split(","))


def _paper_row(paper: Paper) -> dict[str, Any]:
    """A paper as a row of _PAPER_ARROW; its id is checked once more, so that nothing else gets into the catalogue."""
    row: dict[str, Any] = {name: getattr(paper, name) for name in _PAPER_ARROW.names}
    row["id"] = paper_id(paper.id)
    row["authors"] = [{"family": a.family, "given": a.given, "suffix": a.suffix} for a in paper.authors]
    row["categories"] = list(paper.categories)
    row["versions"] = [{"number": v.number, "created": v.created} for v in paper.versions]
    return row
