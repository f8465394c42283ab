"""Notes that have lost their title find their paper, by their authors and their text.

    note → candidates of the search → how much of each agrees with the note → confidence, none of them being an outcome too

A sure match is made, a doubtful one offered; what the user says of a note stands above both.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kb.papers import Author
from kb.search.retriever import Query
from kb.search.searcher import Searcher
from kb.store import NoteMatch, UntitledNote
from kb.text.tokenize import index_terms

MADE = 0.9  # confidence from which a match is made
_OFFERED = 0.05  # … and from which it is offered
_OFFERS = 3  # of one note, at most
_CANDIDATES = 50
_SHORTEST = 80  # characters of text; fewer, with fewer than two authors, tell nothing
# A conditional logit (McFadden 1974) over the candidates and "none of them", fitted on half of the notes of a weekly reading
# list, their titles taken away, with authors and without, their paper in the knowledge base and left out of it. In the order
# of Agreement's fields; then what a candidate must come up to.
_WEIGHTS = np.array([13.4, 7.2, 8.4, 1.5, -2.1])
_THRESHOLD = 18.6


@dataclass(frozen=True, slots=True)
class Agreement:
    """What speaks for a paper being the one that a note is about."""

    cosine: float
    title: float
    """Share of the title's words that the note has, by their weight."""
    text: float
    """Share of the note's words that title and abstract have, by their weight."""
    authors: int
    """Names of the note that are among the paper's authors."""
    strangers: int
    """Names that are not."""


def match_notes(searcher: Searcher, decisions: Mapping[str, str]) -> list[NoteMatch]:
    """The papers of all untitled notes; `decisions` has the user's: note id to paper id, empty for none of them."""
    found: list[NoteMatch] = []
    notes = searcher.catalogue.notes.untitled()
    untitled = [note.id for note in notes]
    for note in notes:
        if note.id in decisions:
            paper = decisions[note.id]
            found.append(NoteMatch(note.id, paper, 1.0, "accepted" if paper else "refused"))
            continue
        offers = [(paper, sure) for paper, sure in candidates(searcher, note, untitled) if sure >= _OFFERED]
        if offers and offers[0][1] >= MADE:
            found.append(NoteMatch(note.id, *offers[0], "made"))
        else:
            found += [NoteMatch(note.id, paper, sure, "offered") for paper, sure in offers[:_OFFERS]]
    return found


def candidates(searcher: Searcher, note: UntitledNote, left_out: Sequence[str] = ()) -> list[tuple[str, float]]:
    """Papers that a note may be about, by canonical id, with the confidence of each; the surest first.

    Those left out, the untitled notes' own entries above all, have no share in the confidence.
    """
    if len(note.text) < _SHORTEST and len(note.authors) < 2:
        return []
    catalogue = searcher.catalogue
    found, _ = searcher.candidates(Query(text=" ".join([*note.authors, note.text])), _CANDIDATES)
    papers = catalogue.papers(found.keys.tolist())
    keys = np.asarray([key for key in found.keys.tolist() if papers[key].id not in left_out], dtype=np.int64)[:_CANDIDATES]
    if not len(keys):
        return []
    texts = catalogue.texts(keys)
    vector = searcher.encoder().encode([note.text])
    cosines = (searcher.index.vectors(keys) @ vector.T)[:, 0]
    weights, terms = searcher.weights(Query(text=note.text)), set(index_terms(note.text))
    agreements = []
    for key, cosine in zip(keys.tolist(), cosines.tolist(), strict=True):
        title, body = texts[key]
        known = sum(is_author(name, papers[key].authors) for name in note.authors)
        agreements.append(
            Agreement(
                cosine,
                _share(searcher.weights(Query(text=title)), terms),
                _share(weights, set(index_terms(f"{title} {body}"))),
                known,
                len(note.authors) - known,
            )
        )
    sure = confidences(agreements)
    order = np.lexsort((keys, -sure))
    return [(papers[int(keys[row])].id, round(float(sure[row]), 3)) for row in order]


def confidences(agreements: Sequence[Agreement]) -> NDArray[np.float64]:
    """How sure each candidate is the one, shape (n,); what is missing to 1 is that none of them is."""
    features = [[a.cosine, a.title, a.text, a.authors, a.strangers] for a in agreements]
    scores = np.append(np.asarray(features, dtype=np.float64) @ _WEIGHTS - _THRESHOLD, 0.0)
    shares = np.exp(scores - scores.max())
    return np.asarray(shares[:-1] / shares.sum(), dtype=np.float64)


def is_author(name: str, authors: Sequence[Author]) -> bool:
    """Whether a name, in reading order, is one of these by family name and, where both have it, the given one's first letter."""
    wanted = Author.from_name(name)
    return any(
        _letters(wanted.family) == _letters(author.family) and _begins_alike(_letters(wanted.given), _letters(author.given))
        for author in authors
    )


def _begins_alike(one: str, other: str) -> bool:
    return not one or not other or one[0] == other[0]


def _letters(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return re.sub(r"[\W\d_]+", "", "".join(c for c in decomposed if not unicodedata.combining(c)))


def _share(weights: Mapping[str, float], terms: set[str]) -> float:
    """The part of the weight that these terms have."""
    return sum(weight for term, weight in weights.items() if term in terms) / max(sum(weights.values()), 1e-9)
