"""The pages: what each is called, where it is, and in which order the menu shows them.

A page's module is imported when the page is first shown; so pages can link to each other, and each start loads little.
"""

from __future__ import annotations

import streamlit as st
from streamlit.navigation.page import Page


def search() -> Page:
    return st.Page(_search, title="Search", icon=":material/search:", default=True)


def every() -> list[Page]:
    """All of them, in the order of the menu."""
    return [search()]


def _search() -> None:
    from app import search_page

    search_page.show()
