"""Find papers like X: a phrase, a title, an abstract or examples in, papers with their code and notes out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import streamlit as st

from app import cards, layout, resources
from app.address import STEP, Address, read_or_default
from app.text import escape, shorten
from kb.errors import KnowledgeBaseError
from kb.search import MAX_K, Hit, Searcher, find_paper
from kb.store import Catalogue, Filters

EXAMPLES = (
    "fine-tune a large model on one GPU",
    "Attention Is All You Need",
    "why do language models make things up?",
    "train an image encoder from captions found on the web",
)
_SOURCES = {"": "All", "notes": "With my notes", "arxiv": "arXiv"}


def show() -> None:
    """The whole page."""
    with layout.column():
        if not resources.home().exists():
            _invite()
            return
        with resources.searcher() as searcher:
            if searcher.generation.manifest.papers:
                _search(searcher)
            else:
                _invite()


def _search(searcher: Searcher) -> None:
    manifest = searcher.generation.manifest
    address, problem = read_or_default()
    _box(address)
    _filters(searcher.catalogue, address.filters)
    facts = [_count(manifest.papers, "paper"), _count(manifest.notes, "note"), _count(manifest.code_links, "code link")]
    st.caption(" · ".join(facts) + " in this knowledge base")
    if manifest.embedded < manifest.papers:
        missing = _count(manifest.papers - manifest.embedded, "paper")
        st.warning(
            f"{missing} not embedded yet, so not found by what they are about. Run `kb index`.", icon=":material/schedule:"
        )
    if problem:
        raise problem
    if not address.asks:
        _examples()
        return
    _chips(searcher.catalogue, address)
    hits = _answer(searcher, address)
    with st.container(key="hits"):
        for hit in hits:
            _card(hit, address)
    if not hits:
        st.info("Nothing passes these filters.", icon=":material/filter_alt:")
    elif len(hits) >= address.k and address.k < MAX_K:
        st.button("Show more", key="more", on_click=replace(address, k=min(address.k + STEP, MAX_K)).go, width="stretch")


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}" + ("" if n == 1 else "s")


def _answer(searcher: Searcher, address: Address) -> list[Hit]:
    if address.like or address.unlike:
        return searcher.like(address.like, address.unlike, address.text, address.k, address.filters)
    return searcher.search(address.text, address.k, address.filters)


# The box and the filters ------------------------------------------------------------------------------------------------


def _box(address: Address) -> None:
    _keep("q", address.text)
    st.text_input(
        "Find papers",
        key="q",
        placeholder="A phrase, a title, an abstract, an arXiv id or address …",
        help="Describe it in your own words, or paste a title or a whole abstract. An arXiv id or address, "
        "or several of them, finds papers like those. Press Enter to search.",
        icon=":material/search:",
        on_change=_changed,
        args=("q", lambda address, value: replace(address, text=value)),
    )


def _filters(catalogue: Catalogue, filters: Filters) -> None:
    with st.sidebar:
        st.markdown("##### Filters")
        _years(catalogue.years(), filters)
        known = dict(catalogue.categories())
        _keep("category", list(filters.categories))
        st.multiselect(
            "Categories",
            [*known, *(c for c in filters.categories if c not in known)],
            format_func=lambda category: escape(category) + (f" ({known[category]:,})" if category in known else ""),
            placeholder="Any",
            key="category",
            on_change=_changed,
            args=("category", partial(_filtered, "categories")),
        )
        _keep("author", filters.author)
        st.text_input(
            "Author",
            placeholder="Any part of a name",
            key="author",
            on_change=_changed,
            args=("author", partial(_filtered, "author")),
        )
        _keep("source", filters.source if filters.source in _SOURCES else "")
        st.radio(
            "Source",
            list(_SOURCES),
            format_func=lambda source: _SOURCES[source],
            key="source",
            on_change=_changed,
            args=("source", partial(_filtered, "source")),
        )
        _keep("code", filters.has_code)
        st.toggle("Has code", key="code", on_change=_changed, args=("code", partial(_filtered, "has_code")))
        if filters:
            st.button("Clear filters", icon=":material/filter_alt_off:", on_click=_clear_filters, width="stretch")


def _years(known: tuple[int, int] | None, filters: Filters) -> None:
    if known is None or known[0] == known[1]:
        return
    first, last = (
        limit if year is None else min(max(year, known[0]), known[1]) for year, limit in zip(filters.years, known, strict=True)
    )
    _keep("year", (min(first, last), last))

    def chosen(address: Address, value: tuple[int, int]) -> Address:
        low, high = value
        return _filtered("years", address, (low if low > known[0] else None, high if high < known[1] else None))

    st.slider("Years", *known, key="year", on_change=_changed, args=("year", chosen))


def _keep(key: str, value: Any) -> None:  # noqa: ANN401  # whatever the widget of that key holds
    """Makes a widget show what the address says: it came from a link, or from the back button."""
    if st.session_state.get(key) != value:
        st.session_state[key] = value


def _changed(key: str, apply: Callable[[Address, Any], Address]) -> None:
    """Takes a widget's new value into the address; a new question begins with its first results."""
    address, _ = read_or_default()
    replace(apply(address, st.session_state[key]), k=STEP).go()


