"""Digest page: a selection of a month's papers, each with the reason, to read or to download."""

from __future__ import annotations

import streamlit as st

from app import navigation, resources
from app.widgets import cards, layout, sources
from app.widgets.markdown import escape, with_math
from kb.formats.digest import DIGEST_WRITERS
from kb.insights.digest import Choice, Digest
from kb.search.searcher import Hit
from kb.text.plurals import pluralize

_FILES = {"markdown": ("Markdown", "md", "text/markdown"), "html": ("HTML", "html", "text/html"),
          "atom": ("Atom", "xml", "application/atom+xml")}  # fmt: skip


def show() -> None:
    """The whole page."""
    with resources.searcher() as searcher, layout.column():
        months = resources.months(searcher.generation)
        if not months:
            layout.title(navigation.DIGEST.title, shown=False)
            sources.nothing_dated()
            return
        names = {f"{month:%Y-%m}": month for month in months}
        with st.container(horizontal=True, vertical_alignment="bottom"):
            month = st.selectbox(
                "Month",
                list(names),
                format_func=lambda name: f"{names[name]:%B %Y}" if name in names else name,
                key="month",
                bind="query-params",
                width=220,
            )
            layout.title(f"Digest, {names[month]:%B %Y}", shown=False)
            digest = resources.digest(searcher.generation, names[month])
            for name, (label, suffix, kind) in _FILES.items():
                st.download_button(
                    label,
                    DIGEST_WRITERS[name](digest).encode("utf-8", "replace"),
                    f"papers-{month}.{suffix}",
                    kind,
                    icon=":material/download:",
                    on_click="ignore",
                    key=f"download {name}",
                )
        _read(digest)


def _read(digest: Digest) -> None:
    st.caption(f"{len(digest.choices)} of {pluralize(digest.papers, 'paper')}, chosen for what many work on, for code, "
               "and for what is near to your reading lists.")  # fmt: skip
    with st.container(key="digest"):
        for number, choice in enumerate(digest.choices, start=1):
            _card(number, choice)
    if digest.words:
        rising = ", ".join(f"{escape(rise.name)} ({rise.papers:,})" for rise in digest.words)
        st.markdown(f"**Rising in titles:** {rising}")
    st.page_link(navigation.TRENDS.link(), label="More on trends", icon=":material/timeline:")


def _card(number: int, choice: Choice) -> None:
    paper = choice.paper
    with st.container(border=True, gap="xsmall"):
        st.markdown(f"{cards.title_link(paper)}  \n:small[{cards.authors(paper, 8)}]")
        if choice.sentence:
            st.markdown(f"> {with_math(choice.sentence)}")
        st.markdown(f":small[{escape(' '.join(choice.reasons))}]")
        st.markdown(cards.facts(Hit(number, paper, 0.0, {}, choice.code, ())))
