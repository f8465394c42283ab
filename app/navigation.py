"""Names, icons and addresses of the pages, in the order of the menu. Imports nothing else of the app."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import streamlit as st
from streamlit.navigation.page import Page


@dataclass(frozen=True, slots=True)
class Place:
    """A page's name, icon and address, without the page itself."""

    title: str
    icon: str
    path: str
    """Last part of the page's address; empty for the page at the app's own address."""
    in_menu: bool = True

    def page(self, show: Callable[[], None]) -> Page:
        """The page at this place, drawn by `show`."""
        visibility: Literal["visible", "hidden"] = "visible" if self.in_menu else "hidden"
        if not self.path:
            return st.Page(show, title=self.title, icon=self.icon, default=True, visibility=visibility)
        return st.Page(show, title=self.title, icon=self.icon, url_path=self.path, visibility=visibility)

    def link(self) -> Page:
        """What `st.page_link` and `st.switch_page` take. Streamlit finds a page by its address, whatever function draws it."""
        return self.page(_unused)


SEARCH = Place("Search", ":material/search:", "")
#: One paper; its address ends in `?id=…`.
PAPER = Place("Paper", ":material/article:", "paper", in_menu=False)
#: The reading lists; the address of one ends in `?name=…`.
LISTS = Place("Reading lists", ":material/bookmarks:", "lists")
MAP = Place("Map", ":material/scatter_plot:", "map")
TRENDS = Place("Trends", ":material/timeline:", "trends")
#: A month's selection; the address of one ends in `?month=June+2026`.
DIGEST = Place("Digest", ":material/newspaper:", "digest")
INGEST = Place("Ingest", ":material/move_to_inbox:", "ingest")


def _unused() -> None: ...
