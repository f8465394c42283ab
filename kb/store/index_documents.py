"""What the lexical index holds of a paper: the words by which it is found, and the card that an answer shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kb.papers import Card
from kb.store.catalogue import Catalogue, Keys

_CHUNK = 10_000  # papers read at a time
# Of notes and code what is searched; and a hash of all rows that this and the card are made of, to tell whether anything changed.
# MD5 of the rows as text would take five times as long. Should DuckDB once hash otherwise, the next job builds the index anew.
# Two lists of one type side by side would be hashed as one list: there are none.
_SEARCHED = """
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
class SearchText:
    """What is searched of a paper, and what is shown of it."""

    key: int
    card: Card
    notes: str = ""
    """Titles, bodies and tags of the notes on it, one after the other, without markup."""
    repositories: tuple[str, ...] = ()
    """`owner/name` of its code, that which it merely mentions included."""


class SearchTexts:
    """Reads words and cards of papers from an open catalogue."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._connection = catalogue.connection

    def digests(self) -> dict[int, str]:
        """Digests, in hexadecimal, of words and card of every paper, by key."""
        rows = self._connection.read(f"SELECT key, md5(state::VARCHAR) FROM ({_SEARCHED})")
        return {int(key): digest for key, digest in rows}

    def of(self, keys: Keys) -> Iterator[SearchText]:
        """Words and cards of these papers, a chunk at a time; a key that is gone is left out."""
        for start in range(0, len(keys), _CHUNK):
            chunk = keys[start : start + _CHUNK].tolist()
            cards = self._catalogue.cards(chunk)
            rows = self._connection.read(
                f"SELECT key, notes, repositories FROM ({_SEARCHED}) WHERE key IN (SELECT unnest(?::BIGINT[])) ORDER BY key",
                [chunk],
            )
            for key, notes, repositories in rows:
                yield SearchText(int(key), cards[int(key)], notes, tuple(repositories))
