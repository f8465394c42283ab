"""Recommendations: new papers ranked by cosine to the papers of a reading list, each with its nearest papers of the list.

A list can have several topics, and their mean may be near none of them, so each candidate is compared with every paper of
the list. Cosines are used because the scores of two searches are not comparable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np

from kb.encode.encoder import Vectors
from kb.errors import QueryError
from kb.library import Choices, Library
from kb.papers import Paper
from kb.search.retriever import embedded_keys
from kb.search.searcher import Hit, Searcher
from kb.store import Filters, Keys

_REASONS_PER_PAPER = 2
_WINDOW = timedelta(days=30)
_MAX_LIKED = 200  # papers of the list that are compared with; the newest say most of what is read now
# Weight of negative examples, as in the search (Rocchio).
_NEGATIVE_WEIGHT = 0.2
_BLOCK_ROWS = 8192  # papers compared at a time


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A paper, and why."""

    hit: Hit
    close_to: tuple[Paper, ...]
    """The papers of the list that it is closest to, the closest first; at most two."""

    @property
    def reason(self) -> str:
        """One sentence."""
        return "Close to " + " and ".join(f"“{paper.title}”" for paper in self.close_to) + "."


def recommend(
    searcher: Searcher,
    liked: Sequence[str],
    disliked: Sequence[str] = (),
    seen: Sequence[str] = (),
    since: date | None = None,
    k: int = 10,
) -> list[Recommendation]:
    """The k best papers published since a date, without withdrawn ones and those in `liked`, `disliked` or `seen`.

    All ids are canonical; of `liked`, oldest first, the last 200 count; unknown ids are ignored. The score of a paper is
    `(mean(c) + mean(top2(c))) / 2 - 0.2 * mean(n)`; c: cosines to the liked papers, n: to the disliked. Raises QueryError if
    no liked paper is known, or none is embedded yet.
    """
    catalogue = searcher.catalogue
    keys = {identifier: catalogue.key_of(identifier) for identifier in (*liked, *disliked, *seen)}
    if not any(keys[identifier] is not None for identifier in liked):
        raise QueryError("None of these papers is in the knowledge base. Ingest them, or take another list.")
    good, bad = (_embedded(searcher, [keys[identifier] for identifier in given]) for given in (liked, disliked))
    good = good[-_MAX_LIKED:]
    if not len(good):
        raise QueryError("None of these papers is embedded yet. Run `kb index`.")
    left_out = {key for key in keys.values() if key is not None} | catalogue.withdrawn()
    new = catalogue.select(Filters(since=since)) if since else np.asarray(list(catalogue.identifiers()), dtype=np.int64)
    assert new is not None
    new = np.sort(_embedded(searcher, [key for key in new.tolist() if key not in left_out]))
    scores, nearest = _scores(searcher, new, good, bad)
    chosen = np.lexsort((new, -scores))[:k]
    cards, reasons = catalogue.cards(new[chosen].tolist()), catalogue.papers(good.tolist())
    return [
        Recommendation(
            Hit(rank, (card := cards[int(new[row])]).paper, score := float(scores[row]), {"dense": score}, card.code, card.notes),
            tuple(reasons[int(good[column])] for column in nearest[row]),
        )
        for rank, row in enumerate(chosen.tolist(), start=1)
    ]


def recommend_for(
    searcher: Searcher,
    library: Library,
    choices: Choices,
    list_name: str = "",
    since: date | None = None,
    k: int = 10,
    *,
    today: date,
    remember: bool = True,
) -> list[Recommendation]:
    """Recommend papers for a reading list, or for all lists if none is named; `remember` records them as recommended.

    Without a date, the 30 days up to the newest paper. Papers that are on a list, were dismissed, or were recommended on an
    earlier day are left out. Raises QueryError if the list does not exist, or as `recommend` does.
    """
    if list_name:
        entries = library.read_list(list_name).entries
        liked = [entry.paper_id for entry in sorted(entries, key=lambda e: e.added or datetime.min)]
    else:
        liked = library.paper_ids()
    if not liked:
        raise QueryError("There is no paper on the list yet. Put some on it: `kb list new NAME ID…`.")
    seen = [*library.paper_ids(), *choices.recommended_before(list_name, today)]
    newest = searcher.catalogue.newest()
    start = since or (newest and newest - _WINDOW)
    answers = recommend(searcher, liked, choices.dismissed(), seen, start, k)
    if remember:
        choices.record_recommended(list_name, [answer.hit.paper.id for answer in answers], today)
    return answers


def _embedded(searcher: Searcher, keys: Sequence[int | None]) -> Keys:
    return embedded_keys(tuple(dict.fromkeys(key for key in keys if key is not None)), searcher.index)


def _scores(searcher: Searcher, new: Keys, good: Keys, bad: Keys) -> tuple[Vectors, Keys]:
    """Score of each new paper, shape (n,), and the rows of `good` nearest to it, shape (n, min(2, len(good)))."""
    index = searcher.index
    liked, disliked = index.vectors(good), index.vectors(bad)
    reasons = min(_REASONS_PER_PAPER, len(good))
    scores = np.empty(len(new), dtype=np.float32)
    nearest = np.empty((len(new), reasons), dtype=np.int64)
    for start in range(0, len(new), _BLOCK_ROWS):
        block = slice(start, start + _BLOCK_ROWS)
        vectors = index.vectors(new[block])
        cosines = vectors @ liked.T
        order = np.argsort(-cosines, axis=1, kind="stable")[:, :reasons]
        nearest[block] = order
        scores[block] = (cosines.mean(axis=1) + np.take_along_axis(cosines, order, axis=1).mean(axis=1)) / 2
        if len(bad):
            scores[block] -= _NEGATIVE_WEIGHT * (vectors @ disliked.T).mean(axis=1)
    return scores, nearest
