"""Welcome page of an empty knowledge base: ways to add the first papers."""

from __future__ import annotations

import streamlit as st

from app import resources
from app.widgets import job_panel, layout, sources
from kb.sample import SAMPLE_NOTES, SAMPLE_PAPERS


def show() -> None:
    """The whole page."""
    with layout.column():
        layout.title("There are no papers here yet")
        if resources.read_only():
            st.markdown("This app only shows what is there. Whoever runs it can bring papers in.")
            return
        if job_panel.show():
            return
        st.markdown("Three ways to begin; each can be taken later as well, under *Ingest*.")
        with st.container(border=True):
            layout.heading("Look around first")
            st.markdown("A small sample: 199 well-known papers, and a reader's notes on some of them. Half a minute, 6 MB.")
            if st.button("Load the sample", type="primary", icon=":material/download:"):
                papers, notes = str(SAMPLE_PAPERS), str(SAMPLE_NOTES)
                job_panel.start("Loading the sample", [["ingest", "snapshot", papers, "--no-index"], ["ingest", "notes", notes]])
                st.rerun()
        with st.container(border=True):
            layout.heading("Add your notes")
            st.markdown(
                "Markdown pages, bookmarks, newsletters; or what Zotero exports: BibTeX, RIS, CSL-JSON. A minute for 1,000 notes."
            )
            sources.drop("Files", "first files")
            sources.folder("first folder")
        with st.container(border=True):
            layout.heading("Follow categories of arXiv")
            st.markdown(
                "What is new comes in, and stays current: once now, then whenever you ask, or at set times. A month of cs.CL is "
                "about 2,500 papers: two or three minutes, 13 MB."
            )
            sources.follow_categories((), (), "first categories")
