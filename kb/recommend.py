"""Recommendations: new papers ranked by a reading list, each with the papers of the list that it is close to.

The path is that of `Searcher.like`, for the list as a whole and for each of its newest papers: a list has several
interests, and the mean of them all may lie where none of them is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from kb.errors import QueryError
from kb.library import Library, Memory
from kb.papers import Paper
from kb.search import MAX_K, Hit, Searcher
from kb.store import Filters

_REASONS = 2
_WINDOW = timedelta(days=30)
_NEWEST = 40  # papers of the list that are asked about one by one; the newest say most of what is read now
_NEIGHBOURS = 100  # of each of them


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A paper, and why."""

    hit: Hit
    close_to: tuple[Paper, ...]
    """The papers of the list that it is closest to, the closest first; at most two."""

    @property
    def reason(self) -> str:
        """One sentence."""
        if not self.close_to:
            return "Close to the list as a whole."
        return "Close to " + " and ".join(f"“{paper.title}”" for paper in self.close_to) + "."


def recommend(
    searcher: Searcher,
    liked: Sequence[str],
    disliked: Sequence[str] = (),
    seen: Sequence[str] = (),
    since: date | None = None,
    k: int = 10,
) -> list[Recommendation]:
    """The k papers nearest to the liked ones, away from the disliked, published since a date; never one of these or `seen`.

    All are canonical ids, the liked ones the newest last; those that the catalogue does not know count nothing. A paper's
    score is the mean of its closeness to the list as a whole and to the two papers of the list that it is closest to.
    Raises QueryError where no liked paper is known.
    """
    catalogue = searcher.catalogue
    keys = {identifier: catalogue.key_of(identifier) for identifier in (*liked, *disliked, *seen)}
    left_out = {key for key in keys.values() if key is not None}
    known = [identifier for identifier in liked if keys[identifier] is not None]
    bad = [identifier for identifier in disliked if keys[identifier] is not None]
    if not known:
        raise QueryError("None of these papers is in the knowledge base. Ingest them, or take another list.")
    filters = Filters(since=since)
    whole = searcher.like(known, bad, k=MAX_K, filters=filters)
    found = {hit.paper.id: hit for hit in whole}
    closeness = {hit.paper.id: hit.score for hit in whole}
    floor = min(closeness.values(), default=0.0)
    close_to: dict[str, list[tuple[float, str]]] = {}
    for identifier in known[-_NEWEST:]:
        for hit in searcher.like([identifier], bad, k=_NEIGHBOURS, filters=filters):
            found.setdefault(hit.paper.id, hit)
            close_to.setdefault(hit.paper.id, []).append((hit.score, identifier))
    ranked: list[tuple[float, str]] = []
    for identifier in found:
        if catalogue.key_of(identifier) in left_out:
            continue
        nearest = sorted(close_to.get(identifier, ()), reverse=True)[:_REASONS]
        near = sum(score for score, _ in nearest) / _REASONS if nearest else 0.0
        ranked.append(((closeness.get(identifier, floor) + near) / 2, identifier))
    ranked.sort(key=lambda row: (-row[0], row[1]))
    papers = catalogue.papers([key for key in keys.values() if key is not None])
    return [
        Recommendation(
            _ranked(found[identifier], rank, score),
            tuple(
                papers[key]
                for _, near in sorted(close_to.get(identifier, ()), reverse=True)[:_REASONS]
                if (key := keys[near]) is not None
            ),
        )
        for rank, (score, identifier) in enumerate(ranked[:k], start=1)
    ]


def recommend_for(
    searcher: Searcher,
    library: Library,
    memory: Memory,
    list_name: str = "",
    since: date | None = None,
    k: int = 10,
    *,
    today: date,
) -> list[Recommendation]:
    """Recommends for a reading list, or for all lists where none is named, and remembers what it recommended.

    Without a date, the papers of the last 30 days that have any. What is on a list, was dismissed, or was recommended on
    an earlier day is left out. Raises QueryError where there is nothing to go by.
    """
    if list_name:
        entries = library.read_list(list_name).entries
        liked = [entry.paper_id for entry in sorted(entries, key=lambda e: e.added or datetime.min)]
    else:
        liked = library.paper_ids()
    if not liked:
        raise QueryError("There is no paper on the list yet. Put some on it: `kb list new NAME ID…`.")
    seen = [*library.paper_ids(), *memory.recommended_before(list_name, today)]
    newest = searcher.catalogue.newest()
    start = since or (newest and newest - _WINDOW)
    answers = recommend(searcher, liked, memory.dismissed(), seen, start, k)
    memory.record_recommended(list_name, [answer.hit.paper.id for answer in answers], today)
    return answers


def _ranked(hit: Hit, rank: int, score: float) -> Hit:
    return Hit(rank, hit.paper, score, hit.scores, hit.code, hit.notes, hit.matched)
