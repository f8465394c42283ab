"""Styles and the centred column that every page uses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import streamlit as st

from app.widgets.markdown import shorten, visible, with_math

_WIDTH = 880  # pixels; longer lines are tiring to read

# The only HTML of the app, and a constant.
STYLE = f"<style>{Path(__file__).with_suffix('.css').read_text(encoding='utf-8')}</style>"


def style() -> None:
    """Add the style sheet that every page uses."""
    st.html(STYLE)


@contextmanager
def column() -> Iterator[None]:
    """A centred column of readable width."""
    with st.container(horizontal=True, horizontal_alignment="center"), st.container(width=_WIDTH):
        yield


def title(text: str, shown: bool = True) -> None:
    """The page's heading, and its name in the browser's tab and history; only read out where it is not `shown`."""
    st.set_page_config(page_title=visible(shorten(text, 80)))
    with st.container(key="title" if shown else "unseen-title"):
        st.markdown(f"# {with_math(text)}", anchors=False)


def heading(text: str, n: int = 0, help: str | None = None) -> None:
    """The heading of a part, with the number of things in it where there are several."""
    st.markdown(f"## {text}" + (f" :small[:gray[{n:,}]]" if n > 1 else ""), help=help, anchors=False)
