"""How a found paper looks."""

from __future__ import annotations

from pathlib import PurePath

import streamlit as st

from app.text import escape, link, shorten, with_math
from kb.papers import CodeLink, Note, Paper, plain_text
from kb.search import Hit

_AUTHORS = 8
_SHOWN = 3  # repositories, and notes, before "and N more"
_NOTE = 240  # characters of a note
_FOUND_IN = {
    "abstract": "named in the abstract",
    "comments": "named in the authors' comments",
    "notes": "named in your notes",
}


def show(hit: Hit) -> None:
    """The paper with its facts, its code and the notes on it."""
    title = f":gray[{hit.rank}.] **{link(with_math(shorten(hit.paper.title, 400)), hit.url)}**"
    names = _authors(hit.paper)
    lines = [title, *([f":small[{names}]"] if names else []), _facts(hit)]
    st.markdown("  \n".join(lines))  # two blanks at the end break the line without the gap between paragraphs
    for note in hit.notes[:_SHOWN]:
        _note(note)


def show_details(hit: Hit) -> None:
    """The abstract and the score of every stage, behind a click."""
    paper = hit.paper
    with st.expander("Abstract and scores" if paper.abstract else "Scores", type="compact"):
        if paper.abstract:
            st.markdown(with_math(paper.abstract))
        if hit.matched:
            st.caption(f"Matched best: {with_math(hit.matched)}")
        scores = {"score": hit.score} | hit.scores
        st.caption(" · ".join(f"{escape(stage)} {score:.3f}" for stage, score in scores.items()))


def _authors(paper: Paper) -> str:
    names = ", ".join(escape(shorten(a.name, 80)) for a in paper.authors[:_AUTHORS])
    more = len(paper.authors) - _AUTHORS
    return names + (f" and {more} more" if more > 0 else "")


def _facts(hit: Hit) -> str:
    """Where and when it appeared, and its code, in one line."""
    paper = hit.paper
    scheme, _, value = paper.id.partition(":")
    facts = [
        str(paper.year or ""),
        " ".join(escape(shorten(c, 40)) for c in paper.categories),
        escape(shorten(paper.journal_ref, 80)),
        escape(f"arXiv:{value}" if scheme == "arxiv" else "" if scheme == "url" else shorten(paper.id, 80)),
    ]
    parts = [":red-badge[:material/block: WITHDRAWN]"] if paper.withdrawn else []
    parts.append(":small[:gray[" + " · ".join(fact for fact in facts if fact) + "]]")
    parts += [_code(code) for code in hit.code[:_SHOWN]]
    if (more := len(hit.code) - _SHOWN) > 0:
        parts.append(f":small[:gray[and {more} more]]")
    return " ".join(parts)


def _code(code: CodeLink) -> str:
    """A badge that leads to the repository, and says in its tooltip where that is known from."""
    name = escape(shorten("/".join(code.url.split("/")[-2:]), 60))
    stars = "" if code.stars is None else f" ★ {code.stars:,}"
    official = " · official" if code.official else ""
    hint = _FOUND_IN.get(code.source, f"known from {code.source}")
    return f":green-badge[:material/code: {link(name, code.url, hint)}{stars}{official}]"


def _note(note: Note) -> None:
    text = with_math(shorten(plain_text(note.body), _NOTE))
    st.markdown(f"> :material/edit_note: **{escape(PurePath(note.source).name)}**&ensp;{text}")
