"""Recommendations: new papers ranked by a reading list, each with the papers of the list that it is close to.

The path is that of `Searcher.like`, for the list as a whole and for each of its newest papers: a list has several
interests, and the mean of them all may lie where none of them is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from kb.errors import QueryError
from kb.papers import Paper
from kb.search import MAX_K, Hit, Searcher
from kb.store import Filters

_REASONS = 2
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


def _ranked(hit: Hit, rank: int, score: float) -> Hit:
    return Hit(rank, hit.paper, score, hit.scores, hit.code, hit.notes, hit.matched)
