"""Which notes name a paper without being about it."""

from __future__ import annotations

from dataclasses import dataclass

from kb.store.catalogue import Catalogue


@dataclass(frozen=True, slots=True)
class Mentioned:
    """A place in the notes that links to a paper."""

    source: str
    line: int
    text: str
    """The words that are linked."""
    note_on: str
    """Canonical id of the paper that the note is about; empty where the link stands beside the notes of its document."""
    title: str
    """That paper's title."""


class Mentions:
    """The mentions of one open catalogue."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    def of(self, identifier: str) -> list[Mentioned]:
        """Where notes on other papers name the paper with this canonical id, by document and line."""
        rows = self._catalogue._read(
            """SELECT mentions.source, mentions.line, mentions.text, coalesce(papers.id, ''), coalesce(papers.title, '')
               FROM mentions LEFT JOIN notes ON notes.source = mentions.source AND notes.number = mentions.note
               LEFT JOIN papers ON papers.id = notes.paper_id
               WHERE mentions.kind = 'paper' AND (mentions.target = ? OR mentions.target IN
                   (SELECT id FROM aliases WHERE aliases.paper_id = ?))
                 AND notes.paper_id IS DISTINCT FROM ?
               ORDER BY mentions.source, mentions.line, mentions.text""",
            [identifier] * 3,
        )
        return [Mentioned(*row) for row in rows]
