"""Trends page: papers per month, share with code, and rising terms."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import altair as alt
import pyarrow as pa
import streamlit as st

from app import navigation, resources
from app.widgets import layout, sources
from app.widgets.markdown import escape
from app.widgets.scatter import PALETTE, REST
from kb.insights.trends import Month, Rise

_SPANS = {12: "One year", 36: "Three years", 120: "Ten years", 1200: "All"}
_ENOUGH = 30  # papers of a month, below which a share of them says nothing


def show() -> None:
    """The whole page."""
    with resources.searcher() as searcher, layout.column():
        layout.title(navigation.TRENDS.title, shown=False)
        span = st.segmented_control(
            "Span",
            list(_SPANS),
            format_func=_SPANS.__getitem__,
            default=36,
            required=True,
            key="span",
            bind="query-params",
            label_visibility="collapsed",
        )
        trends = resources.trends(searcher.generation, span)
        if not trends.months or trends.whole is None:
            sources.nothing_dated()
            return
        layout.heading("Papers a month")
        with st.container(key="chart-months"):
            st.altair_chart(_categories(trends.months))
        layout.heading("Share with code")
        if any(month.papers >= _ENOUGH for month in trends.months):
            with st.container(key="chart-code"):
                st.altair_chart(_code(trends.months))
        else:
            st.caption(f"No month here has {_ENOUGH} papers; of fewer, a share says little.")
        layout.heading(f"Rising in titles, {trends.whole:%B %Y}")
        _rises(trends.words, trends.whole)


def _categories(months: Sequence[Month]) -> alt.Chart:
    names = list(months[-1].categories)
    rows = [
        {"month": month.first, "category": name, "papers": papers, "place": place}
        for month in months
        for place, (name, papers) in enumerate(month.categories.items())
    ]
    colours = [*PALETTE[: len(names) - 1], REST]
    chart: alt.Chart = (
        alt.Chart(pa.Table.from_pylist(rows))
        .mark_bar()
        .encode(
            x=alt.X("yearmonth(month):T", title=None),
            y=alt.Y("papers:Q", title=None),
            color=alt.Color("category:N", sort=names, scale=alt.Scale(domain=names, range=colours), title=None),
            order=alt.Order("place:Q"),
            tooltip=[alt.Tooltip("yearmonth(month):T", title="month"), "category:N", alt.Tooltip("papers:Q", format=",")],
        )
        .properties(height=320)
        .configure_legend(orient="bottom", columns=5)
    )
    return chart


def _code(months: Sequence[Month]) -> alt.Chart:
    rows = [
        {
            "month": month.first,
            "share": month.with_code / month.papers if month.papers >= _ENOUGH else None,  # the line has a gap there
            "papers": month.papers,
        }
        for month in months
    ]
    chart: alt.Chart = (
        alt.Chart(pa.Table.from_pylist(rows))
        .mark_line(point={"color": PALETTE[2]}, color=PALETTE[2])
        .encode(
            x=alt.X("yearmonth(month):T", title=None),
            y=alt.Y("share:Q", title=None, axis=alt.Axis(format=".0%")),
            tooltip=[
                alt.Tooltip("yearmonth(month):T", title="month"),
                alt.Tooltip("share:Q", format=".1%", title="with code"),
                alt.Tooltip("papers:Q", format=","),
            ],
        )
        .properties(height=200)
    )
    return chart


def _rises(words: Sequence[Rise], month: date) -> None:
    """A row for each pair of words, which leads to the search for it."""
    if not words:
        st.caption(f"No words of {month:%B %Y} stand out: a pair counts from five papers on.")
        return
    with st.container(key="rising", gap="xsmall"):
        for rise in words:
            before = f"{rise.before:,.0f} a month before" if rise.before >= 1 else "hardly any before"
            label = f"**{escape(rise.name)}** &ensp; :gray[{rise.papers:,} papers, {before}]"
            st.page_link(navigation.SEARCH.link(), label=label, query_params={"q": rise.name})
