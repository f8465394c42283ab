"""The app: `kb app`, or `streamlit run app/main.py` with KB_HOME set."""

from __future__ import annotations

import streamlit as st

from app import first_run, keyboard, layout, pages, resources, sign_in
from app.text import message
from kb.errors import KnowledgeBaseError

st.set_page_config(page_icon="📄", layout="wide", initial_sidebar_state="auto")
layout.style()
page = st.navigation(pages.every(), position="top")
if sign_in.admitted():
    try:
        if resources.empty() and page.url_path != "ingest":
            first_run.show()
        else:
            page.run()
    except KnowledgeBaseError as error:
        with layout.column():
            st.error(message(error), icon=":material/error:")
    sign_in.show_who()
    keyboard.show()
