"""Fetches the record of a paper that is not in the knowledge base, or that only a note names, from arXiv."""

from __future__ import annotations

import streamlit as st

from app import resources
from app.widgets import job_panel
from app.widgets.markdown import escape, shorten
from kb.errors import IdentifierError
from kb.identifiers import paper_id
from kb.store import Catalogue


def offer(identifier: str, title: str = "", known: Catalogue | None = None) -> None:
    """A button that fetches the paper of that id, or else of that title, or the job that does.

    Nothing for a paper that arXiv does not have, or that is `known`.
    """
    command = _command(identifier, title)
    if command is None or resources.read_only() or (known is not None and known.key_of(paper_id(identifier)) is not None):
        return
    if job_panel.show():
        return
    st.button(
        f"Fetch {escape(shorten(identifier, 60))} from arXiv" if known else "Fetch it from arXiv",
        icon=":material/download:",
        type="primary",
        key=f"fetch {identifier}",
        on_click=job_panel.start,
        args=(f"Fetching {title or identifier}", [command]),
    )


def _command(identifier: str, title: str) -> list[str] | None:
    """The arguments of `kb` that fetch the paper; `None` for one that arXiv does not have."""
    try:
        scheme, _, name = paper_id(identifier).partition(":")
    except IdentifierError:
        return None
    if scheme == "arxiv":
        return ["ingest", "arxiv", "--id", name]
    words = " ".join("".join(c if c.isalnum() else " " for c in title).split())
    return ["ingest", "arxiv", "--query", f'ti:"{words}"'] if words and identifier.startswith("url:note:") else None
