"""What the pages share and keep between their reruns: the knowledge base, one searcher a generation, the model.

The one module with caches.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import streamlit as st

from app.address import Address
from kb.embed import Encoder, Vectors
from kb.library import LIBRARY_FILE, Library, Memory
from kb.models import DEFAULT_MODEL, load_encoder
from kb.papers import Paper
from kb.search import Hit, Searcher
from kb.store import Catalogue, Filters, Home

ANSWERS = 100  # papers that a search finds; its pages go through them
_ROOT = Path(__file__).resolve().parents[1]
#: The shipped sample: arXiv metadata, and notes on some of it.
SAMPLE = (_ROOT / "data" / "sample" / "papers.jsonl", _ROOT / "data" / "sample" / "bookmarks.md")


def home() -> Home:
    """The knowledge base that `kb app` was started with."""
    return Home(Path(os.environ.get("KB_HOME") or "data/kb"))


def library() -> Library:
    """The user's own reading lists."""
    return Library(home().path / LIBRARY_FILE)


def memory() -> Memory:
    """The rest of the user's own file: citation keys, what was dismissed and recommended."""
    return Memory(home().path / LIBRARY_FILE)


def read_only() -> bool:
    """Whether the app only shows, as on a screen that others use: `kb app --read-only`."""
    return os.environ.get("KB_READ_ONLY") == "1"


def sample_exists() -> bool:
    return all(path.is_file() for path in SAMPLE)


@st.cache_resource(show_spinner="Loading the embedding model…")
def encoder(name: str) -> Encoder:
    """The model of that name, loaded once: a new generation uses the one that is there."""
    return load_encoder(name)


def default_encoder() -> Encoder:
    """The model that a new knowledge base is embedded with."""
    return encoder(os.environ.get("KB_MODEL") or DEFAULT_MODEL)


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
    """The best papers of a search, ANSWERS of them at most; going through its pages asks once."""
    filters = replace(address.filters, ids=library().papers_of(address.list_name))
    return _answer(searcher, str(home().path), searcher.generation.manifest.generation, replace(address, page=1), filters)


@st.cache_resource(max_entries=32, show_spinner=False)
def _answer(_searcher: Searcher, path: str, generation: int, address: Address, filters: Filters) -> list[Hit]:  # noqa: ARG001
    if address.like or address.unlike:
        return _searcher.like(address.like, address.unlike, address.text, ANSWERS, filters, address.facet)
    return _searcher.search(address.text, ANSWERS, filters, address.facet)


def papers(identifiers: Sequence[str]) -> dict[str, Paper]:
    """What the catalogue knows of these papers, by the ids asked for; nothing where there is no knowledge base yet."""
    if not home().exists():
        return {}
    with searcher() as current:
        keys = {identifier: current.catalogue.key_of(identifier) for identifier in identifiers}
        found = current.catalogue.papers([key for key in keys.values() if key is not None])
    return {identifier: found[key] for identifier, key in keys.items() if key in found}


@dataclass(frozen=True, slots=True)
class Census:
    """What there is to filter by."""

    years: tuple[int, int] | None
    categories: dict[str, int]
    """With their numbers of papers, the largest first."""


def census(searcher: Searcher) -> Census:
    """The years and categories of the generation."""
    return _census(searcher.catalogue, str(home().path), searcher.generation.manifest.generation)


@st.cache_resource(max_entries=2, show_spinner=False)
def _census(_catalogue: Catalogue, path: str, generation: int) -> Census:  # noqa: ARG001
    return Census(_catalogue.years(), dict(_catalogue.categories()))


class _Shared:
    """A searcher with the number of its users; once retired, the last of them closes it."""

    def __init__(self, searcher: Searcher) -> None:
        self.searcher = searcher
        self._lock = threading.Lock()
        self._users = 0
        self._retired = False

    def acquire(self) -> bool:
        """Takes part in its use; False where it may be closed already."""
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
        """Closes it as soon as no query runs on it any more."""
        with self._lock:
            self._retired = True
            idle = not self._users
        if idle:
            self.searcher.close()


class _OnDemand:
    """The encoder of a name, loaded at the first text: looking around, and asking for more like a paper, need none."""

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
        return _Shared(Searcher(generation, _OnDemand(os.environ.get("KB_MODEL") or generation.manifest.model_id)))
    except BaseException:
        generation.close()
        raise
