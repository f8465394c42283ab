"""How every page is laid out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

_WIDTH = 880  # pixels; longer lines are tiring to read


@contextmanager
def column() -> Iterator[None]:
    """A column in the middle of the page, as wide as can be read with ease."""
    with st.container(horizontal=True, horizontal_alignment="center"), st.container(width=_WIDTH):
        yield
