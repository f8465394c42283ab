"""Actions on a paper wherever it shows: add it to a reading list, copy its BibTeX."""

from __future__ import annotations

from datetime import UTC, datetime

import streamlit as st

from app import resources
from app.widgets.markdown import escape, message, shorten
from kb.errors import QueryError
from kb.formats import WRITERS, references_of
from kb.library import Entry, ReadingList
from kb.papers import Paper


@st.fragment
def keep_and_cite(paper: Paper, shown_on: str = "") -> None:
    """Both, each behind a button; what is behind it is made when it is opened. Runs by itself, without the page around it."""
    row = f"keep-and-cite-{paper.id}"
    with st.container(horizontal=True, width="content", gap="small", vertical_alignment="center", key=row):
        _keep(paper, shown_on)
        _cite(paper)


def _keep(paper: Paper, shown_on: str) -> None:
    library = resources.library()
    on = library.lists_with([paper.id])
    drawer = None
    if not resources.read_only():
        # Its label stays the same whatever is chosen: with another one it would be another drawer, and a closed one.
        drawer = st.popover(
            "Add to list", icon=":material/bookmark_add:", type="tertiary", key=f"keep {paper.id}", on_change="rerun"
        )
    told = [name for name in on if name != shown_on]
    if told:
        words = f"on {len(told)} lists" if len(told) > 1 else f"on {escape(shorten(told[0], 40))}"
        st.markdown(f":gray-badge[:material/bookmark: {words}]", width="content")
    if drawer is None or not drawer.open:
        return
    with drawer:
        for summary in library.lists():
            key = f"on {summary.name} {paper.id}"
            st.session_state[key] = summary.name in on
            st.checkbox(escape(summary.name), key=key, on_change=_toggle, args=(summary.name, paper, key))
        key = f"new list {paper.id}"
        st.text_input("New list", key=key, placeholder="Name, then Enter", on_change=_create, args=(paper, key))
        if problem := st.session_state.pop(f"problem {paper.id}", ""):
            st.error(problem)


def _toggle(name: str, paper: Paper, key: str) -> None:
    try:
        if st.session_state[key]:
            resources.library().add(name, [Entry.of(paper)])
        else:
            resources.library().remove(name, [paper.id])
    except QueryError as error:  # deleted or renamed in the meantime
        st.session_state[f"problem {paper.id}"] = message(error)


def _create(paper: Paper, key: str) -> None:
    name = st.session_state[key]
    st.session_state[key] = ""
    try:
        resources.library().create(name)
        resources.library().add(name, [Entry.of(paper)])
    except QueryError as error:
        st.session_state[f"problem {paper.id}"] = message(error)


def _cite(paper: Paper) -> None:
    drawer = st.popover("Cite", icon=":material/format_quote:", type="tertiary", key=f"cite {paper.id}", on_change="rerun")
    if drawer is None or not drawer.open:
        return
    with drawer, resources.searcher() as searcher:
        alone = ReadingList("", datetime.now(UTC), (Entry.of(paper),))
        references = references_of(alone, searcher.catalogue, resources.choices(), remember=not resources.read_only())
        st.caption("BibTeX; the sign in its corner copies it.")
        st.code(WRITERS["bibtex"]("", references), language="bibtex", wrap_lines=True)
