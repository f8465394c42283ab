"""Objects that sessions share and reruns keep: the knowledge base, one searcher per generation, the model.

The only module of the app with caches.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import streamlit as st

from app.query_string import Address
from kb.encode.encoder import Encoder, Vectors
from kb.insights.digest import Digest, make_digest
from kb.insights.map_labels import AreaLabel, label_areas
from kb.insights.map_view import Plot
from kb.insights.trends import Month, Rise, by_month, last_whole_month, rising_words
from kb.library import LIBRARY_FILE, Choices, Library
from kb.models.registry import load_encoder
from kb.papers import Card
from kb.search.retriever import Query
from kb.search.searcher import Hit, Searcher
from kb.store import Catalogue, Filters, Generation, Home, Manifest
from kb.store.columns import PaperColumns
from kb.store.monthly import MonthlyCounts

MAX_HITS = 100  # papers that a search finds; the result pages go through them
#: Where a session keeps the query string of its last search, for the way back to it.
LAST_SEARCH = "last search"


def home() -> Home:
    """The knowledge base that `kb app` was started with."""
    return Home(Path(os.environ.get("KB_HOME") or "data/kb"))


def library() -> Library:
    """The user's own reading lists."""
    return Library(home().path / LIBRARY_FILE)


def choices() -> Choices:
    """The rest of the user's own file: citation keys, what was dismissed and recommended."""
    return Choices(home().path / LIBRARY_FILE)


def read_only() -> bool:
    """Whether the app only shows, as on a screen that others use: `kb app --read-only`."""
    return os.environ.get("KB_READ_ONLY") == "1"


@st.cache_resource(show_spinner="Loading the embedding model…")
def encoder(name: str) -> Encoder:
    """The model of that name, loaded once: a new generation uses the one that is there."""
    return load_encoder(name)


@contextmanager
def searcher() -> Iterator[Searcher]:
    """The searcher over the newest generation, kept open for as long as the block runs.

    Raises StoreError where there is no knowledge base, or where its files are damaged.
    """
    current = home()
    while not (shared := _searcher(str(current.path), current.current_name())).acquire():
        pass  # another session retired it between our two steps, for a newer one
    try:
        yield shared.searcher
    finally:
        shared.release()


def answer(searcher: Searcher, address: Address) -> list[Hit]:
    """The best papers of a search, MAX_HITS of them at most; going through its pages asks once."""
    filters = replace(address.filters, ids=library().papers_of(address.list_name))
    return _answer(searcher, str(home().path), searcher.generation.manifest.generation, replace(address, page=1), filters)


@st.cache_resource(max_entries=32, show_spinner=False)
def _answer(_searcher: Searcher, path: str, generation: int, address: Address, filters: Filters) -> list[Hit]:  # noqa: ARG001
    if address.like or address.unlike:
        examples = address.like, address.unlike
        return _searcher.like(*examples, address.text, MAX_HITS, filters, address.facet, sort=address.sort)
    return _searcher.search(address.text, MAX_HITS, filters, address.facet, sort=address.sort)


def terms(searcher: Searcher, address: Address) -> frozenset[str]:
    """The terms of a search's text, to be shown in what it found; none where the text names papers."""
    text = searcher.parse(address.text).text
    if not text or not searcher.generation.manifest.embedded or searcher.named_papers(text):
        return frozenset()
    return frozenset(searcher.term_weights(Query(text=text)))


def spelling(searcher: Searcher, address: Address) -> str:
    """The text of a search with its misspelt words put right; '' where none is known to be."""
    corrected = searcher.correct_spelling(address.text)
    return "" if corrected == address.text else corrected


def cards(identifiers: Sequence[str]) -> dict[str, Card]:
    """What is known of these papers, by the ids asked for; nothing where there is no knowledge base yet."""
    if not home().exists():
        return {}
    with searcher() as current:
        keys = {identifier: current.catalogue.key_of(identifier) for identifier in identifiers}
        found = current.catalogue.cards([key for key in keys.values() if key is not None])
    return {identifier: found[key] for identifier, key in keys.items() if key in found}


@dataclass(frozen=True, slots=True)
class Census:
    """Values that a search can be filtered by."""

    years: dict[int, int]
    """With their numbers of papers, every year from the first to the last."""
    categories: dict[str, int]
    """With their numbers of papers, the largest first."""


def census(searcher: Searcher) -> Census:
    """The years and categories of the generation."""
    return _census(searcher.catalogue, str(home().path), searcher.generation.manifest.generation)


@st.cache_resource(max_entries=2, show_spinner=False)
def _census(_catalogue: Catalogue, path: str, generation: int) -> Census:  # noqa: ARG001
    counts = MonthlyCounts(_catalogue).yearly()
    years = {year: counts.get(year, 0) for year in range(min(counts), max(counts) + 1)} if counts else {}
    return Census(years, dict(_catalogue.categories()))


