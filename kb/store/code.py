"""Code links beyond those that texts name: the Papers-with-Code archive, and what the forges say of repositories."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa

from kb.papers import Author, CodeLink
from kb.store.catalogue import Catalogue

_PART = 2000  # papers read at a time
#: Rows of a Papers-with-Code dump, checked: `paper_id` is canonical, or NULL where the row has no arXiv id.
DUMP_ARROW = pa.schema(
    [
        ("line", pa.int64()),
        ("paper_id", pa.string()),
        ("title", pa.string()),
        ("url", pa.string()),
        ("official", pa.bool_()),
        ("mentioned", pa.bool_()),
        ("framework", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class PaperText:
    """Fields of a paper that may name repositories, and those needed to judge them."""

    id: str
    title: str
    authors: tuple[Author, ...]
    abstract: str
    comments: str


@dataclass(frozen=True, slots=True)
class NamedRepository:
    """A repository that an archive lists for a paper, with the fields needed to judge it."""

    paper_id: str
    title: str
    authors: tuple[Author, ...]
    url: str
    official: bool | None
    mentioned: bool | None
    """Whether the paper's text names it."""
    framework: str


@dataclass(frozen=True, slots=True)
class DumpMatch:
    """How the rows of a dump found their papers."""

    by_id: int
    by_title: int
    unmatched: int
    ambiguous: tuple[tuple[int, str, tuple[str, ...]], ...]
    """Line, title, and the papers of that title; the first 1,000."""
    ambiguous_count: int
    duplicates: int
    """Rows that say again what another row says of the same paper and repository."""


@dataclass(frozen=True, slots=True)
class RepositoryState:
    """State of a repository as its forge reports it."""

    url: str
    checked: datetime
    stars: int | None = None
    archived: bool = False
    gone: bool = False
    moved_to: str = ""
    etag: str = ""


