"""What the browser does by itself on every page: links that change no tab, scroll positions, keyboard, previews."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

_TURNED = "pages turned"
_FOLDER = Path(__file__).parent
_component = st.components.v2.component(
    "paper_client",
    js="\n".join((_FOLDER / name).read_text(encoding="utf-8") for name in ("messages.js", "links.js", "keyboard.js")),
)


def show() -> None:
    """Show nothing. It belongs at the end of a page: it looks for what stands before it."""
    _component(key="client", data=st.session_state.get(_TURNED, 0))


def turned() -> None:
    """Note that the user went to another page of what the page lists; its first paper gets the focus."""
    st.session_state[_TURNED] = st.session_state.get(_TURNED, 0) + 1
