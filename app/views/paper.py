"""Paper page: abstract, code, notes, versions, similar papers and reading lists of one paper."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import replace
from pathlib import PurePath

import streamlit as st

from app import navigation, resources
from app.query_string import Address
from app.widgets import actions, cards, fetch, layout
from app.widgets.markdown import escape, link, message, page_link, shorten, with_math
from app.widgets.note_markdown import note_markdown
from app.widgets.text_diff import difference
from kb.errors import IdentifierError, QueryError
from kb.identifiers import paper_url
from kb.papers import CodeLink, Mention, Note, Paper, plain_text
from kb.search.explain import Explanation, explain
from kb.search.searcher import Hit, Searcher, find_paper
from kb.store import Catalogue, History, Ledger
from kb.text.facets import FACETS
from kb.text.paper_links import web_pages

_AUTHORS = 60
_NEIGHBOURS = 5
_LONG_NOTE = 1200  # characters from which on a note is folded


def show() -> None:
    """The whole page, for the id in the address."""
    with layout.column():
        identifier = st.query_params.get("id", "").strip()
        _way_back()
        if not identifier:
            layout.title(navigation.PAPER.title)
            st.info("Choose a paper on the search page, or name one: its arXiv id, DOI or address.", icon=":material/article:")
            _ask()
            return
        with resources.searcher() as searcher:
            try:
                hit = find_paper(searcher.catalogue, identifier)
            except (QueryError, IdentifierError) as error:
                layout.title(identifier)
                st.error(message(error), icon=":material/error:")
                fetch.offer(identifier)
                _ask()
                return
            _paper(searcher, hit)


def _way_back() -> None:
    """The way back to the search that led here, and a box for another one."""

    def searched() -> None:
        text = st.session_state["go q"].strip()
        if text:
            st.session_state["go q"] = ""
            st.switch_page(navigation.SEARCH.link(), query_params={"q": text})

    with st.container(horizontal=True, vertical_alignment="center", key="way-back"):
        if results := st.session_state.get(resources.LAST_SEARCH):
            st.markdown(page_link(":material/arrow_back: Back to results", navigation.SEARCH.path, results), width="content")
        st.text_input(
            "Search",
            key="go q",
            label_visibility="collapsed",
            icon=":material/search:",
            placeholder="Find papers …",
            on_change=searched,
        )


def _ask() -> None:
    def asked() -> None:
        st.query_params["id"] = st.session_state["wanted"].strip()

    st.text_input("Paper", key="wanted", placeholder="1706.03762", on_change=asked)


def _paper(searcher: Searcher, hit: Hit) -> None:
    paper, catalogue = hit.paper, searcher.catalogue
    history = Ledger(catalogue).history(paper.id)
    layout.title(shorten(paper.title, 600))
    st.markdown("  \n".join(line for line in (cards.authors(paper, _AUTHORS), cards.facts(replace(hit, code=()))) if line))
    if paper.withdrawn:
        reason = history.withdrawals[-1].reason if history.withdrawals else ""
        st.warning(f"Withdrawn. {with_math(reason) or 'No reason is given.'}", icon=":material/block:")
    elif paper.comments:
        st.caption(with_math(paper.comments, links=True))
    _actions(paper)
    if paper.abstract:
        st.markdown(with_math(paper.abstract, links=True))
    else:
        fetch.offer(paper.id, paper.title)
    _code(hit.code)
    _notes(hit.notes)
    _versions(history)
    if searcher.generation.manifest.embedded:
        evidence = explain(searcher, paper.id)
        _near(evidence)
        _neighbours(searcher, paper, {each.paper.id for each in evidence})
    _named(catalogue, hit)


def _actions(paper: Paper) -> None:
    with st.container(horizontal=True, gap="medium", vertical_alignment="center", key=f"actions-{paper.id}"):
        more = page_link(":material/add: More like this", navigation.SEARCH.path, Address(like=(paper.id,)).parameters())
        st.markdown(more, width="content")
        actions.keep_and_cite(paper)
    places = " · ".join(link(escape(place), address) for place, address in web_pages(paper).items())
    alike = " · ".join(
        page_link(facet, navigation.SEARCH.path, Address(like=(paper.id,), facet=facet).parameters()) for facet in FACETS
    )
    st.markdown(f"{places}  \n:small[:gray[Papers alike in their] {alike}]" if paper.abstract else places)


def _notes(notes: Sequence[Note]) -> None:
    if not notes:
        return
    layout.heading("Notes", len(notes))
    for note in notes:
        with st.container(border=True):
            said = [f":material/edit_note: **{escape(PurePath(note.source).name)}**", f"line {note.line}"]
            said += [escape(shorten(note.section, 80))] if note.section else []
            said += (
                [" ".join(page_link(escape(f"#{tag}"), navigation.SEARCH.path, {"q": tag}) for tag in note.tags)]
                if note.tags
                else []
            )
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
    layout.heading("Code", len(code))
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
    layout.heading("Versions", len(history.versions))
    dates = [f"v{v.number} {v.created:%-d %b %Y}" if v.created else f"v{v.number}" for v in history.versions]
    st.caption(" → ".join(dates))
    for withdrawal in history.withdrawals:
        st.markdown(f":red-badge[WITHDRAWN] v{withdrawal.version} {with_math(withdrawal.reason)}")
    for change in history.changes:
        with st.expander(f"{change.field.capitalize()} from v{change.before_version} to v{change.after_version}"):
            st.markdown(difference(change.before, change.after))


def _near(evidence: Sequence[Explanation]) -> None:
    if not evidence:
        return
    layout.heading(
        "Near in the knowledge base", help="The papers here that say most of what this one says, each with its sentence."
    )
    for each in evidence:
        said = f"  \n:small[:material/format_quote: {with_math(each.sentence)}]" if each.sentence else ""
        st.markdown(cards.title_link(each.paper) + said)


def _neighbours(searcher: Searcher, paper: Paper, shown: Set[str]) -> None:
    """The nearest papers that do not show above already."""
    try:
        neighbours = searcher.like([paper.id], k=_NEIGHBOURS + len(shown))
    except QueryError:  # not embedded yet
        return
    layout.heading("Like this")
    for hit in [hit for hit in neighbours if hit.paper.id not in shown][:_NEIGHBOURS]:
        st.markdown(f"{cards.title_link(hit.paper)}  \n{cards.facts(hit)}")


def _named(catalogue: Catalogue, hit: Hit) -> None:
    """What the notes on this paper link to, and the notes on others that link to it."""
    own = [mention for note in hit.notes for mention in note.mentions]
    if own:
        layout.heading("Named in the notes", len(own))
        st.markdown("\n".join(f"- {_mention(catalogue, mention)}" for mention in own))
    by_others = catalogue.notes.naming(hit.paper.id)
    if by_others:
        layout.heading("Named in notes on other papers", len(by_others))
        for place in by_others:
            where = f":small[:gray[{escape(PurePath(place.source).name)}, line {place.line}]]"
            words = with_math(shorten(place.title or place.text, 160))
            st.markdown(f"- {page_link(words, navigation.PAPER.path, {'id': place.note_on}) if place.note_on else words} {where}")


def _mention(catalogue: Catalogue, mention: Mention) -> str:
    words = with_math(shorten(mention.text or mention.target, 160))
    if mention.kind == "paper":
        known = catalogue.key_of(mention.target) is not None
        named = (
            page_link(words, navigation.PAPER.path, {"id": mention.target}) if known else link(words, paper_url(mention.target))
        )
    else:
        named = link(words, mention.target)
    return f"{named} :small[:gray[{escape(mention.kind)}]]"