class CodeCatalogue:
    """The code links of one open catalogue."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._connection = catalogue.connection

    # The texts that name repositories --------------------------------------------------------------------------------

    def texts(self, pattern: str) -> Iterator[PaperText]:
        """The papers whose text matches (RE2)."""
        return self._matching("papers", pattern)

    def merging_texts(self, pattern: str) -> Iterator[PaperText]:
        """The papers whose text matches (RE2), of those that are new or changed, while they are merged."""
        return self._matching(
            """(SELECT staging.* FROM work.staging JOIN work.fresh USING (id, ordinal) UNION ALL FROM work.differing)""", pattern
        )

    def _matching(self, papers: str, pattern: str) -> Iterator[PaperText]:
        sql = f"""SELECT id, title, authors, abstract, comments FROM {papers}
                  WHERE regexp_matches(abstract || ' ' || comments, ?)"""
        for rows in self._connection.read_in_parts(sql, [pattern], _PART):
            for identifier, title, authors, abstract, comments in rows:
                yield PaperText(identifier, title, tuple(Author(**a) for a in authors), abstract, comments)

    # The archive -----------------------------------------------------------------------------------------------------

    def match_dump(self, rows: pa.Table) -> DumpMatch:
        """Find the papers of rows in the form of DUMP_ARROW: by id, else by title where exactly one paper has it.

        A title counts from 16 letters and three words on: shorter ones are many papers'. The rows found wait for `matched`.
        """
        write = self._connection.write
        with self._connection.registered("dump_rows", rows):
            write("CREATE OR REPLACE TEMP TABLE dump AS SELECT *, title_key(coalesce(title, '')) AS title_key FROM dump_rows")
        write(
            """CREATE OR REPLACE TEMP TABLE dump_found AS
               SELECT dump.line, papers.id AS paper_id, 'id' AS found_by FROM dump JOIN papers ON papers.id = dump.paper_id
               UNION ALL
               SELECT line, any_value(papers.id), 'title' FROM dump JOIN papers USING (title_key)
               WHERE dump.paper_id IS NULL AND length(title_key) >= 16 AND dump.title LIKE '% % %'
               GROUP BY line HAVING count(*) = 1"""
        )
        ambiguous = write(
            """SELECT line, any_value(dump.title), list_sort(list(papers.id)) FROM dump JOIN papers USING (title_key)
               WHERE dump.paper_id IS NULL AND length(title_key) >= 16 AND dump.title LIKE '% % %'
               GROUP BY line HAVING count(*) > 1 ORDER BY line"""
        )
        by_id, by_title, links, total = write(
            """SELECT count(*) FILTER (found_by = 'id'), count(*) FILTER (found_by = 'title'),
                      count(DISTINCT (dump_found.paper_id, lower(url))), (SELECT count(*) FROM dump)
               FROM dump_found JOIN dump USING (line)"""
        )[0]
        return DumpMatch(
            by_id=int(by_id),
            by_title=int(by_title),
            unmatched=int(total - by_id - by_title - len(ambiguous)),
            ambiguous=tuple((int(line), title, tuple(ids)) for line, title, ids in ambiguous[:1000]),
            ambiguous_count=len(ambiguous),
            duplicates=int(by_id + by_title - links),
        )

    def matched(self) -> list[NamedRepository]:
        """The repositories that the last `match_dump` found papers for, each once a paper."""
        rows = self._connection.write(
            """SELECT papers.id, any_value(papers.title), any_value(papers.authors), min(dump.url), bool_or(official),
                      bool_or(mentioned), max(CASE WHEN framework IN ('', 'none') THEN '' ELSE framework END)
               FROM dump_found JOIN dump USING (line) JOIN papers ON papers.id = dump_found.paper_id
               GROUP BY papers.id, lower(dump.url) ORDER BY papers.id, lower(dump.url)"""
        )
        return [NamedRepository(i, t, tuple(Author(**a) for a in authors), *rest) for i, t, authors, *rest in rows]

    def replace_source(self, source: str, links: Sequence[tuple[str, CodeLink]]) -> None:
        """Replace all links of a source."""
        self._connection.write("DELETE FROM code_links WHERE source = ?", [source])
        self._catalogue.add_code_links(links)

    # The forges ------------------------------------------------------------------------------------------------------

    def repositories_to_check(self, host: str, limit: int) -> list[tuple[str, str]]:
        """Repositories of this host and their ETags: those never checked first, then those checked longest ago."""
        return [
            (url, etag)
            for url, etag in self._connection.read(
                """SELECT min(links.url), coalesce(any_value(etag), '') FROM code_links AS links
                   LEFT JOIN repositories AS known ON known.url = lower(links.url)
                   WHERE starts_with(lower(links.url), ?) GROUP BY lower(links.url)
                   ORDER BY any_value(checked) NULLS FIRST, lower(links.url) LIMIT ?""",
                [f"https://{host}/", limit],
            )
        ]

    def record_states(self, states: Sequence[RepositoryState]) -> None:
        """Store the states of repositories; a state without stars keeps those known."""
        for state in states:
            before = self._connection.read("SELECT stars FROM repositories WHERE url = ?", [state.url.lower()])
            self._connection.write("DELETE FROM repositories WHERE url = ?", [state.url.lower()])
            self._connection.write(
                "INSERT INTO repositories VALUES (?, ?, ?, ?, ?, ?, ?)",
                [
                    state.url.lower(),
                    state.checked,
                    before[0][0] if state.stars is None and before else state.stars,
                    state.archived,
                    state.gone,
                    state.moved_to,
                    state.etag,
                ],
            )

    def confirm_states(self, urls: Sequence[str], checked: datetime) -> None:
        """Record that these repositories were checked and have not changed."""
        self._connection.write(
            "UPDATE repositories SET checked = ? WHERE url IN (SELECT lower(unnest(?::VARCHAR[])))", [checked, list(urls)]
        )

    def papers_to_check(self, limit: int) -> list[str]:
        """ArXiv papers that Hugging Face may know: the newest not asked about yet, then those asked about longest ago."""
        rows = self._connection.read(
            """SELECT id FROM papers LEFT JOIN paper_checks ON paper_checks.paper_id = papers.id
               WHERE starts_with(id, 'arxiv:') ORDER BY checked NULLS FIRST, published DESC NULLS LAST, key LIMIT ?""",
            [limit],
        )
        return [identifier for (identifier,) in rows]

    def record_paper(self, identifier: str, checked: datetime, project_page: str, link: CodeLink | None) -> None:
        """Store what Hugging Face says of a paper, replacing its earlier answer."""
        write = self._connection.write
        write("DELETE FROM paper_checks WHERE paper_id = ?", [identifier])
        write("INSERT INTO paper_checks VALUES (?, ?, ?)", [identifier, checked, project_page])
        write("DELETE FROM code_links WHERE paper_id = ? AND source = 'huggingface'", [identifier])
        if link:
            self._catalogue.add_code_links([(identifier, link)])

    # Reading -----------------------------------------------------------------------------------------------------------

    def mentioned(self, identifiers: Sequence[str]) -> dict[str, list[CodeLink]]:
        """Repositories that go with these papers but are hardly their own code: tools used, works compared with."""
        rows = self._connection.read(
            """SELECT paper_id, url, source, official, stars, confidence, evidence, framework, checked, archived
               FROM paper_repositories WHERE confidence < 0.5 AND paper_id IN (SELECT unnest(?))
               ORDER BY paper_id, confidence DESC, lower(url)""",
            [list(identifiers)],
        )
        found: dict[str, list[CodeLink]] = {}
        for paper, *link in rows:
            found.setdefault(paper, []).append(CodeLink(*link))
        return found

    def project_page(self, identifier: str) -> str:
        """The project page of a paper that Hugging Face knows; empty where it knows none or was not asked."""
        rows = self._connection.read("SELECT project_page FROM paper_checks WHERE paper_id = ?", [identifier])
        return str(rows[0][0]) if rows else ""
