"""Matches notes without a title to their papers, by authors and text.

    note → candidates of the search → agreement of each with the note → confidence, "none of them" being an outcome too

A confident match is accepted, a less confident one offered to the user; a decision of the user overrides both.
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

MATCH_CONFIDENCE = 0.9  # least confidence of a match that is made without asking
_OFFER_CONFIDENCE = 0.05  # least confidence of a match that is offered
_MAX_OFFERS = 3  # of one note
_CANDIDATES = 50
_MIN_CHARACTERS = 80  # of text; shorter notes with fewer than two authors are not matched
# A conditional logit (McFadden 1974) over the candidates and "none of them". Fitted on half of the notes of a weekly reading list
# without their titles: with authors and without, with their paper in the knowledge base and without it. Weights of Agreement's
# fields in their order, and the score of "none of them".
_WEIGHTS = np.array([13.4, 7.2, 8.4, 1.5, -2.1])
_THRESHOLD = 18.6


@dataclass(frozen=True, slots=True)
class Agreement:
    """Features by which a note and a candidate agree."""

    cosine: float
    """Cosine of the vectors of note and paper."""
    title: float
    """Share of the title's term weight that occurs in the note."""
    text: float
    """Share of the note's term weight that occurs in title and abstract."""
    known_authors: int
    """Names in the note that are authors of the paper."""
    unknown_authors: int
    """Names in the note that are not."""


def match_notes(searcher: Searcher, decisions: Mapping[str, str]) -> list[NoteMatch]:
    """Match all untitled notes. `decisions` holds those of the user: paper id by note id, '' for none of the papers.

    Raises QueryError if no paper is embedded yet.
    """
    found: list[NoteMatch] = []
    notes = searcher.catalogue.notes.untitled()
    untitled = [note.id for note in notes]
    for note in notes:
        if note.id in decisions:
            paper = decisions[note.id]
            found.append(NoteMatch(note.id, paper, 1.0, "accepted" if paper else "refused"))
            continue
        offers = [offer for offer in match_candidates(searcher, note, untitled) if offer[1] >= _OFFER_CONFIDENCE]
        if offers and offers[0][1] >= MATCH_CONFIDENCE:
            found.append(NoteMatch(note.id, *offers[0], "made"))
        else:
            found += [NoteMatch(note.id, paper, confidence, "offered") for paper, confidence in offers[:_MAX_OFFERS]]
    return found


def match_candidates(searcher: Searcher, note: UntitledNote, excluded: Sequence[str] = ()) -> list[tuple[str, float]]:
    """Canonical ids of papers that a note may be about, with their confidences, in descending order.

    Excluded papers, such as the untitled notes' own entries, get no share of the confidence. Raises QueryError if no paper is
    embedded yet.
    """
    if len(note.text) < _MIN_CHARACTERS and len(note.authors) < 2:
        return []
    catalogue = searcher.catalogue
    found, _ = searcher.candidates(Query(text=" ".join([*note.authors, note.text])), _CANDIDATES)
    papers = catalogue.papers(found.keys.tolist())
    keys = np.asarray([key for key in found.keys.tolist() if papers[key].id not in excluded], dtype=np.int64)[:_CANDIDATES]
    if not len(keys):
        return []
    texts = catalogue.texts(keys)
    vector = searcher.encoder().encode([note.text])
    cosines = (searcher.index.vectors(keys) @ vector.T)[:, 0]
    weights, terms = searcher.term_weights(Query(text=note.text)), set(index_terms(note.text))
    agreements = []
    for key, cosine in zip(keys.tolist(), cosines.tolist(), strict=True):
        title, body = texts[key]
        known = sum(is_author(name, papers[key].authors) for name in note.authors)
        agreements.append(
            Agreement(
                cosine,
                _weight_share(searcher.term_weights(Query(text=title)), terms),
                _weight_share(weights, set(index_terms(f"{title} {body}"))),
                known,
                len(note.authors) - known,
            )
        )
    confidence = confidences(agreements)
    order = np.lexsort((keys, -confidence))
    return [(papers[int(keys[row])].id, round(float(confidence[row]), 3)) for row in order]


def confidences(agreements: Sequence[Agreement]) -> NDArray[np.float64]:
    """Probability of each candidate, shape (n,); the rest to 1 is the probability of none of them."""
    features = [[a.cosine, a.title, a.text, a.known_authors, a.unknown_authors] for a in agreements]
    scores = np.append(np.asarray(features, dtype=np.float64) @ _WEIGHTS - _THRESHOLD, 0.0)
    shares = np.exp(scores - scores.max())
    return np.asarray(shares[:-1] / shares.sum(), dtype=np.float64)


def is_author(name: str, authors: Sequence[Author]) -> bool:
    """True if an author has the same family name and, where both have a given name, the same initial.

    The name is in reading order.
    """
    wanted = Author.from_name(name)
    return any(
        _name_key(wanted.family) == _name_key(author.family) and _same_initial(_name_key(wanted.given), _name_key(author.given))
        for author in authors
    )


def _same_initial(one: str, other: str) -> bool:
    """True if both begin with the same letter, or one of them is empty."""
    return not one or not other or one[0] == other[0]


def _name_key(text: str) -> str:
    """The letters of a name without case and accents."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return re.sub(r"[\W\d_]+", "", "".join(c for c in decomposed if not unicodedata.combining(c)))


def _weight_share(weights: Mapping[str, float], terms: set[str]) -> float:
    """Share of the total weight that these terms have."""
    return sum(weight for term, weight in weights.items() if term in terms) / max(sum(weights.values()), 1e-9)
