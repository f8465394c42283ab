"""`kb list …` and `kb lists`: reading lists."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kb.cli.console import Json, knowledge_base, print_json, say
from kb.cli.console import show as line
from kb.errors import QueryError

if TYPE_CHECKING:
    from kb.papers import Skipped

commands = typer.Typer(no_args_is_help=True, help="Make, change and show reading lists.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="A reading list.")]
Ids = Annotated[list[str], typer.Argument(metavar="ID…", help="Ids or addresses of papers.")]
Tags = Annotated[list[str] | None, typer.Option("--tag", help="A tag. May be repeated.")]


@commands.command("new")
def new(
    name: Name, ids: Annotated[list[str] | None, typer.Argument(metavar="[ID…]", help="Ids or addresses of papers.")] = None
) -> None:
    """Make a list, with these papers on it."""
    made = knowledge_base().list_new(name, ids or ())
    say(f"Made the list {name!r} with {made} papers." if ids else f"Made the list {name!r}.")


@commands.command("add")
def add(
    name: Name,
    ids: Ids,
    remark: Annotated[str, typer.Option("--remark", help="A remark on them.")] = "",
    tag: Tags = None,
) -> None:
    """Put papers at the end of a list."""
    done = knowledge_base().list_add(name, ids, remark=remark, tags=tag or ())
    say(f"{done.added} added to {name!r}" + (f", {done.already} were on it already." if done.already else "."))
    for identifier in done.untitled:
        say(f"{identifier} is not in the knowledge base: it is on the list without its title.", "yellow")


@commands.command("remove")
def remove(name: Name, ids: Ids) -> None:
    """Take papers off a list. `kb list undo` brings them back."""
    done = knowledge_base().list_remove(name, ids)
    say(f"{done.removed} taken off {name!r}. Bring back with `kb list undo`.")
    if done.missing:
        raise QueryError(f"{done.missing} of the papers are not on {name!r}.")


@commands.command("delete")
def delete(name: Name) -> None:
    """Delete a list. `kb list undo` brings it back."""
    knowledge_base().list_delete(name)
    say(f"Deleted the list {name!r}. Bring it back with `kb list undo`.")


@commands.command("undo")
def undo() -> None:
    """Undo the last removal."""
    what = knowledge_base().list_undo()
    say(f"Taken back: {what}." if what else "There is nothing to take back.")


@commands.command("mark")
def mark(
    name: Name,
    ids: Ids,
    read: Annotated[bool | None, typer.Option("--read/--unread", help="Whether you have read them.")] = None,
    remark: Annotated[str | None, typer.Option("--remark", help="A remark, in place of the present one.")] = None,
    tag: Tags = None,
    untag: Annotated[list[str] | None, typer.Option("--untag", help="A tag to remove. May be repeated.")] = None,
    place: Annotated[int | None, typer.Option("--place", min=1, help="Move to this place; 1 is the first.")] = None,
) -> None:
    """Mark papers of a list as read or unread; set their remark, tags, place."""
    found = knowledge_base().list_mark(name, ids, read=read, remark=remark, tags=tag or (), untag=untag or (), place=place)
    say(f"{found} marked on {name!r}.")


@commands.command("show")
def show(name: Name, as_json: Json = False) -> None:
    """Show the papers of a list."""
    found = knowledge_base().list_show(name)
    if as_json:
        from kb.api.results import list_as_json

        print_json(list_as_json(found))
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
    """Put the papers of a bibliography on a list, which is made if there is none of that name."""
    done = knowledge_base().list_import(name, file)
    if as_json:
        print_json(done.as_json())
    else:
        say(f"{done.added} added to {name!r}, {done.already} were on it already, {len(done.skipped)} skipped.")
        _tell_skipped(done.skipped)
        for notice in done.notices:
            say(f"  {notice}", "yellow")
    if done.skipped:
        raise typer.Exit(1)


def lists(as_json: Json = False) -> None:
    """List the reading lists."""
    found = knowledge_base().lists()
    if as_json:
        print_json([{"name": x.name, "created": x.created.isoformat(), "papers": x.papers, "unread": x.unread} for x in found])
        return
    if not found:
        say("There is no list yet. Make one: `kb list new NAME`.")
    for summary in found:
        line(f"{summary.name}  {summary.papers} papers, {summary.unread} unread")


def _tell_skipped(skipped: Sequence[Skipped]) -> None:
    for item in skipped[:20]:
        say(f"  skipped {item.source}:{item.line}: {item.reason}", "yellow")
    if len(skipped) > 20:
        say(f"  … and {len(skipped) - 20} more: `--json` lists them all", "yellow")
