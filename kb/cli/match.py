"""`kb match`: notes without a title, and the papers that they may be about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from kb.cli.console import Json, knowledge_base, print_json, say
from kb.cli.console import show as line
from kb.errors import QueryError
from kb.text.latex import to_unicode

if TYPE_CHECKING:
    from kb.api.results import UntitledNoteMatches

_PHRASES = {
    "made": "is about ({:.0%} sure)",
    "offered": "may be about ({:.0%} sure)",
    "accepted": "is about, as you said,",
    "refused": "is about none of those offered, as you said",
}


def match(
    note: Annotated[str, typer.Argument(metavar="[NOTE]", help="The id of a note, as `kb match` lists it.")] = "",
    paper: Annotated[str, typer.Argument(metavar="[PAPER]", help="The id or address of its paper, or `none`.")] = "",
    as_json: Json = False,
) -> None:
    """List notes without a title and the papers they may be about; or say which paper a note is about."""
    base = knowledge_base()
    if note:
        if not paper:
            raise QueryError(f"Say which paper the note is about: `kb match {note} ID`, or `kb match {note} none`.")
        note_id, identifier = base.match_note(note, paper)
        say(f"Noted: {note_id} is about {identifier or 'none of the papers offered'}.")
        return
    found = base.match()
    if as_json:
        print_json([note.as_json() for note in found])
        return
    if not found:
        say("Every note has a title or a link.")
    for untitled in found:
        _print(untitled)


def _print(found: UntitledNoteMatches) -> None:
    note = found.note
    line(f"{note.id}  by {', '.join(note.authors) or 'unknown authors'}", "bold")
    line(f"     {note.source}:{note.line}")
    line(f"     “{note.text[:100]}…”")
    for paper in found.papers:
        phrase = _PHRASES[paper.match.status].format(paper.match.confidence)
        line(f"     {phrase} {to_unicode(paper.title)}  {paper.match.paper_id}".rstrip())
    if not found.papers:
        line("     no paper in the knowledge base is like it")


def tell_notes_to_match(number: int) -> None:
    """Say on stderr how many untitled notes wait for the user's decision."""
    if number:
        say(f"{number} notes without a title may be about papers that are here: `kb match` lists them.", "yellow")
