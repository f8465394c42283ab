"""Ways to add papers: uploaded files, and arXiv categories to follow."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import streamlit as st

from app import navigation, resources
from app.access import LOOPBACK
from app.widgets import job_panel
from app.widgets.markdown import escape, message, shorten
from kb.errors import KnowledgeBaseError
from kb.jobs.uploads import BIBLIOGRAPHIES, NOTES, SNAPSHOTS, commands_for, save_upload

#: What is offered where nothing is known yet; any other may be typed.
COMMON = ("cs.CL", "cs.LG", "cs.CV", "cs.AI", "cs.IR", "cs.NE", "cs.RO", "cs.SE", "stat.ML", "eess.AS", "eess.IV")
_KINDS = sorted({name.rpartition(".")[2] for name in (*NOTES, *BIBLIOGRAPHIES, *SNAPSHOTS)})
_MONTH = timedelta(days=30)


def drop(label: str, key: str) -> None:
    """Take files and start a job that reads them."""
    files = st.file_uploader(
        label,
        _KINDS,
        accept_multiple_files=True,
        key=key,
        help="Markdown notes; BibTeX, RIS or CSL-JSON, each of which becomes a reading list; arXiv's metadata as JSON lines.",
    )
    if st.button("Read these files", icon=":material/upload_file:", disabled=not files, key=f"read {key}"):
        try:
            kept = [save_upload(resources.home(), file.name, file.getvalue()) for file in files]
        except KnowledgeBaseError as error:
            st.error(message(error), icon=":material/error:")
            return
        names = ", ".join(shorten(path.name, 40) for path in kept[:3]) + (f" and {len(kept) - 3} more" if len(kept) > 3 else "")
        job_panel.start(f"Reading {names}", commands_for(kept))
        st.rerun()


def folder(key: str) -> None:
    """Take the path of a folder on the app's own machine, and start a job that reads the notes in it.

    Nothing where the app is open to others: they would read what is not theirs.
    """
    if st.config.get_option("server.address") not in LOOPBACK:
        return

    def read() -> None:
        path = Path(st.session_state[key]).expanduser()
        if path.is_dir():
            job_panel.start(f"Reading {shorten(path.name, 40)}", [["ingest", "notes", str(path.resolve())]])
        else:
            st.error(f"There is no folder {escape(shorten(str(path), 200))} on this machine.", icon=":material/error:")

    st.text_input("Or a folder of notes on this machine", key=key, placeholder="~/notes, then Enter", on_change=read)


def follow_categories(present: Sequence[str], known: Sequence[str], key: str) -> None:
    """Choose the categories that are followed, and start a job that brings them up to date."""
    from ingest.jobs.run import follow  # only here: the jobs' parsers take a while to import

    chosen = st.multiselect(
        "Categories",
        list(dict.fromkeys((*present, *known, *COMMON))),
        default=list(present),
        format_func=escape,
        accept_new_options=True,
        placeholder="cs.CL, cs.LG, …",
        key=key,
        help="arXiv's names. One that is not offered can be typed.",
    )
    since: date | None = st.date_input(
        "The first time, papers from", _today() - _MONTH, max_value=_today(), key=f"since {key}", width=220
    )
    with st.container(horizontal=True):
        if st.button("Follow and fetch", type="primary", icon=":material/sync:", disabled=not chosen, key=f"fetch {key}"):
            try:
                follow(resources.home(), chosen)
            except KnowledgeBaseError as error:
                st.error(message(error), icon=":material/error:")
                return
            command = ["ingest", "oai"] + (["--since", since.isoformat()] if since else [])
            job_panel.start(f"Fetching {', '.join(chosen)} from arXiv", [command])
            st.rerun()


def _today() -> date:
    return datetime.now(UTC).date()


def nothing_dated() -> None:
    """Say what to do where no paper has a date of publication."""
    st.info("No paper here says when it was published. Those from arXiv do.", icon=":material/timeline:")
    st.page_link(navigation.INGEST.link(), label="Bring papers in", icon=":material/move_to_inbox:")
