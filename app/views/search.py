"""Search page: papers that match a phrase, a title, an abstract or example papers, with their code and notes."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import replace

import streamlit as st

from app import navigation, resources
from app.query_string import Address, read_or_default
from app.widgets import actions, cards, client, fetch, filter_panel, layout
from app.widgets.filter_panel import changed, keep
from app.widgets.markdown import escape, message, page_link, shorten
from kb.errors import KnowledgeBaseError, QueryError
from kb.search.facet_counts import count_facets
from kb.search.query_syntax import SORTS
from kb.search.searcher import Hit, Searcher, find_paper
from kb.store import Catalogue
from kb.text.plurals import pluralize

EXAMPLES = (
    "fine-tune a large model on one GPU",
    "Attention Is All You Need",
    "why do language models make things up?",
    "train an image encoder from captions found on the web",
)
_PAGE = 10  # hits
_FETCHED = 5  # ids of a query, at most, that are offered to be fetched


def show() -> None:
    """The whole page."""
    with layout.column(), resources.searcher() as searcher:
        _search(searcher)


def _search(searcher: Searcher) -> None:
    manifest = searcher.generation.manifest
    address, problem = read_or_default()
    filter_panel.show(resources.census(searcher), address)
    layout.title(address.text or navigation.SEARCH.title, shown=False)
    _box(address)
    sizes = [pluralize(manifest.papers, "paper"), pluralize(manifest.notes, "note"), pluralize(manifest.code_links, "code link")]
    st.sidebar.caption(" · ".join(sizes) + " in this knowledge base")
    if manifest.embedded < manifest.papers:
        missing = pluralize(manifest.papers - manifest.embedded, "paper")
        st.warning(
            f"{missing} not embedded yet, so not found by what they are about. Run `kb index`.", icon=":material/schedule:"
        )
    if problem:
        raise problem
    st.session_state[resources.LAST_SEARCH] = address.parameters()
    if not address.asks:
        _examples()
        return
    _chips(searcher.catalogue, address)
    _understood(searcher, address)
    try:
        hits = resources.answer(searcher, address)
    except QueryError as error:
        st.error(message(error), icon=":material/error:")
        for word in address.text.split()[:_FETCHED]:
            fetch.offer(word, known=searcher.catalogue)
        return
    if not hits:
        st.info("Nothing passes these filters.", icon=":material/filter_alt:")
        return
    terms = resources.terms(searcher, address)
    _doubt(searcher, hits, address)
    with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute", key="among"):
        _narrow(hits, address)
        _sort(address)
    number = min(address.page, -(-len(hits) // _PAGE))
    with st.container(key="hits"):
        for hit in hits[(number - 1) * _PAGE : number * _PAGE]:
            _card(hit, address, terms)
    _turn(number, len(hits))


def _box(address: Address) -> None:
    keep("q", address.text)
    st.text_input(
        "Find papers",
        key="q",
        label_visibility="collapsed",
        placeholder="A phrase in your own words, a title, an abstract, or the ids or addresses of papers …",
        help="Describe it in your own words, or paste a title or a whole abstract. An arXiv id or address, "
        'or several of them, finds papers like those. Operators narrow it down: "exact phrase", -word, author:LeCun, '
        "year:2019..2023, title:word, category:cs.CL, code:yes. Press Enter to search.",
        icon=":material/search:",
        on_change=changed,
        args=("q", lambda address, value: replace(address, text=value)),
    )


def _examples() -> None:
    st.caption("For example")
    with st.container(horizontal=True, gap="small"):
        for text in EXAMPLES:
            st.button(text, on_click=Address(text).go)


def _chips(catalogue: Catalogue, address: Address) -> None:
    """The papers that serve as examples; a click takes one out."""
    if not address.like and not address.unlike:
        return
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        for label, ids in (("Like", address.like), ("Not like", address.unlike)):
            for i, identifier in enumerate(ids):
                st.button(
                    f":gray[{label}] {escape(shorten(_title(catalogue, identifier), 60))}",
                    icon=":material/close:",
                    icon_position="right",
                    key=f"{label} {i}",
                    help="Take this example out",
                    on_click=address.without(identifier).go,
                )


def _understood(searcher: Searcher, address: Address) -> None:
    """The operators of the query in words."""
    if conditions := searcher.parse(address.text).conditions.describe():
        st.caption(f"Understood as: {' · '.join(map(escape, conditions))}")


def _title(catalogue: Catalogue, identifier: str) -> str:
    try:
        return find_paper(catalogue, identifier).paper.title
    except KnowledgeBaseError:
        return identifier


def _doubt(searcher: Searcher, hits: Sequence[Hit], address: Address) -> None:
    """Say where nothing fits well, and what may have been meant where a word occurs nowhere here."""
    if meant := resources.spelling(searcher, address):
        other = replace(address, text=meant, page=1).parameters()
        with st.container(key="meant"):
            st.markdown(f"Did you mean {page_link(escape(meant), navigation.SEARCH.path, other)}?")
    elif not any(hit.fits for hit in hits):
        st.caption("Nothing here fits well; these are the nearest.")


def _sort(address: Address) -> None:
    keep("sort", address.sort)
    st.selectbox(
        "Sort by",
        SORTS,
        format_func={"relevance": "Best first", "date": "Newest first", "stars": "Most stars first"}.__getitem__,
        key="sort",
        label_visibility="collapsed",
        width=165,
        on_change=changed,
        args=("sort", lambda address, value: replace(address, sort=value)),
    )


def _narrow(hits: Sequence[Hit], address: Address) -> None:
    """What the answer consists of; a click filters by it."""
    counts = count_facets(hits)
    filters = address.filters
    choices: dict[str, Address] = {}
    if counts.code and not filters.has_code:
        choices[f":material/code: with code :gray[{counts.code}]"] = replace(
            address, filters=replace(filters, has_code=True), page=1
        )
    for category, n in counts.categories[:5]:
        if n < len(hits) and category not in filters.categories:
            found = replace(filters, categories=(category,))
            choices[f"{escape(shorten(category, 40))} :gray[{n}]"] = replace(address, filters=found, page=1)
    for year, n in counts.years[:3]:
        if n < len(hits):
            choices[f"{year} :gray[{n}]"] = replace(address, filters=replace(filters, years=(year, year)), page=1)
    if not choices:
        return
    st.session_state["narrow"] = None
    st.pills(
        f"Among these {len(hits)}",
        list(choices),
        key="narrow",
        on_change=lambda: choices[st.session_state["narrow"]].go(),
        label_visibility="collapsed",
    )


def _turn(number: int, found: int) -> None:
    """The pages of the answer."""
    if found <= _PAGE:
        return
    key = f"page {number}"  # a widget of its own for each page: it takes its value from the address alone

    def turned() -> None:
        address, _ = read_or_default()
        replace(address, page=st.session_state[key]).go()
        client.turned()

    with st.container(horizontal_alignment="center"):
        st.pagination(-(-found // _PAGE), default=number, key=key, on_change=turned)


def _card(hit: Hit, address: Address, terms: Set[str]) -> None:
    identifier = hit.paper.id
    with st.container(border=True, gap=None, key=f"card-{identifier}"):
        cards.show(hit, replace(address, page=1).parameters(), terms, f"{address.text} {address.filters.author}")
        with st.container(horizontal=True, gap="small", key=f"actions-{identifier}"):
            st.markdown(
                " ".join(
                    page_link(f":material/{icon}: {label}", navigation.SEARCH.path, target.parameters(), label)
                    for label, icon, target in (
                        ("More like this", "add", address.with_example(identifier)),
                        ("Not like this", "remove", address.with_counterexample(identifier)),
                    )
                ),
                width="content",
            )
            actions.keep_and_cite(hit.paper)
        cards.show_details(hit, terms)
