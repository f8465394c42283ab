"""Reading lists page: create, order, annotate, export and import lists."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import streamlit as st

from app import navigation, resources
from app.widgets import actions, cards, changes, client, layout
from app.widgets.markdown import escape, message, shorten, with_math
from app.widgets.note_markdown import note_markdown
from kb.errors import QueryError
from kb.formats import WRITERS, references_of
from kb.formats.read import add_to_list, parse_bibliography
from kb.library import Entry, ReadingList
from kb.library.recommend import Recommendation, recommend_for
from kb.papers import Card, Paper
from kb.search.searcher import Hit
from kb.text.plurals import pluralize

_PAGE = 20  # papers
_WORTH_FILTERING = 4  # papers from which on a list can be filtered and sorted
_ORDERS: dict[str, Callable[[Entry], Any] | None] = {
    "My order": None,
    "Title": lambda entry: entry.title.casefold(),
    "Newest": lambda entry: -(entry.year or 0),
    "Last added": lambda entry: -entry.added.timestamp() if entry.added else 0.0,
    "Unread first": lambda entry: entry.read is not None,
}
#: What each format is for, the ending of its files, and their media type.
_FORMATS = {
    "bibtex": ("BibTeX", "bib", "application/x-bibtex"),
    "ris": ("RIS, for Zotero and EndNote", "ris", "application/x-research-info-systems"),
    "csl-json": ("CSL-JSON, for pandoc", "json", "application/json"),
    "csv": ("CSV, for spreadsheets", "csv", "text/csv"),
    "markdown": ("Markdown", "md", "text/markdown"),
    "obsidian": ("Markdown for Obsidian", "md", "text/markdown"),
    "atom": ("Atom feed", "xml", "application/atom+xml"),
}


def show() -> None:
    """The whole page, for the list named in the address, or the first one."""
    library = resources.library()
    names = [summary.name for summary in library.lists()]
    with layout.column():
        changes.tell()
        if not names:
            st.markdown("There is no reading list yet. Name the first one here, or put a paper on one from the search page.")
        chosen = _choose(names)
        changes.undo_button()
        if not chosen:
            layout.title(navigation.LISTS.title, shown=False)
            return
        found = library.read_list(chosen)
        _head(found)
        if found.entries:
            _entries(found)
            if not resources.read_only():
                _recommended(found)
        else:
            st.info("This list is empty. Find a paper, and choose “Add to list” below it.", icon=":material/bookmark_add:")


def _choose(names: Sequence[str]) -> str:
    """The list that the address names, and what makes new ones."""
    wanted = st.query_params.get("name", "")
    chosen = next((name for name in names if name.casefold() == wanted.casefold()), "")
    if wanted and not chosen:
        st.warning(f"There is no list “{escape(shorten(wanted, 100))}” any more.", icon=":material/bookmark_remove:")
    chosen = chosen or (names[0] if names else "")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if names:
            st.session_state["chosen"] = chosen
            st.selectbox(
                "Reading list",
                names,
                key="chosen",
                width=480,
                label_visibility="collapsed",
                on_change=lambda: _open(st.session_state["chosen"]),
            )
        if not resources.read_only():
            with st.popover("New list", icon=":material/add:"):
                st.text_input("Name", key="new name", placeholder="Name, then Enter", on_change=_create)
            with st.popover("Import", icon=":material/upload:"):
                _import(chosen)
    return chosen


def _open(name: str) -> None:
    st.query_params.from_dict({"name": name})


def _create() -> None:
    name = st.session_state["new name"]
    st.session_state["new name"] = ""

    def create() -> None:
        resources.library().create(name)
        _open(" ".join(name.split()))

    changes.make(create, f"made the list ‘{name}’", partial(resources.library().delete, name))


# The list as a whole ------------------------------------------------------------------------------------------------------


def _head(found: ReadingList) -> None:
    unread = sum(1 for entry in found.entries if entry.read is None)
    layout.title(found.name)
    st.caption(f"{pluralize(len(found.entries), 'paper')} · {unread:,} unread · since {found.created:%-d %b %Y}")
    with st.container(horizontal=True):
        _export(found)
        if resources.read_only():
            return
        with st.popover("Rename", icon=":material/edit:"):
            key = f"rename {found.name}"
            st.text_input("New name", found.name, key=key, on_change=_rename, args=(found.name, key))
        delete = partial(changes.make, partial(resources.library().delete, found.name))
        st.button("Delete list", icon=":material/delete:", key="delete", on_click=delete)


def _rename(name: str, key: str) -> None:
    new_name = st.session_state[key]

    def rename() -> None:
        resources.library().rename(name, new_name)
        _open(" ".join(new_name.split()))

    def revert() -> None:
        resources.library().rename(new_name, name)
        _open(name)

    changes.make(rename, f"renamed ‘{name}’", revert)


def _export(found: ReadingList) -> None:
    drawer = st.popover("Export", icon=":material/download:", key="export", on_change="rerun", disabled=not found.entries)
    if not drawer.open:
        return
    make = partial(references_of, found, choices=resources.choices(), remember=not resources.read_only())
    if resources.home().exists():
        with resources.searcher() as searcher:
            references = make(catalogue=searcher.catalogue)
    else:
        references = make(catalogue=None)
    file = re.sub(r"[^\w-]+", "-", found.name).strip("-") or "list"
    with drawer:
        for form, (label, ending, media) in _FORMATS.items():
            data = WRITERS[form](found.name, references).encode("utf-8", "replace")
            st.download_button(label, data, f"{file}.{ending}", media, key=f"export {form}", on_click="ignore", type="tertiary")


def _import(chosen: str) -> None:
    with st.form("import", border=False, clear_on_submit=True):
        file = st.file_uploader("BibTeX, RIS, CSL-JSON or CSV, as Zotero exports them", key="file")
        name = st.text_input("Onto the list", chosen, placeholder="A new name makes a new list")
        if not st.form_submit_button("Import") or file is None or not name.strip():
            return
    changes.make(lambda: _import_file(file.getvalue(), file.name, name))
    st.rerun()


def _import_file(data: bytes, source: str, name: str) -> None:
    found = parse_bibliography(data, shorten(source, 80))
    if resources.home().exists():
        with resources.searcher() as searcher:
            done = add_to_list(found, name, resources.library(), resources.choices(), searcher.catalogue)
    else:
        done = add_to_list(found, name, resources.library(), resources.choices(), None)
    already = len(found.entries) - done.added
    told = [f"{pluralize(done.added, 'paper')} added", f"{already} on the list already" if already else ""]
    told += [f"{len(found.skipped)} skipped" if found.skipped else ""]
    lines = [f"- line {item.line}: {escape(shorten(item.reason, 200))}" for item in found.skipped[:20]]
    lines += [f"- {escape(shorten(notice, 200))}" for notice in done.notices[:20]]
    report = "\n".join([", ".join(t for t in told if t) + ".", "", *lines])
    changes.succeeded(report)
    _open(" ".join(name.split()))


# Its papers -----------------------------------------------------------------------------------------------------------------


def _entries(found: ReadingList) -> None:
    chosen = _filtered(found)
    if not chosen:
        st.caption("No paper of this list passes the filter.")
        return
    if not resources.read_only():
        _several(found, [entry for _, entry in chosen])
    pages = -(-len(chosen) // _PAGE)
    # Above the papers it is drawn below: its value is needed first.
    papers, below = st.container(key="entries"), st.container(horizontal_alignment="center")
    with below:
        number = st.pagination(pages, key=f"page of {found.name}", on_change=client.turned) if pages > 1 else 1
    first = (min(number, pages) - 1) * _PAGE
    shown = chosen[first : first + _PAGE]
    known = resources.cards([entry.paper_id for _, entry in shown])
    with papers:
        for place, entry in shown:
            with st.container(border=True, gap=None, key=f"card-{entry.paper_id}"):
                _entry(found, entry, place, known.get(entry.paper_id))


def _filtered(found: ReadingList) -> list[tuple[int, Entry]]:
    """The entries that are asked for, in the order that is asked for, each with its place in the list."""
    placed = list(enumerate(found.entries, start=1))
    if len(placed) < _WORTH_FILTERING:
        return placed
    tags = sorted({tag for entry in found.entries for tag in entry.tags})
    with st.container(horizontal=True, vertical_alignment="center", key="list-filter"):
        text = st.text_input(
            "Filter",
            key=f"filter {found.name}",
            placeholder="Words of titles, authors, remarks …",
            width=300,
            label_visibility="collapsed",
        )
        tag = (
            st.selectbox(
                "Tag", tags, index=None, placeholder="Any tag", key=f"tag {found.name}", width=160, label_visibility="collapsed"
            )
            if tags
            else None
        )
        order = st.selectbox("Order", list(_ORDERS), key=f"order {found.name}", width=160, label_visibility="collapsed")
        unread = st.toggle("Unread only", key=f"unread {found.name}")
    words = text.casefold().split()
    passing = [
        (place, entry)
        for place, entry in placed
        if (tag is None or tag in entry.tags)
        and not (unread and entry.read)
        and all(word in f"{entry.title} {' '.join(a.name for a in entry.authors)} {entry.remark}".casefold() for word in words)
    ]
    key = _ORDERS[order]
    return sorted(passing, key=lambda row: key(row[1])) if key else passing


def _several(found: ReadingList, entries: Sequence[Entry]) -> None:
    """What is done with several papers at once."""
    titles = {entry.paper_id: entry.title for entry in entries}
    library, key = resources.library(), f"several {found.name}"
    with st.expander("Several at once", type="compact"):
        chosen = st.multiselect(
            "Papers", list(titles), format_func=lambda at: escape(shorten(titles[at], 80)), key=key, placeholder="Choose papers …"
        )
        with st.container(horizontal=True):
            for words, read in (("Mark as read", True), ("Mark as unread", False)):
                st.button(
                    words,
                    disabled=not chosen,
                    on_click=partial(
                        changes.make,
                        partial(library.mark, found.name, chosen, read=read),
                        f"marked {len(chosen)} as {'read' if read else 'unread'}",
                        partial(
                            library.mark,
                            found.name,
                            [e.paper_id for e in entries if e.paper_id in chosen and bool(e.read) != read],
                            read=not read,
                        ),
                    ),
                )
            gone = {at: titles[at] for at in chosen}
            st.button("Take off", disabled=not chosen, on_click=partial(changes.remove, found.name, gone), key="take off")


def _entry(found: ReadingList, entry: Entry, place: int, known: Card | None) -> None:
    paper = known.paper if known else Paper(entry.paper_id, entry.title, authors=entry.authors, year=entry.year, origin="notes")
    hit = Hit(place, paper, 0.0, {}, known.code if known else (), ())
    tags = " ".join(f":gray-badge[{escape(shorten(tag, 40))}]" for tag in entry.tags)
    lines = [f":gray[{place}.] {cards.title_link(paper)}", f":small[{cards.authors(paper, 8)}]", f"{cards.facts(hit)} {tags}"]
    st.markdown("  \n".join(lines))
    if entry.remark:
        st.markdown(note_markdown(entry.remark), anchors=False)
    if not resources.read_only():
        _change_entry(found, entry, place, paper)
    if paper.abstract:
        with st.expander("Abstract", type="compact"):
            st.markdown(with_math(paper.abstract, links=True))


def _change_entry(found: ReadingList, entry: Entry, place: int, paper: Paper) -> None:
    library, at = resources.library(), entry.paper_id
    with st.container(horizontal=True, gap="small", vertical_alignment="center", key=f"change-{at}"):
        key = f"read {found.name} {at}"
        st.session_state[key] = entry.read is not None

        def mark() -> None:
            read = st.session_state[key]
            words = f"marked ‘{entry.title}’ as {'read' if read else 'unread'}"
            changes.make(
                partial(library.mark, found.name, [at], read=read), words, partial(library.mark, found.name, [at], read=not read)
            )

        st.checkbox("Read", key=key, on_change=mark)
        for icon, words, target in (("arrow_upward", "Up", place - 1), ("arrow_downward", "Down", place + 1)):
            st.button(
                words,
                icon=f":material/{icon}:",
                type="tertiary",
                key=f"{icon} {at}",
                disabled=not 1 <= target <= len(found.entries),
                on_click=partial(
                    changes.make,
                    partial(library.move, found.name, at, target),
                    f"moved ‘{entry.title}’",
                    partial(library.move, found.name, at, place),
                ),
            )
        _edit(found, entry, place)
        remove = partial(changes.remove, found.name, {at: entry.title})
        st.button("Remove", icon=":material/close:", type="tertiary", key=f"remove {at}", on_click=remove)
        actions.keep_and_cite(paper, shown_on=found.name)


def _edit(found: ReadingList, entry: Entry, place: int) -> None:
    key = f"edit {entry.paper_id}"
    drawer = st.popover("Edit", icon=":material/edit_note:", type="tertiary", key=key, on_change="rerun")
    if not drawer.open:
        return
    remark, tags, target = (f"{field} {entry.paper_id}" for field in ("remark", "tags", "place"))
    library, at = resources.library(), entry.paper_id

    def save() -> None:
        state = st.session_state
        wanted = {tag.strip("#,") for tag in state[tags].split()} - {""}
        library.mark(found.name, [at], remark=state[remark], tags=wanted, untag=set(entry.tags) - wanted)
        if state[target] != place:
            library.move(found.name, at, state[target])
        state[key] = False  # closes the drawer

    def revert() -> None:
        now = next((e for e in library.read_list(found.name).entries if e.paper_id == at), entry)
        library.mark(found.name, [at], remark=entry.remark, tags=entry.tags, untag=set(now.tags) - set(entry.tags))
        library.move(found.name, at, place)

    with drawer, st.form(f"form {at}", border=False):
        st.text_area("Remark", entry.remark, key=remark, height=90)
        st.text_input("Tags", " ".join(entry.tags), key=tags, placeholder="With blanks between them")
        st.number_input("Place", 1, len(found.entries), place, key=target)
        st.form_submit_button("Save", type="primary", on_click=partial(changes.make, save, f"edited ‘{entry.title}’", revert))


# What to read next ----------------------------------------------------------------------------------------------------------


def _recommended(found: ReadingList) -> None:
    layout.heading("Recommended for this list")
    state = f"recommended {found.name}"
    if st.button("Find new papers", icon=":material/recommend:", disabled=not resources.home().exists()):
        with st.spinner("Comparing new papers with the list …"), resources.searcher() as searcher:
            try:
                st.session_state[state] = recommend_for(
                    searcher, resources.library(), resources.choices(), found.name, today=datetime.now(UTC).date()
                )
            except QueryError as error:
                st.error(message(error), icon=":material/error:")
                return
    answers: Sequence[Recommendation] | None = st.session_state.get(state)
    if answers is None:
        st.caption("Of the last thirty days that have papers; each with its reason, and none twice.")
        return
    settled = {entry.paper_id for entry in found.entries} | set(resources.choices().dismissed())
    waiting = [answer for answer in answers if answer.hit.paper.id not in settled]
    if not waiting:
        st.info("Nothing new is close to this list.", icon=":material/done_all:")
    for answer in waiting:
        _recommendation(found, answer)


def _recommendation(found: ReadingList, answer: Recommendation) -> None:
    paper = answer.hit.paper
    with st.container(border=True, gap="xsmall"):
        st.markdown(f"{cards.title_link(paper)}  \n{cards.facts(answer.hit)}  \n:small[{escape(answer.reason)}]")
        with st.container(horizontal=True, gap="small"):
            library = resources.library()
            add = partial(
                changes.make,
                partial(library.add, found.name, [Entry.of(paper)]),
                f"added ‘{paper.title}’",
                partial(library.remove, found.name, [paper.id]),
            )
            st.button("Add to this list", icon=":material/bookmark_add:", type="tertiary", key=f"add {paper.id}", on_click=add)
            dismiss = partial(changes.make, partial(resources.choices().dismiss, [paper.id]))
            st.button("Not for me", icon=":material/block:", type="tertiary", key=f"dismiss {paper.id}", on_click=dismiss)
