"""Changes to reading lists: each told where it fails, and each with a button that undoes it and names it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import streamlit as st

from app import resources
from app.widgets.markdown import escape, message, shorten
from kb.errors import KnowledgeBaseError

Change = Callable[[], object]
_TOLD = "told"  # what came of the last change: its kind, and Markdown
_UNDO = "undo change"  # words for the last change, and what reverts it; of this session alone


def make(change: Change, words: str = "", revert: Change | None = None) -> None:
    """Make a change; what is wrong with it is told on the page as it then is, until the next change.

    `words` say what it was, and `revert` undoes it. Without it, what the library itself can undo is offered.
    """
    for key in (_TOLD, _UNDO):
        st.session_state.pop(key, None)
    try:
        change()
    except KnowledgeBaseError as error:
        st.session_state[_TOLD] = ("error", message(error))
        return
    if revert is not None:
        st.session_state[_UNDO] = (words, revert)


def remove(name: str, titles: dict[str, str]) -> None:
    """Take papers, their titles by id, off a list."""
    library = resources.library()
    words = f"took off ‘{next(iter(titles.values()))}’" if len(titles) == 1 else f"took {len(titles)} papers off ‘{name}’"
    make(partial(library.remove, name, list(titles)))
    removal = library.last_removal()
    if removal is not None and _TOLD not in st.session_state:
        st.session_state[_UNDO] = (words, partial(library.undo, removal.number))


def succeeded(report: str) -> None:
    """Let the page tell what a change brought, as Markdown."""
    st.session_state[_TOLD] = ("done", report)


def tell() -> None:
    """What came of the last change."""
    kind, told = st.session_state.get(_TOLD, ("", ""))
    if kind == "error":
        st.error(told, icon=":material/error:")
    elif told:
        st.success(told, icon=":material/check:")


def undo_button() -> None:
    """Undo the last change of this session, or else the last removal that anybody made; nothing where there is none."""
    if resources.read_only():
        return
    library = resources.library()
    words, revert = st.session_state.get(_UNDO, ("", None))
    if revert is None and (removal := library.last_removal()):
        words, revert = removal.what, partial(library.undo, removal.number)
    if revert is not None:
        label = f"Undo: {escape(shorten(words, 80))}"
        st.button(label, icon=":material/undo:", type="tertiary", key="undo", on_click=partial(make, revert))