class _Shared:
    """A reference-counted searcher; once retired, its last user closes it."""

    def __init__(self, searcher: Searcher) -> None:
        self.searcher = searcher
        self._lock = threading.Lock()
        self._users = 0
        self._retired = False

    def acquire(self) -> bool:
        """Add a user; False where the searcher is retired and may be closed already."""
        with self._lock:
            self._users += not self._retired
            return not self._retired

    def release(self) -> None:
        with self._lock:
            self._users -= 1
            last = self._retired and not self._users
        if last:
            self.searcher.close()

    def retire(self) -> None:
        """Close the searcher as soon as no query runs on it."""
        with self._lock:
            self._retired = True
            idle = not self._users
        if idle:
            self.searcher.close()


class _LazyEncoder:
    """An encoder loaded at the first text: browsing, and asking for papers like a paper, need none."""

    model_id: str
    fingerprint: str
    dimension: int

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> object:
        return getattr(encoder(self._name), attribute)

    def encode(self, texts: Sequence[str], progress: Callable[[int], None] | None = None) -> Vectors:
        return encoder(self._name).encode(texts, progress)


@st.cache_resource(max_entries=1, show_spinner=False, on_release=_Shared.retire)
def _searcher(path: str, name: str) -> _Shared:  # noqa: ARG001  # its name makes a new generation another entry
    generation = Home(Path(path)).open()
    try:
        return _Shared(Searcher(generation, _LazyEncoder(os.environ.get("KB_MODEL") or generation.manifest.model_id)))
    except BaseException:
        generation.close()
        raise


# The map ------------------------------------------------------------------------------------------------------------------


def whole_map(generation: Generation) -> Plot | None:
    """Every paper of the generation at its place; `None` where there is no map yet."""
    return _whole_map(generation, str(home().path), generation.name)


@st.cache_resource(max_entries=1, show_spinner="Unfolding the map…")
def _whole_map(_generation: Generation, path: str, name: str) -> Plot | None:  # noqa: ARG001
    from kb.insights.map_layout import MapLayout

    layout = MapLayout.of(_generation)
    return Plot.of(layout, PaperColumns.of(_generation.catalogue)) if layout else None


def drawn(
    generation: Generation, colour: str, lists: Mapping[str, frozenset[str]], papers: frozenset[str] | None
) -> tuple[Plot, bytes]:
    """The map by 'category', 'year' or 'list', these papers highlighted (`None` for all), and as the browser gets it."""
    by_list = tuple(lists.items()) if colour == "list" else ()
    return _drawn(generation, str(home().path), generation.name, colour, by_list, papers)


@st.cache_resource(max_entries=4, show_spinner=False)
def _drawn(
    _generation: Generation,
    path: str,
    name: str,
    colour: str,
    lists: tuple[tuple[str, frozenset[str]], ...],
    papers: frozenset[str] | None,
) -> tuple[Plot, bytes]:
    from app.widgets.scatter import pack

    whole = _whole_map(_generation, path, name)
    assert whole is not None  # the page asks for the whole map first
    plot = whole.by_year() if colour == "year" else whole.by_list(dict(lists)) if colour == "list" else whole.by_category()
    plot = plot if papers is None else plot.highlighting(papers)
    return plot, pack(plot, _area_labels(_generation, path, name))


@st.cache_resource(max_entries=1, show_spinner=False)
def _area_labels(_generation: Generation, path: str, name: str) -> list[AreaLabel]:
    whole = _whole_map(_generation, path, name)
    return label_areas(whole) if whole else []


# Months -------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MonthlyTrends:
    """What the trends page shows."""

    months: list[Month]
    whole: date | None
    """The newest month that is nearly complete."""
    words: tuple[Rise, ...]
    """Those that rose in its titles."""


def trends(generation: Generation, span: int) -> MonthlyTrends:
    """The last so many months of the generation."""
    return _trends(generation, str(home().path), generation.name, span)


@st.cache_resource(max_entries=8, show_spinner=False)
def _trends(_generation: Generation, path: str, name: str, span: int) -> MonthlyTrends:  # noqa: ARG001
    catalogue = _generation.catalogue
    whole = last_whole_month(catalogue)
    return MonthlyTrends(by_month(catalogue, span), whole, rising_words(MonthlyCounts(catalogue), whole, 15) if whole else ())


def months(generation: Generation) -> list[date]:
    """The months that have papers, the newest first."""
    return _months(generation, str(home().path), generation.name)


@st.cache_resource(max_entries=2, show_spinner=False)
def _months(_generation: Generation, path: str, name: str) -> list[date]:  # noqa: ARG001
    return MonthlyCounts(_generation.catalogue).months()


def digest(generation: Generation, month: date) -> Digest:
    """The month's digest, for the papers that are on lists now."""
    return _digest(generation, str(home().path), generation.name, month, tuple(library().paper_ids()))


@st.cache_resource(max_entries=8, show_spinner="Reading the month's papers…")
def _digest(_generation: Generation, path: str, name: str, month: date, liked: tuple[str, ...]) -> Digest:  # noqa: ARG001
    return make_digest(_generation, month, liked)


def empty() -> bool:
    """Whether there is nothing to show yet."""
    current = home()
    return not current.exists() or not Manifest.read(current.generations / current.current_name()).papers


def known_categories() -> list[str]:
    """The categories of the papers that are here, the largest first."""
    if empty():
        return []
    with searcher() as current:
        return list(census(current).categories)
