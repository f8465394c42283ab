"""Ingest page: followed categories and their state, scheduled jobs, the last runs, and ways to add papers."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from app import navigation, resources
from app.widgets import job_panel, layout, sources
from app.widgets.markdown import escape, shorten
from ingest.jobs.run import Followed, Overview, Planned, State, overview
from kb.papers import Skipped
from kb.store import Run
from kb.text.plurals import describe_counts

_COLOURS = {State.CURRENT: "green", State.QUIET: "gray", State.NEVER: "blue"}
_ICONS = {State.CURRENT: "check_circle", State.QUIET: "bedtime", State.NEVER: "hourglass_empty"}
_SKIPPED = 20


def show() -> None:
    """The whole page."""
    with layout.column():
        layout.title(navigation.INGEST.title, shown=False)
        job_panel.show()
        found = overview(resources.home())
        layout.heading("Followed")
        _followed(found.followed)
        if not resources.read_only():
            with st.expander("Change what is followed, or fetch it now", expanded=not found.followed):
                categories = [followed.category for followed in found.followed]
                sources.follow_categories(categories, resources.known_categories(), "followed")
            layout.heading("Bring in a file")
            sources.drop("Notes, a bibliography, or arXiv's metadata", "files")
        layout.heading("At set times")
        _planned(found)
        layout.heading("Last runs")
        _runs(found.runs)


def _followed(followed: Sequence[Followed]) -> None:
    if not followed:
        st.caption("No category of arXiv is followed yet.")
    with st.container(key="standing", gap="xsmall"):
        for one in followed:
            colour, icon = _COLOURS.get(one.state, "orange"), _ICONS.get(one.state, "warning")
            last = f" Last run {one.finished:%-d %B %Y, %H:%M} UTC." if one.finished else ""
            badge = f":{colour}-badge[:material/{icon}: {one.state}]"
            st.markdown(f"**{escape(one.category)}** {badge} :small[{escape(one.why + last)}]")


def _planned(found: Overview) -> None:
    if not found.planned:
        st.caption("No job has a time yet. `config.toml` in the knowledge base's folder says how; `kb schedule run` does it.")
    for number, planned in enumerate(found.planned):
        with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
            last = f" Last: {_outcome(planned)}." if planned.outcome else ""
            when = f"Next {planned.next_time:%a %-d %B, %H:%M}."
            st.markdown(f"**kb {escape(shorten(planned.run, 80))}** :small[{escape(when + last)}]", width="content")
            if not resources.read_only():
                st.button(
                    "Run now",
                    icon=":material/play_arrow:",
                    key=f"run {number}",
                    on_click=job_panel.start,
                    args=(f"kb {planned.run}", [["schedule", "run", "--job", planned.run]]),
                )


def _outcome(planned: Planned) -> str:
    return planned.outcome + (f", {planned.started[:16].replace('T', ' ')} UTC" if planned.started else "")


def _runs(runs: Sequence[tuple[Run, Sequence[Skipped]]]) -> None:
    """A line a run; what it left out is behind a click."""
    if not runs:
        st.caption("Nothing was run yet.")
    with st.container(key="runs", gap="xsmall"):
        for run, skipped in runs:
            counts = describe_counts({name: n for name, n in run.counts.items() if n}) or "nothing new"
            colour = "green" if run.outcome == "done" else "orange" if run.outcome == "partial" else "red"
            asked = f" {run.requests:,} requests." if run.requests else ""
            said = f"{counts}.{asked} {shorten(job_panel.with_categories(run.message), 400)}"
            st.markdown(
                f":{colour}-badge[{escape(run.outcome)}] **{escape(run.job)}** {run.started:%-d %b %Y, %H:%M} "
                f":small[{escape(shorten(_short(job_panel.with_categories(run.source)), 80))}: {escape(said)}]"
            )
            if skipped:
                total = run.counts.get("skipped", len(skipped))
                with st.expander(f"{total:,} left out, and why", type="compact"):
                    for one in skipped[:_SKIPPED]:
                        place = f"{_short(one.source)}:{one.line}" if one.line else _short(one.source)
                        st.markdown(f"- {escape(shorten(place, 80))}: {escape(shorten(one.reason, 300))}")
                    if total > _SKIPPED:
                        st.caption(f"and {total - _SKIPPED:,} more")


def _short(source: str) -> str:
    """A file by its name alone, several by theirs."""
    return ", ".join(part.rpartition("/")[2] or part for part in source.split(", "))
