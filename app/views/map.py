"""Map page: a scatter plot of all papers by similarity; a point opens its paper, an area becomes a reading list."""

from __future__ import annotations

import streamlit as st

from app import navigation, resources
from app.widgets import layout
from app.widgets.filter_panel import keep
from app.widgets.markdown import escape, message, shorten
from app.widgets.scatter import scatter
from kb.errors import KnowledgeBaseError, QueryError
from kb.insights.map_view import Plot
from kb.library import Entry
from kb.search.searcher import MAX_K, Searcher
from kb.text.plurals import pluralize

_COLOURS = {"category": "Category", "year": "Year", "list": "Reading list"}
_MOST = 1000  # papers of a selection that a reading list may take at once
_TITLES = 12  # of a selection that are shown


def show() -> None:
    """The whole page."""
    layout.title(navigation.MAP.title, shown=False)
    with resources.searcher() as searcher:
        whole = resources.whole_map(searcher.generation)
        if not whole:
            st.info("There is no map yet. Run `kb index`: it gives every paper its place.", icon=":material/map:")
            return
        plot, packed = _chosen(searcher, len(whole))
        area = scatter(packed)
        with st.container(key="mouse-hint"):
            st.caption(
                "Drag to move, turn the wheel to go nearer, click a point to open its paper. Shift and drag selects an area."
            )
        with st.container(key="finger-hint"):
            st.caption(
                "Drag to move, spread two fingers to go nearer, tap a point to open its paper. Select an area with the button."
            )
        if area is not None:
            _selection(searcher, plot.within(area))


def _chosen(searcher: Searcher, papers: int) -> tuple[Plot, bytes]:
    """What the address asks for, which the boxes at the top show and change."""
    library = resources.library()
    lists = {
        summary.name: frozenset(entry.paper_id for entry in library.read_list(summary.name).entries)
        for summary in library.lists()
    }
    text = " ".join(st.query_params.get("q", "").split())
    name = st.query_params.get("list", "")
    colour = st.query_params.get("colour", "")
    colour = colour if colour in _COLOURS else "category"
    with st.container(horizontal=True, vertical_alignment="bottom"):
        keep("map q", text)
        st.text_input("Search", key="map q", placeholder="Show what this finds …", width=340, on_change=_changed, args=("q",))
        keep("map list", name or None)
        st.selectbox(
            "Reading list",
            [*lists, *([name] if name and name not in lists else [])],
            index=None,
            placeholder="Any",
            format_func=_shown,
            key="map list",
            width=220,
            on_change=_changed,
            args=("list",),
        )
        keep("map colour", colour)
        st.segmented_control(
            "Colour",
            list(_COLOURS),
            format_func=_COLOURS.__getitem__,
            required=True,
            key="map colour",
            on_change=_changed,
            args=("colour",),
        )
    found = frozenset(library.papers_of(name)) if name else None
    if text:
        hits = frozenset(hit.paper.id for hit in searcher.search(text, min(MAX_K, max(20, papers // 20))))
        found = hits if found is None else found & hits
    plot, packed = resources.drawn(searcher.generation, colour, lists, found)
    if found is not None and not found & set(plot.ids):
        st.info("None of these papers is on the map.", icon=":material/filter_alt:")
    return plot, packed


def _changed(parameter: str) -> None:
    """Take a box's new value into the address."""
    address = st.query_params.to_dict() | {parameter: st.session_state[f"map {parameter}"]}
    st.query_params.from_dict({name: value for name, value in address.items() if value})


def _selection(searcher: Searcher, plot: Plot) -> None:
    """The papers of an area, and the button that puts them on a list."""
    if not len(plot):
        st.caption("No paper lies in this area.")
        return
    names = [summary.name for summary in resources.library().lists()]
    st.markdown(f"**{pluralize(len(plot), 'paper')}** in this area")
    if not resources.read_only():
        with st.form("selection", border=False), st.container(horizontal=True, vertical_alignment="bottom"):
            name = st.selectbox(
                "Put on the reading list",
                names,
                index=None,
                placeholder="Choose one, or type a new name",
                format_func=_shown,
                accept_new_options=True,
                width=340,
            )
            if st.form_submit_button("Add these papers", icon=":material/bookmark_add:") and name:
                _add(searcher, plot, name)
    for identifier, title in list(zip(plot.ids, plot.titles, strict=True))[:_TITLES]:
        st.page_link(navigation.PAPER.link(), label=escape(shorten(title, 200)), query_params={"id": identifier})
    if len(plot) > _TITLES:
        st.caption(f"and {len(plot) - _TITLES:,} more")


def _add(searcher: Searcher, plot: Plot, name: str) -> None:
    try:
        if len(plot) > _MOST:
            raise QueryError(f"{len(plot):,} papers are too many for a reading list at once. Select at most {_MOST:,}.")
        library = resources.library()
        entries = [Entry.of(paper) for paper in searcher.catalogue.papers(plot.keys.tolist()).values()]
        there = " ".join(name.split()).casefold() in {summary.name.casefold() for summary in library.lists()}
        new = library.add(name, entries) if there else library.create(name, entries)
        st.success(f"{pluralize(new, 'paper')} added to {escape(name)}.", icon=":material/check:")
    except KnowledgeBaseError as error:
        st.error(message(error), icon=":material/error:")


def _shown(name: str) -> str:
    return escape(shorten(name, 60))
