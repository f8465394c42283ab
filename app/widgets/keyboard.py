"""Keyboard focus: Tab moves into an open popover and back, and a new result page focuses its first paper."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

_TURNED = "pages turned"
_component = st.components.v2.component("paper_keyboard", js=(Path(__file__).parent / "keyboard.js").read_text(encoding="utf-8"))


def show() -> None:
    """Shows nothing, and belongs at the end of a page: it looks for what stands before it."""
    _component(key="keyboard", data=st.session_state.get(_TURNED, 0))


def turned() -> None:
    """Notes that the user went to another page of what the page lists."""
    st.session_state[_TURNED] = st.session_state.get(_TURNED, 0) + 1
