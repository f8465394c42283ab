"""Background job panel: progress, log and a stop button."""

from __future__ import annotations

import re
from collections.abc import Sequence

import streamlit as st

from app import resources
from app.widgets.markdown import escape, message
from kb.errors import KnowledgeBaseError
from kb.jobs.background import Background, Job
from kb.progress import ProgressState

_SET = re.compile(r"\b([a-z-]+):\1:([A-Za-z-]+)\b")
_STARTED_HERE = "job started here"


def with_categories(text: str) -> str:
    """The text with arXiv's sets by the names of their categories: `cs:cs:CL` is cs.CL."""
    return _SET.sub(r"\1.\2", text)


def start(title: str, commands: Sequence[Sequence[str]]) -> None:
    """Start commands of `kb` apart from the app; a job that runs already is told instead."""
    try:
        Background(resources.home()).start(title, commands)
        st.session_state[_STARTED_HERE] = True
    except KnowledgeBaseError as error:
        st.error(message(error), icon=":material/error:")


def show() -> bool:
    """The job that runs, or how the one ended that this visitor started; tells whether one runs."""
    background = Background(resources.home())
    if background.running():
        _running()
        return True
    job = background.last()
    if job and st.session_state.get(_STARTED_HERE):
        _ended(job, background.log())
    return False


@st.fragment(run_every=1.0)
def _running() -> None:
    """By itself, once a second; the page around it is run again when the job has ended."""
    background = Background(resources.home())
    job = background.last()
    if job is None or not background.running():
        st.rerun(scope="app")
    state = background.progress()
    with st.container(border=True, key="job"):
        with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
            st.markdown(f":material/hourglass_top: **{escape(job.title)}**", width="content")
            if not resources.read_only():
                st.button("Stop", icon=":material/stop_circle:", key="stop job", on_click=background.stop, width="content")
        if state is None:
            st.markdown("Starting …")
        else:
            _show_progress(state)
        if log := background.log():
            st.code(with_categories(log), language=None, wrap_lines=True, height=120)


def _show_progress(state: ProgressState) -> None:
    """How far the task is, with a bar where it is known how much there is; and what it waits for."""
    share = state.share
    if share is None:
        done = f"{state.done:,} {state.unit}" if state.done else "nothing yet"
    else:
        done = f"{share:.0%}" if state.unit == "B" else f"{state.done:,} of {state.total:,} {state.unit}"
    told = escape(f"{with_categories(state.task)}: {done}" + (f", {state.rate}" if state.rate else ""))
    if share is None:
        st.markdown(told)
    else:
        st.progress(share, told)
    if state.wait:
        st.warning(f"{escape(with_categories(state.wait))}.", icon=":material/hourglass_top:")


def _ended(job: Job, log: str) -> None:
    if job.stopped:
        st.info(f"{escape(job.title)}: stopped. What was published before stays.", icon=":material/stop_circle:")
    elif not job.finished:
        st.error(f"{escape(job.title)}: killed before its end. Start it again.", icon=":material/error:")
    elif job.exit_code:
        st.warning(f"{escape(job.title)}: ended with something left out or gone wrong; it says what.", icon=":material/warning:")
    else:
        st.success(f"{escape(job.title)}: done.", icon=":material/check_circle:")
    if log:
        with st.expander("What it said", expanded=bool(job.exit_code) and not job.stopped, type="compact"):
            st.code(with_categories(log), language=None, wrap_lines=True)
