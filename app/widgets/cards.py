"""Paper cards: title, authors, facts, code, matched sentence and notes of a paper, in a few lines of Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from pathlib import PurePath

import streamlit as st

from app import navigation
from app.widgets.markdown import escape, link, page_link, shorten, with_math
from kb.identifiers import normalised
from kb.papers import Author, CodeLink, Note, Paper, plain_text
from kb.search.searcher import Hit
from kb.text.latex import accents_to_unicode

#: A query string, by the names of its parameters.
Parameters = Mapping[str, str | Sequence[str]]
_AUTHORS = 5
_REPOSITORIES = 3  # before "and N more"
_NOTE_LENGTH = 200  # characters of a note on a card
_FOUND_IN = {
    "abstract": "named in the abstract",
    "comments": "named in the authors' comments",
    "notes": "named in your notes",
    "paperswithcode": "known from the Papers-with-Code archive",
    "huggingface": "named by Hugging Face Papers",
}


def show(hit: Hit, narrow: Parameters, terms: Set[str] = frozenset(), wanted: str = "") -> None:
    """The card of a hit: query terms are bold, and authors whom `wanted` names show however late they come.

    `narrow` has the query string of the search that a category keeps to.
    """
    head = (f":gray[{hit.rank}.] " if hit.scores else "") + title_link(hit.paper)
    lines = [head, f":small[{authors(hit.paper, _AUTHORS, wanted)}]" if hit.paper.authors else "", facts(hit, narrow)]
    st.markdown("  \n".join(line for line in lines if line))
    if hit.matched and hit.paper.abstract:
        st.markdown(f":small[:material/format_quote: {with_math(hit.matched, terms=terms)}]")
    if hit.notes:
        st.markdown(f"> {_note(hit.notes, terms)}")


def _note(notes: Sequence[Note], terms: Set[str]) -> str:
    """The first note in a line, and how many more there are."""
    text = with_math(shorten(plain_text(notes[0].body), _NOTE_LENGTH), terms=terms)
    more = f" :gray[and {len(notes) - 1} more]" if len(notes) > 1 else ""
    return f":small[:material/edit_note: **{escape(PurePath(notes[0].source).name)}**&ensp;{text}{more}]"


def show_details(hit: Hit, terms: Set[str] = frozenset()) -> None:
    """The abstract with the matched sentence, the notes, and the score of every stage, behind a click."""
    paper = hit.paper
    with st.expander("Abstract" if paper.abstract else "Scores", type="compact"):
        if paper.abstract:
            st.markdown(with_math(paper.abstract, hit.matched, terms, links=True))
        scores = {"score": hit.score} | hit.scores
        st.caption(" · ".join(f"{escape(stage)} {score:.3f}" for stage, score in scores.items()))


def title_link(paper: Paper) -> str:
    """The title as Markdown, leading to the paper's own page."""
    title = with_math(shorten(paper.title, 400))
    return page_link(f"**{title}**", navigation.PAPER.path, {"id": paper.id})


def authors(paper: Paper, limit: int, wanted: str = "") -> str:
    """The names as links to their papers, as Markdown: the first ones, and those that `wanted` names."""
    sought = {normalised(word) for word in wanted.split()} - {""}
    named = [i for i, author in enumerate(paper.authors) if normalised(author.family) in sought]
    shown = [*range(min(limit, len(paper.authors))), *(i for i in named if i >= limit)]
    parts: list[str] = []
    for place, i in enumerate(shown):
        if place and i > shown[place - 1] + 1:
            parts.append("…")
        name = _author_link(paper.authors[i])
        parts.append(f"**{name}**" if i in named else name)
    more = len(paper.authors) - len(shown)
    return ", ".join(parts) + (f" and {more} more" if more > 0 else "")


def _author_link(author: Author) -> str:
    name = accents_to_unicode(author.name).replace('"', "")
    return page_link(escape(shorten(name, 80)), navigation.SEARCH.path, {"q": f'author:"{name}"'})


def facts(hit: Hit, narrow: Parameters | None = None) -> str:
    """Where and when it appeared, and its code, in one line of Markdown.

    A category leads to its papers in the search `narrow`, or else to all of them.
    """
    paper = hit.paper
    known = [
        paper.published.strftime("%-d %b %Y") if paper.published else str(paper.year or ""),
        " ".join(_category_link(category, narrow or {"q": f"category:{category}"}) for category in paper.categories),
        escape(shorten(paper.journal_ref, 80)),
        full_text(paper, hit.url),
    ]
    parts = [":red-badge[:material/block: WITHDRAWN]"] if paper.withdrawn else []
    parts.append(":small[:gray[" + " · ".join(fact for fact in known if fact) + "]]")
    if len(paper.versions) > 1:
        parts.append(f":gray-badge[v{max(version.number for version in paper.versions)}]")
    return " ".join([*parts, code_badges(hit.code)])


def _category_link(category: str, parameters: Parameters) -> str:
    return page_link(escape(shorten(category, 40)), navigation.SEARCH.path, {**parameters, "category": category})


def full_text(paper: Paper, url: str) -> str:
    """Links to where the paper can be read, as Markdown."""
    scheme, _, value = paper.id.partition(":")
    name = f"arXiv:{value}" if scheme == "arxiv" else "source" if scheme == "url" else shorten(paper.id, 80)
    places = [link(escape(name), url)] if url else []
    if scheme == "arxiv":
        places += [link(kind.upper(), f"https://arxiv.org/{kind}/{value}") for kind in ("pdf", "html")]
    return " ".join(places)


def code_badges(code: Sequence[CodeLink]) -> str:
    """The first repositories as badges of Markdown."""
    more = len(code) - _REPOSITORIES
    badges = [_badge(repository) for repository in code[:_REPOSITORIES]]
    return " ".join([*badges, *([f":small[:gray[and {more} more]]"] if more > 0 else [])])


def _badge(code: CodeLink) -> str:
    """A badge that leads to the repository, and says in its tooltip where that is known from, and when it was looked at."""
    name = escape(shorten("/".join(code.url.split("/")[-2:]), 60))
    stars = "" if code.stars is None else f" ★ {code.stars:,}"
    official = " · official" if code.official else ""
    checked = "" if code.checked is None else f", checked {code.checked:%-d %b %Y}"
    return f":green-badge[:material/code: {link(name, code.url, found_in(code) + checked)}{stars}{official}]"


def found_in(code: CodeLink) -> str:
    """Where a repository is known from, in words."""
    return _FOUND_IN[code.source]
