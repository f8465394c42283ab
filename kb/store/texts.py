"""What lexical search reads of a paper: its texts, its people, the notes on it, the names of its code."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kb.papers import Author
from kb.store.catalogue import Catalogue, Keys

_CHUNK = 2000  # papers read at a time
_SEARCHED = """
    SELECT papers.key, papers.title, papers.abstract, papers.authors, coalesce(said.notes, '') AS notes,
           coalesce(linked.repositories, []) AS repositories
    FROM papers
    LEFT JOIN (
        SELECT paper_id, string_agg(
            concat_ws('. ', title, plain, array_to_string(tags, ' ')), ' ' ORDER BY source, number) AS notes
        FROM notes GROUP BY paper_id
    ) AS said ON said.paper_id = papers.id
    LEFT JOIN (
        SELECT paper_id, list_sort(list_distinct(list(regexp_extract(url, '[^/]+/[^/]+$')))) AS repositories
        FROM code_links GROUP BY paper_id
    ) AS linked ON linked.paper_id = papers.id
"""


@dataclass(frozen=True, slots=True)
class SearchText:
    """The words by which a paper is found."""

    key: int
    title: str
    abstract: str
    authors: tuple[Author, ...]
    notes: str
    """Titles, bodies and tags of the notes on it, one after the other, without markup."""
    repositories: tuple[str, ...]
    """`owner/name` of its code."""


class SearchTexts:
    """Reads the words of papers from an open catalogue."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    def digests(self) -> dict[int, str]:
        """MD5, in hexadecimal, of the words of every paper, by key."""
        rows = self._catalogue._read(
            f"""SELECT key, md5(concat_ws(chr(31), title, abstract, authors::VARCHAR, notes, repositories::VARCHAR))
                FROM ({_SEARCHED})"""
        )
        return {int(key): digest for key, digest in rows}

    def of(self, keys: Keys) -> Iterator[SearchText]:
        """The words of these papers, a chunk at a time; a key that is gone is left out."""
        if not len(keys):
            return
        with self._catalogue._connection.cursor() as cursor:
            result = cursor.execute(
                f"SELECT * FROM ({_SEARCHED}) WHERE key IN (SELECT unnest(?::BIGINT[])) ORDER BY key", [keys.tolist()]
            )
            while rows := result.fetchmany(_CHUNK):
                for key, title, abstract, authors, notes, repositories in rows:
                    yield SearchText(
                        int(key), title, abstract, tuple(Author(**author) for author in authors), notes, tuple(repositories)
                    )
