"""Filters of the search page, in the side bar. Every change is written to the query string, which everything else reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import streamlit as st

from app import resources
from app.query_string import Address, read_or_default
from app.resources import Census
from app.widgets import layout
from app.widgets.markdown import escape
from kb.store import Filters
from kb.text.facets import FACETS

_BARS = "\u00a0▁▂▃▄▅▆▇█"
_SOURCES = {"": "All", "notes": "With my notes", "arxiv": "arXiv"}


def show(census: Census, address: Address) -> None:
    """The filters as the address has them."""
    filters = address.filters
    with st.sidebar:
        layout.heading("Filters")
        _years(census.years, filters)
        known = census.categories
        keep("category", list(filters.categories))
        st.multiselect(
            "Categories",
            [*known, *(c for c in filters.categories if c not in known)],
            format_func=lambda category: escape(category) + (f" ({known[category]:,})" if category in known else ""),
            placeholder="Any",
            key="category",
            on_change=changed,
            args=("category", partial(_filtered, "categories")),
        )
        keep("author", filters.author)
        st.text_input(
            "Author",
            placeholder="Any part of a name",
            key="author",
            on_change=changed,
            args=("author", partial(_filtered, "author")),
        )
        _lists(address.list_name)
        keep("source", filters.source if filters.source in _SOURCES else "")
        st.radio(
            "Source",
            list(_SOURCES),
            format_func=lambda source: _SOURCES[source],
            key="source",
            on_change=changed,
            args=("source", partial(_filtered, "source")),
        )
        keep("code", filters.has_code)
        st.toggle("Has code", key="code", on_change=changed, args=("code", partial(_filtered, "has_code")))
        keep("facet", address.facet)
        st.pills(
            "Alike in",
            FACETS,
            format_func=str.capitalize,
            key="facet",
            on_change=changed,
            args=("facet", lambda address, value: replace(address, facet=value)),
            help="Compares what the abstracts say on the background of the work, its method, or its result; takes longer.",
        )
        if address.filtered:
            st.button("Clear filters", icon=":material/filter_alt_off:", on_click=_clear, width="stretch")


def keep(key: str, value: Any) -> None:  # noqa: ANN401  # whatever the widget of that key holds
    """Make a widget show what the address says: it came from a link, or from the back button."""
    if st.session_state.get(key) != value:
        st.session_state[key] = value


def changed(key: str, apply: Callable[[Address, Any], Address]) -> None:
    """Take a widget's new value into the address; a new question begins with its first page."""
    address, _ = read_or_default()
    replace(apply(address, st.session_state[key]), page=1).go()


def _years(counts: Mapping[int, int], filters: Filters) -> None:
    if len(counts) < 2:
        return
    known = min(counts), max(counts)
    first, last = (
        limit if year is None else min(max(year, known[0]), known[1]) for year, limit in zip(filters.years, known, strict=True)
    )
    keep("year", (min(first, last), last))

    def chosen(address: Address, value: tuple[int, int]) -> Address:
        low, high = value
        return _filtered("years", address, (low if low > known[0] else None, high if high < known[1] else None))

    most = max(counts.values())
    # A bar a year, over the slider, as high as its share of the largest.
    bars = " ".join(_BARS[-(-n * (len(_BARS) - 1) // most)] for n in counts.values())
    with st.container(key="years", gap=None):
        st.caption(f":gray[{bars}]", help=" · ".join(f"{year}: {n:,}" for year, n in sorted(counts.items(), reverse=True)))
        st.slider("Years", *known, key="year", on_change=changed, args=("year", chosen), label_visibility="collapsed")


def _lists(chosen: str) -> None:
    names = [summary.name for summary in resources.library().lists()]
    if not names and not chosen:
        return
    keep("list", chosen)
    st.selectbox(
        "Reading list",
        ["", *names, *([chosen] if chosen and chosen not in names else [])],
        format_func=lambda name: name or "Any",
        key="list",
        on_change=changed,
        args=("list", lambda address, name: replace(address, list_name=name)),
    )


def _filtered(name: str, address: Address, value: Any) -> Address:  # noqa: ANN401  # of the type of the field of that name
    value = tuple(value) if isinstance(value, list) else value
    return replace(address, filters=replace(address.filters, **{name: value}))


def _clear() -> None:
    address, _ = read_or_default()
    replace(address, filters=Filters(), list_name="", page=1).go()