def _filtered(name: str, address: Address, value: Any) -> Address:  # noqa: ANN401  # of the type of the field of that name
    value = tuple(value) if isinstance(value, list) else value
    return replace(address, filters=replace(address.filters, **{name: value}))


def _clear_filters() -> None:
    address, _ = read_or_default()
    replace(address, filters=Filters(), k=STEP).go()


# Examples ---------------------------------------------------------------------------------------------------------------


def _examples() -> None:
    st.caption("For example")
    with st.container(horizontal=True, gap="small"):
        for text in EXAMPLES:
            st.button(text, on_click=Address(text).go)


def _chips(catalogue: Catalogue, address: Address) -> None:
    """The papers that serve as examples; a click takes one out."""
    if not address.like and not address.unlike:
        return
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        for name, label, ids in (("like", "Like", address.like), ("unlike", "Not like", address.unlike)):
            for i, identifier in enumerate(ids):
                st.button(
                    f":gray[{label}] {escape(shorten(_title(catalogue, identifier), 60))}",
                    icon=":material/close:",
                    icon_position="right",
                    key=f"{name} {i}",
                    help="Take this example out",
                    on_click=replace(address, **{name: tuple(x for x in ids if x != identifier)}, k=STEP).go,  # type: ignore[arg-type]
                )


def _title(catalogue: Catalogue, identifier: str) -> str:
    try:
        return find_paper(catalogue, identifier).paper.title
    except KnowledgeBaseError:
        return identifier


# A hit ------------------------------------------------------------------------------------------------------------------


def _card(hit: Hit, address: Address) -> None:
    identifier = hit.paper.id
    more = replace(address, like=_with(address.like, identifier), unlike=_without(address.unlike, identifier), k=STEP)
    less = replace(address, like=_without(address.like, identifier), unlike=_with(address.unlike, identifier), k=STEP)
    with st.container(border=True, gap="xsmall"):
        cards.show(hit)
        with st.container(horizontal=True, gap="small"):
            cards.show_details(hit)
            with st.container(horizontal=True, width="content", gap="medium"):
                for label, icon, target in (("More like this", "add", more), ("Not like this", "remove", less)):
                    key = f"{icon} {identifier}"
                    st.button(label, icon=f":material/{icon}:", type="tertiary", key=key, on_click=target.go)


def _with(ids: tuple[str, ...], identifier: str) -> tuple[str, ...]:
    return (*_without(ids, identifier), identifier)


def _without(ids: tuple[str, ...], identifier: str) -> tuple[str, ...]:
    return tuple(x for x in ids if x != identifier)


# The first visit ----------------------------------------------------------------------------------------------------------


class _Bar:
    """Shows how far a job is."""

    def __init__(self) -> None:
        self._bar = st.progress(0.0, "Starting …")
        self._task, self._done, self._total = "", 0, 0

    def start(self, task: str, total: int, unit: str) -> None:  # noqa: ARG002  # the bar says how far, not how much
        self._task, self._done, self._total = escape(task), 0, total
        self._bar.progress(0.0, self._task)

    def advance(self, done: int) -> None:
        self._done += done
        self._bar.progress(min(self._done / self._total, 1.0) if self._total else 1.0, self._task)


def _invite() -> None:
    """What to do where there is nothing to search yet."""
    st.markdown("There are no papers here yet. Bring some in:")
    st.code(
        "kb ingest notes FILE        # Markdown notes and bookmarks\nkb ingest snapshot FILE     # arXiv metadata, JSON lines",
        language=None,
    )
    if not resources.sample_exists():
        return
    st.markdown("Or look around first, in a small sample of well-known papers and a reader's notes on them.")
    if st.button("Load the sample", type="primary", icon=":material/download:"):
        _load_sample()


def _load_sample() -> None:
    from ingest.jobs import run_index, run_notes, run_snapshot  # only here: the jobs' parsers are not needed to search

    papers, notes = resources.SAMPLE
    bar = _Bar()
    run_snapshot(resources.home(), [papers], progress=bar)
    run_notes(resources.home(), [notes], bar)
    run_index(resources.home(), resources.default_encoder(), bar)
    st.rerun()
