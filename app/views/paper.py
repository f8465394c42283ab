"""Paper page: abstract, code, notes, versions, similar papers and reading lists of one paper."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath
from urllib.parse import urlencode

import streamlit as st

from app import navigation, resources
from app.query_string import Address
from app.widgets import actions, cards, layout
from app.widgets.markdown import escape, link, shorten, with_math
from app.widgets.note_markdown import note_markdown
from app.widgets.text_diff import difference
from kb.errors import IdentifierError, QueryError
from kb.identifiers import paper_url
from kb.papers import CodeLink, Mention, Note, Paper, plain_text
from kb.search.explain import Explanation, explain
from kb.search.searcher import Hit, Searcher, find_paper
from kb.store import Catalogue, History, Ledger
from kb.text.paper_links import web_pages

_AUTHORS = 60
_NEIGHBOURS = 5
_LONG_NOTE = 1200  # characters from which on a note is folded


def show() -> None:
    """The whole page, for the id in the address."""
    with layout.column():
        identifier = st.query_params.get("id", "").strip()
        if not identifier:
            st.info("Choose a paper on the search page, or name one: its arXiv id, DOI or address.", icon=":material/article:")
            _ask()
            return
        with resources.searcher() as searcher:
            try:
                hit = find_paper(searcher.catalogue, identifier)
            except (QueryError, IdentifierError):
                _ask()
                raise
            _paper(searcher, hit)


def _ask() -> None:
    def asked() -> None:
        st.query_params["id"] = st.session_state["wanted"].strip()

    st.text_input("Paper", key="wanted", placeholder="1706.03762", on_change=asked)


def _paper(searcher: Searcher, hit: Hit) -> None:
    paper, catalogue = hit.paper, searcher.catalogue
    history = Ledger(catalogue).history(paper.id)
    st.markdown(f"### {with_math(shorten(paper.title, 600))}", anchors=False)
    st.markdown("  \n".join(line for line in (cards.authors(paper, _AUTHORS), cards.facts(hit)) if line))
    if paper.withdrawn:
        reason = history.withdrawals[-1].reason if history.withdrawals else ""
        st.warning(f"Withdrawn. {with_math(reason) or 'No reason is given.'}", icon=":material/block:")
    elif paper.comments:
        st.caption(with_math(paper.comments))
    _actions(paper)
    if paper.abstract:
        st.markdown(with_math(paper.abstract))
    _notes(hit.notes)
    _code(hit.code)
    _versions(history)
    if searcher.generation.manifest.embedded:
        _explained(explain(searcher, paper.id))
        _neighbours(searcher, paper)
    _named(catalogue, hit)


def _actions(paper: Paper) -> None:
    with st.container(horizontal=True, gap="medium", vertical_alignment="center", key=f"actions-{paper.id}"):
        st.page_link(
            navigation.SEARCH.link(),
            label="More like this",
            icon=":material/add:",
            query_params=Address(like=(paper.id,)).parameters(),
        )
        actions.keep_and_cite(paper)
    st.markdown(" · ".join(link(escape(place), address) for place, address in web_pages(paper).items()))


def _notes(notes: Sequence[Note]) -> None:
    if not notes:
        return
    _heading("Notes", len(notes))
    for note in notes:
        with st.container(border=True):
            said = [f":material/edit_note: **{escape(PurePath(note.source).name)}**", f"line {note.line}"]
            said += [escape(shorten(note.section, 80))] if note.section else []
            said += [escape(" ".join(f"#{tag}" for tag in note.tags))] if note.tags else []
            st.markdown(f":small[{' · '.join(said)}]")
            if len(note.body) > _LONG_NOTE:
                st.markdown(with_math(shorten(plain_text(note.body), 300)))
                with st.expander("The whole note", type="compact"):
                    st.markdown(note_markdown(note.body), anchors=False)
            else:
                st.markdown(note_markdown(note.body) or ":gray[A link without words.]", anchors=False)


def _code(code: Sequence[CodeLink]) -> None:
    if not code:
        return
    _heading("Code", len(code))
    for repository in code:
        known = [
            cards.found_in(repository),
            "the authors' own" if repository.official else "",
            f"{repository.confidence:.0%} sure",
            repository.evidence,
            repository.framework,
            "" if repository.checked is None else f"checked {repository.checked:%-d %b %Y}",
        ]
        stars = "" if repository.stars is None else f" ★ {repository.stars:,}"
        archived = " :orange-badge[archived]" if repository.archived else ""
        name = link(escape(shorten(repository.url.removeprefix("https://"), 120)), repository.url)
        st.markdown(
            f":material/code: {name}{stars}{archived}  \n:small[:gray[{escape(' · '.join(fact for fact in known if fact))}]]"
        )


def _versions(history: History) -> None:
    if len(history.versions) < 2 and not history.changes and not history.withdrawals:
        return
    _heading("Versions", len(history.versions))
    dates = [f"v{v.number} {v.created:%-d %b %Y}" if v.created else f"v{v.number}" for v in history.versions]
    st.caption(" → ".join(dates))
    for withdrawal in history.withdrawals:
        st.markdown(f":red-badge[WITHDRAWN] v{withdrawal.version} {with_math(withdrawal.reason)}")
    for change in history.changes:
        with st.expander(f"{change.field.capitalize()} from v{change.before_version} to v{change.after_version}"):
            st.markdown(difference(change.before, change.after))


def _explained(explained: Sequence[Explanation]) -> None:
    if not explained:
        return
    _heading("Explained by", help="The papers of this knowledge base that tell most of what this one says, each with its share.")
    for evidence in explained:
        cards.title_link(evidence.paper, f":gray[{evidence.weight:.0%}] ")
        if evidence.sentence:
            st.markdown(f":small[:material/format_quote: {with_math(evidence.sentence)}]")


def _neighbours(searcher: Searcher, paper: Paper) -> None:
    try:
        neighbours = searcher.like([paper.id], k=_NEIGHBOURS)
    except QueryError:  # not embedded yet
        return
    _heading("Like this")
    for hit in neighbours:
        cards.title_link(hit.paper)
        st.markdown(f"{cards.facts(hit)} {cards.code_badges(hit.code)}")


def _named(catalogue: Catalogue, hit: Hit) -> None:
    """What the notes on this paper link to, and the notes on others that link to it."""
    own = [mention for note in hit.notes for mention in note.mentions]
    if own:
        _heading("Named in the notes", len(own))
        st.markdown("\n".join(f"- {_mention(catalogue, mention)}" for mention in own))
    by_others = catalogue.notes.naming(hit.paper.id)
    if by_others:
        _heading("Named in notes on other papers", len(by_others))
        for place in by_others:
            where = f":small[:gray[{escape(PurePath(place.source).name)}, line {place.line}]]"
            words = with_math(shorten(place.title or place.text, 160))
            st.markdown(f"- {_paper_address(words, place.note_on) if place.note_on else words} {where}")


def _mention(catalogue: Catalogue, mention: Mention) -> str:
    words = with_math(shorten(mention.text or mention.target, 160))
    if mention.kind == "paper":
        known = catalogue.key_of(mention.target) is not None
        named = _paper_address(words, mention.target) if known else link(words, paper_url(mention.target))
    else:
        named = link(words, mention.target)
    return f"{named} :small[:gray[{escape(mention.kind)}]]"


def _paper_address(label: str, identifier: str) -> str:
    """A link within the app to a paper's page, as Markdown."""
    return f"[{label}](paper?{urlencode({'id': identifier})})"


def _heading(text: str, n: int = 0, help: str | None = None) -> None:
    st.markdown(f"#### {text}" + (f" :small[:gray[{n}]]" if n > 1 else ""), help=help, anchors=False)
