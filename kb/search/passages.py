"""Passages: the sentences of abstracts and notes that answer best to a query."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from kb.papers import plain_text
from kb.search.retriever import Query
from kb.search.searcher import Hit, Searcher
from kb.text.sentences import best_sentence


@dataclass(frozen=True, slots=True)
class Passage:
    """A sentence, and where it stands."""

    paper_id: str
    title: str
    """Title of the paper that the sentence is about."""
    source: str
    """`abstract`, or document and line of a note, such as `bookmarks.md:12`."""
    text: str

    def as_json(self) -> dict[str, Any]:
        """The passage as a JSON object."""
        return asdict(self)


def find_passages(searcher: Searcher, hits: Sequence[Hit], text: str) -> list[Passage]:
    """The sentence of every abstract and note of the hits that has most of the query's terms by weight, in the hits' order.

    A text without any of the terms gives none. Raises QueryError if nothing is embedded yet.
    """
    weights = searcher.term_weights(Query(text))
    return [
        Passage(hit.paper.id, hit.paper.title, source, sentence)
        for hit in hits
        for source, body in _texts(hit)
        if (sentence := best_sentence(body, weights))
    ]


def _texts(hit: Hit) -> Iterator[tuple[str, str]]:
    yield "abstract", hit.paper.abstract
    for note in hit.notes:
        yield f"{note.source}:{note.line}", plain_text(note.body)
