"""The app: `kb app`, or `streamlit run app/main.py` with KB_HOME set. Registers the pages and runs the one that is asked for.

A page's module is imported when the page is first shown, so that the app starts quickly.
"""

from __future__ import annotations

import streamlit as st

from app import navigation, resources, sign_in
from app.views import welcome
from app.widgets import client, layout
from app.widgets.markdown import message
from kb.errors import KnowledgeBaseError


def _search() -> None:
    from app.views import search

    search.show()


def _paper() -> None:
    from app.views import paper

    paper.show()


def _lists() -> None:
    from app.views import lists

    lists.show()


def _map() -> None:
    from app.views import map

    map.show()


def _trends() -> None:
    from app.views import trends

    trends.show()


def _digest() -> None:
    from app.views import digest

    digest.show()


def _ingest() -> None:
    from app.views import ingest

    ingest.show()


st.set_page_config(page_icon="📄", layout="wide", initial_sidebar_state="auto")
layout.style()
page = st.navigation(
    [
        navigation.SEARCH.page(_search),
        navigation.PAPER.page(_paper),
        navigation.LISTS.page(_lists),
        navigation.MAP.page(_map),
        navigation.TRENDS.page(_trends),
        navigation.DIGEST.page(_digest),
        navigation.INGEST.page(_ingest),
    ],
    position="top",
)
if sign_in.admitted():
    try:
        if resources.empty() and page.url_path != navigation.INGEST.path:
            welcome.show()
        else:
            page.run()
    except KnowledgeBaseError as error:
        with layout.column():
            st.error(message(error), icon=":material/error:")
    sign_in.show_who()
    client.show()
