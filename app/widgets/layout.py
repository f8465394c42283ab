"""Styles and the centred column that every page uses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

_WIDTH = 880  # pixels; longer lines are tiring to read

# The only HTML of the app, and a constant: less empty space at the top, and titles that are links and may take several lines.
_STYLE = """<style>
[data-testid=stMainBlockContainer] { padding-top: 4.5rem; padding-bottom: 4rem; }
[class*=st-key-title-] [data-testid=stPageLink-NavLink] { padding: 0; line-height: 1.35; background: none; }
[class*=st-key-title-] [data-testid=stPageLink-NavLink]:hover { background: none; text-decoration: underline; }
[class*=st-key-title-] [data-testid=stPageLink-NavLink]:focus-visible { outline: 2px solid; outline-offset: 2px; }
[class*=st-key-title-] [data-testid=stPageLink-NavLink] span { white-space: normal; overflow: visible; }
[class*=st-key-title-] [data-testid=stPageLink-NavLink] .katex span { white-space: nowrap; }
[class*=st-key-title-] [data-testid=stPageLink-NavLink] p { white-space: normal; overflow-wrap: anywhere; font-size: 1.05rem; }
[class*=st-key-actions-], [class*=st-key-keep-and-cite-] { row-gap: 0; }
[data-testid=stLayoutWrapper]:has(> div > [data-testid=stLayoutWrapper] > [class*=st-key-keep-and-cite-]),
[data-testid=stLayoutWrapper]:has(> [class*=st-key-keep-and-cite-]) { flex: 0 0 auto; width: auto; max-width: 100%; }
.st-key-hits, .st-key-entries { scroll-margin-top: 4.5rem; }
[data-testid=stMarkdownContainer] blockquote { margin: .2rem 0; }
.katex { font-size: 1.08em; }
@media (max-width: 640px) { [data-testid=stMainBlockContainer] { padding-left: .8rem; padding-right: .8rem; } }
</style>"""


def style() -> None:
    """Adds the style sheet that every page uses."""
    st.html(_STYLE)


@contextmanager
def column() -> Iterator[None]:
    """A centred column of readable width."""
    with st.container(horizontal=True, horizontal_alignment="center"), st.container(width=_WIDTH):
        yield
