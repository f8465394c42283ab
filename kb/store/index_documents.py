"""Documents of the lexical index: searchable text of each paper, and the card that a hit shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kb.papers import Card
from kb.store.catalogue import Catalogue, Keys

_CHUNK_PAPERS = 10_000  # papers read at a time
# Of notes and code what is searched; and a hash of all rows that this and the card are made of, to tell whether anything changed.
# MD5 of the rows as text would take five times as long. Should DuckDB once hash otherwise, the next job builds the index anew.
# Two lists of one type side by side would be hashed as one list: there are none.
_DOCUMENTS = """
    SELECT papers.key, coalesce(said.words, '') AS notes, coalesce(linked.repositories, []) AS repositories,
           hash(papers, said.rows, mentioned.rows, coded.rows, linked.repositories) AS state
    FROM papers
    LEFT JOIN (
        SELECT paper_id, list(notes ORDER BY source, number) AS rows, string_agg(
            concat_ws('. ', title, plain, array_to_string(tags, ' ')), ' ' ORDER BY source, number) AS words
        FROM notes GROUP BY paper_id
    ) AS said ON said.paper_id = papers.id
    LEFT JOIN (
        SELECT notes.paper_id, list(mentions ORDER BY notes.source, number, mentions.line, mentions.rowid) AS rows
        FROM mentions JOIN notes ON notes.source = mentions.source AND notes.number = mentions.note GROUP BY notes.paper_id
    ) AS mentioned ON mentioned.paper_id = papers.id
    LEFT JOIN (
        SELECT paper_id, list(paper_code ORDER BY place, url) AS rows FROM paper_code GROUP BY paper_id
    ) AS coded ON coded.paper_id = papers.id
    LEFT JOIN (
        SELECT paper_id, list_sort(list_distinct(list(regexp_extract(url, '[^/]+/[^/]+$')))) AS repositories
        FROM code_links GROUP BY paper_id
    ) AS linked ON linked.paper_id = papers.id
"""


@dataclass(frozen=True, slots=True)
class IndexDocument:
    """Searchable text and card of one paper."""

    key: int
    card: Card
    notes: str = ""
    """Titles, bodies and tags of the notes on it, one after the other, without markup."""
    repositories: tuple[str, ...] = ()
    """`owner/name` of its code, that which it merely mentions included."""


class IndexDocuments:
    """Index documents of the papers of one open catalogue."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._connection = catalogue.connection

    def digests(self) -> dict[int, str]:
        """Digest of the document of every paper, in hexadecimal, by key."""
        rows = self._connection.read(f"SELECT key, md5(state::VARCHAR) FROM ({_DOCUMENTS})")
        return {int(key): digest for key, digest in rows}

    def of(self, keys: Keys) -> Iterator[IndexDocument]:
        """Documents of the papers with keys of shape (n,), read in chunks; an unknown key is left out."""
        for start in range(0, len(keys), _CHUNK_PAPERS):
            chunk = keys[start : start + _CHUNK_PAPERS].tolist()
            cards = self._catalogue.cards(chunk)
            rows = self._connection.read(
                f"SELECT key, notes, repositories FROM ({_DOCUMENTS}) WHERE key IN (SELECT unnest(?::BIGINT[])) ORDER BY key",
                [chunk],
            )
            for key, notes, repositories in rows:
                yield IndexDocument(int(key), cards[int(key)], notes, tuple(repositories))
