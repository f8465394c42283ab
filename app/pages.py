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


def map_of_papers() -> Page:
    """Every paper a point."""
    return st.Page(_map, title="Map", icon=":material/scatter_plot:", url_path="map")


def trends() -> Page:
    """Papers by month."""
    return st.Page(_trends, title="Trends", icon=":material/timeline:", url_path="trends")


def digest() -> Page:
    """A month's selection; the address of one ends in `?month=June+2026`."""
    return st.Page(_digest, title="Digest", icon=":material/newspaper:", url_path="digest")


def ingest() -> Page:
    """What brings papers in."""
    return st.Page(_ingest, title="Ingest", icon=":material/move_to_inbox:", url_path="ingest")


def every() -> list[Page]:
    """All of them, in the order of the menu."""
    return [search(), paper(), reading_lists(), map_of_papers(), trends(), digest(), ingest()]


def _search() -> None:
    from app import search_page

    search_page.show()


def _paper() -> None:
    from app import paper_page

    paper_page.show()


def _reading_lists() -> None:
    from app import lists_page

    lists_page.show()


def _map() -> None:
    from app import map_page

    map_page.show()


def _trends() -> None:
    from app import trends_page

    trends_page.show()


def _digest() -> None:
    from app import digest_page

    digest_page.show()


def _ingest() -> None:
    from app import ingest_page

    ingest_page.show()
