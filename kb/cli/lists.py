"""`kb list …` and `kb lists`: the user's reading lists."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kb.cli.console import Json, choices, home, library, print_json, say
from kb.cli.console import show as line
from kb.errors import QueryError
from kb.identifiers import paper_id, paper_url
from kb.library import Entry, ReadingList, resolve_entries
from kb.papers import Skipped

if TYPE_CHECKING:
    from kb.formats.read import Bibliography

commands = typer.Typer(no_args_is_help=True, help="Reading lists.")

Name = Annotated[str, typer.Argument(metavar="NAME")]
Ids = Annotated[list[str], typer.Argument(metavar="ID…", help="Ids or addresses of papers.")]
Tags = Annotated[list[str] | None, typer.Option("--tag", help="May be repeated.")]


@commands.command("new")
def new(name: Name, ids: Annotated[list[str] | None, typer.Argument(metavar="[ID…]")] = None) -> None:
    """Make a list, with these papers on it if any are given."""
    entries = _resolve_entries([Entry(paper_id(i), "") for i in ids or ()])
    made = library().create(name, entries)
    say(f"Made the list {name!r} with {made} papers." if entries else f"Made the list {name!r}.")


@commands.command("add")
def add(
    name: Name,
    ids: Ids,
    remark: Annotated[str, typer.Option("--remark", help="What to say of them.")] = "",
    tag: Tags = None,
) -> None:
    """Put papers at the end of a list."""
    entries = _resolve_entries([Entry(paper_id(i), "", remark=remark, tags=tuple(tag or ())) for i in ids])
    added = library().add(name, entries)
    say(f"{added} added to {name!r}" + (f", {len(entries) - added} were on it already." if added < len(entries) else "."))
    for entry in entries:
        if entry.title == entry.paper_id:
            say(f"{entry.paper_id} is not in the knowledge base: it is on the list without its title.", "yellow")


@commands.command("remove")
def remove(name: Name, ids: Ids) -> None:
    """Take papers off a list; `kb list undo` brings them back."""
    wanted = list(dict.fromkeys(e.paper_id for e in _resolve_entries([Entry(paper_id(i), "") for i in ids])))
    removed = library().remove(name, [*dict.fromkeys([*wanted, *map(paper_id, ids)])])
    say(f"{removed} taken off {name!r}. Bring back with `kb list undo`.")
    if removed < len(wanted):
        raise QueryError(f"{len(wanted) - removed} of the papers are not on {name!r}.")


@commands.command("delete")
def delete(name: Name) -> None:
    """Delete a list; `kb list undo` brings it back."""
    library().delete(name)
    say(f"Deleted the list {name!r}. Bring it back with `kb list undo`.")


@commands.command("undo")
def undo() -> None:
    """Take back the last removal."""
    what = library().undo()
    say(f"Taken back: {what}." if what else "There is nothing to take back.")


@commands.command("mark")
def mark(
    name: Name,
    ids: Ids,
    read: Annotated[bool | None, typer.Option("--read/--unread")] = None,
    remark: Annotated[str | None, typer.Option("--remark", help="In place of what was said of them.")] = None,
    tag: Tags = None,
    untag: Annotated[list[str] | None, typer.Option("--untag", help="May be repeated.")] = None,
    place: Annotated[int | None, typer.Option("--place", min=1, help="Move to this place; 1 is the first.")] = None,
) -> None:
    """Note that papers of a list were read, what to say of them, their tags, their place."""
    if place is not None and len(ids) != 1:
        raise QueryError("--place takes one paper.")
    found = library().mark(name, ids, read=read, remark=remark, tags=tag or (), untag=untag or ())
    if found < len(set(map(paper_id, ids))):
        raise QueryError(f"Only {found} of the papers are on {name!r}: see `kb list show {name!r}`.")
    if place is not None:
        library().move(name, ids[0], place)
    say(f"{found} marked on {name!r}.")


@commands.command("show")
def show(name: Name, as_json: Json = False) -> None:
    """The papers of a list."""
    found = library().read_list(name)
    if as_json:
        print_json(list_json(found))
        return
    for place, entry in enumerate(found.entries, start=1):
        line(f"{place:>3}  {entry.title}", "" if entry.read else "bold")
        authors = ", ".join(a.name for a in entry.authors[:3]) + (" et al." if len(entry.authors) > 3 else "")
        facts = [
            authors,
            str(entry.year or ""),
            entry.paper_id,
            "read" if entry.read else "",
            " ".join(f"#{t}" for t in entry.tags),
        ]
        line("     " + "  ".join(filter(None, facts)))
        if entry.remark:
            line("     " + " ".join(entry.remark.split()))


@commands.command("import")
def import_file(
    name: Name,
    file: Annotated[Path, typer.Argument(help="BibTeX, RIS, CSL-JSON or CSV, as Zotero exports them; or a Markdown list.")],
    as_json: Json = False,
) -> None:
    """Put the papers of a bibliography on a list, which is made where there is none."""
    from kb.formats.read import add_to_list, read_bibliography

    found = _read_markdown(file) if file.suffix.lower() in {".md", ".markdown"} else read_bibliography(file)
    place = home()
    generation = place.open() if place.exists() else None
    try:
        added = add_to_list(found, name, library(), choices(), generation.catalogue if generation else None)
    finally:
        if generation:
            generation.close()
    already = len(found.entries) - added
    if as_json:
        rows = [{"source": s.source, "line": s.line, "reason": s.reason} for s in found.skipped]
        print_json({"added": added, "already": already, "skipped": rows})
    else:
        say(f"{added} added to {name!r}, {already} were on it already, {len(found.skipped)} skipped.")
        _tell_skipped(found.skipped)
    if found.skipped:
        raise typer.Exit(1)


def lists(as_json: Json = False) -> None:
    """Every reading list."""
    found = library().lists()
    if as_json:
        print_json([{"name": x.name, "created": x.created.isoformat(), "papers": x.papers, "unread": x.unread} for x in found])
        return
    if not found:
        say("There is no list yet. Make one: `kb list new NAME`.")
    for summary in found:
        line(f"{summary.name}  {summary.papers} papers, {summary.unread} unread")


def list_json(found: ReadingList) -> dict[str, Any]:
    """A list in the form that `--json` prints."""
    return {
        "name": found.name,
        "created": found.created.isoformat(),
        "papers": [
            {
                "id": e.paper_id,
                "title": e.title,
                "authors": [a.name for a in e.authors],
                "year": e.year,
                "url": paper_url(e.paper_id),
                "remark": e.remark,
                "tags": list(e.tags),
                "added": e.added and e.added.isoformat(),
                "read": e.read and e.read.isoformat(),
            }
            for e in found.entries
        ],
    }


def _resolve_entries(entries: Sequence[Entry]) -> list[Entry]:
    """The entries as the catalogue knows them, if there is one."""
    place = home()
    if not place.exists():
        return resolve_entries(entries, None)
    generation = place.open()
    try:
        return resolve_entries(entries, generation.catalogue)
    finally:
        generation.close()


def _read_markdown(file: Path) -> Bibliography:
    from ingest.notes import read_document
    from kb.formats.markdown import entry_of_note
    from kb.formats.read import Bibliography

    document = read_document(file)
    return Bibliography(tuple(entry_of_note(note) for note in document.notes), (), document.skipped)


def _tell_skipped(skipped: Sequence[Skipped]) -> None:
    for item in skipped[:20]:
        say(f"  skipped {item.source}:{item.line}: {item.reason}", "yellow")
    if len(skipped) > 20:
        say(f"  … and {len(skipped) - 20} more: `--json` lists them all", "yellow")
