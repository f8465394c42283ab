"""What the pages share and keep between their reruns: the knowledge base, one searcher a generation, the model.

The one module with caches.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import streamlit as st

from kb.embed import Encoder, Vectors
from kb.models import DEFAULT_MODEL, load_encoder
from kb.search import Searcher
from kb.store import Home

_ROOT = Path(__file__).resolve().parents[1]
#: The shipped sample: arXiv metadata, and notes on some of it.
SAMPLE = (_ROOT / "data" / "sample" / "papers.jsonl", _ROOT / "data" / "sample" / "bookmarks.md")


def home() -> Home:
    """The knowledge base that `kb app` was started with."""
    return Home(Path(os.environ.get("KB_HOME") or "data/kb"))


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
