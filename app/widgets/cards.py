"""Paper cards: title, facts, code, matched sentence and notes of a paper in a list."""

from __future__ import annotations

from pathlib import PurePath

import streamlit as st

from app import navigation
from app.widgets.markdown import escape, link, shorten, with_math
from kb.papers import CodeLink, Paper, plain_text
from kb.search.searcher import Hit
from kb.text.latex import accents_to_unicode

_AUTHORS = 8
_SHOWN = 3  # repositories before "and N more"
_NOTES = 2
_NOTE = 240  # characters of a note
_FOUND_IN = {
    "abstract": "named in the abstract",
    "comments": "named in the authors' comments",
    "notes": "named in your notes",
    "paperswithcode": "known from the Papers-with-Code archive",
    "huggingface": "named by Hugging Face Papers",
}


def show(hit: Hit) -> None:
    """The paper with its facts, its code, the sentence that answers best, and the notes on it."""
    title_link(hit.paper, f":gray[{hit.rank}.] " if hit.scores else "")
    names = authors(hit.paper)
    # Two blanks at the end break the line without the gap between paragraphs.
    st.markdown("  \n".join([*([f":small[{names}]"] if names else []), f"{facts(hit)} {code_badges(hit.code)}"]))
    if hit.matched and hit.paper.abstract:
        st.markdown(f":small[:material/format_quote: {with_math(hit.matched, hit.matched)}]")
    for note in hit.notes[:_NOTES]:
        text = with_math(shorten(plain_text(note.body), _NOTE))
        st.markdown(f"> :small[:material/edit_note: **{escape(PurePath(note.source).name)}**&ensp;{text}]")


def show_details(hit: Hit) -> None:
    """The abstract with the sentence that answers best, and the score of every stage, behind a click."""
    paper = hit.paper
    with st.expander("Abstract and scores" if paper.abstract else "Scores", type="compact"):
        if paper.abstract:
            st.markdown(with_math(paper.abstract, hit.matched))
        scores = {"score": hit.score} | hit.scores
        st.caption(" · ".join(f"{escape(stage)} {score:.3f}" for stage, score in scores.items()))


def title_link(paper: Paper, before: str = "") -> None:
    """The title, leading to the paper's own page."""
    title = with_math(shorten(paper.title, 400))
    with st.container(key=f"title-{paper.id}-{before}"):
        st.page_link(navigation.PAPER.link(), label=f"{before}**{title}**", icon="", query_params={"id": paper.id})


def authors(paper: Paper, limit: int = _AUTHORS) -> str:
    """The names, the first of them where they are many, as Markdown."""
    names = ", ".join(escape(shorten(accents_to_unicode(a.name), 80)) for a in paper.authors[:limit])
    more = len(paper.authors) - limit
    return names + (f" and {more} more" if more > 0 else "")


def facts(hit: Hit) -> str:
    """Where and when it appeared, in one line of Markdown."""
    paper = hit.paper
    scheme, _, value = paper.id.partition(":")
    name = f"arXiv:{value}" if scheme == "arxiv" else "source" if scheme == "url" else shorten(paper.id, 80)
    known = [
        paper.published.strftime("%-d %b %Y") if paper.published else str(paper.year or ""),
        " ".join(escape(shorten(c, 40)) for c in paper.categories),
        escape(shorten(paper.journal_ref, 80)),
        link(escape(name), hit.url) if hit.url else "",
    ]
    parts = [":red-badge[:material/block: WITHDRAWN]"] if paper.withdrawn else []
    parts.append(":small[:gray[" + " · ".join(fact for fact in known if fact) + "]]")
    if len(paper.versions) > 1:
        parts.append(f":gray-badge[v{max(version.number for version in paper.versions)}]")
    return " ".join(parts)


def code_badges(code: tuple[CodeLink, ...]) -> str:
    """The first repositories as badges of Markdown."""
    more = len(code) - _SHOWN
    return " ".join([*(_badge(c) for c in code[:_SHOWN]), *([f":small[:gray[and {more} more]]"] if more > 0 else [])])


def _badge(code: CodeLink) -> str:
    """A badge that leads to the repository, and says in its tooltip where that is known from."""
    name = escape(shorten("/".join(code.url.split("/")[-2:]), 60))
    stars = "" if code.stars is None else f" ★ {code.stars:,}"
    official = " · official" if code.official else ""
    return f":green-badge[:material/code: {link(name, code.url, found_in(code))}{stars}{official}]"


def found_in(code: CodeLink) -> str:
    """Where a repository is known from, in words."""
    return _FOUND_IN[code.source]
