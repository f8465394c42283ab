"""The pages: what each is called, where it is, and in which order the menu shows them.

A page's module is imported when the page is first shown; so pages can link to each other, and each start loads little.
"""

from __future__ import annotations

import streamlit as st
from streamlit.navigation.page import Page


def search() -> Page:
    return st.Page(_search, title="Search", icon=":material/search:", default=True)


def paper() -> Page:
    """One paper; its address ends in `?id=…`. Not in the menu."""
    return st.Page(_paper, title="Paper", icon=":material/article:", url_path="paper", visibility="hidden")


def reading_lists() -> Page:
    """The reading lists; the address of one ends in `?name=…`."""
    return st.Page(_reading_lists, title="Reading lists", icon=":material/bookmarks:", url_path="lists")


def every() -> list[Page]:
    """All of them, in the order of the menu."""
    return [search(), paper(), reading_lists()]


def _search() -> None:
    from app import search_page

    search_page.show()


def _paper() -> None:
    from app import paper_page

    paper_page.show()


def _reading_lists() -> None:
    from app import lists_page

    lists_page.show()
