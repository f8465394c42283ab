"""Names, icons and addresses of the pages, in the order of the menu. Imports nothing else of the app."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import streamlit as st
from streamlit.navigation.page import Page


@dataclass(frozen=True, slots=True)
class PageEntry:
    """Title, icon and address of a page, without the code that draws it."""

    title: str
    icon: str
    path: str
    """Last part of the page's address; empty for the page at the app's own address."""
    in_menu: bool = True

    def page(self, show: Callable[[], None]) -> Page:
        """The Streamlit page, drawn by `show`."""
        visibility: Literal["visible", "hidden"] = "visible" if self.in_menu else "hidden"
        if not self.path:
            return st.Page(show, title=self.title, icon=self.icon, default=True, visibility=visibility)
        return st.Page(show, title=self.title, icon=self.icon, url_path=self.path, visibility=visibility)

    def link(self) -> Page:
        """The target for `st.page_link` and `st.switch_page`: Streamlit finds a page by its address alone."""
        return self.page(_unused)


SEARCH = PageEntry("Search", ":material/search:", "")
#: One paper; its address ends in `?id=…`.
PAPER = PageEntry("Paper", ":material/article:", "paper", in_menu=False)
#: The reading lists; the address of one ends in `?name=…`.
LISTS = PageEntry("Reading lists", ":material/bookmarks:", "lists")
MAP = PageEntry("Map", ":material/scatter_plot:", "map")
TRENDS = PageEntry("Trends", ":material/timeline:", "trends")
#: A month's selection; the address of one ends in `?month=June+2026`.
DIGEST = PageEntry("Digest", ":material/newspaper:", "digest")
INGEST = PageEntry("Ingest", ":material/move_to_inbox:", "ingest")


PAGES = (SEARCH, PAPER, LISTS, MAP, TRENDS, DIGEST, INGEST)


def _unused() -> None: ...
