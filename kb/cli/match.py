"""`kb match`: notes without a title, and the papers that they may be about."""

from __future__ import annotations

from typing import Annotated

import typer

from kb.cli.console import Json, home, print_json, say
from kb.cli.console import show as line
from kb.errors import QueryError
from kb.identifiers import paper_id

_PHRASES = {
    "made": "is about ({:.0%} sure)",
    "offered": "may be about ({:.0%} sure)",
    "accepted": "is about, as you said,",
    "refused": "is about none of those offered, as you said",
}


def match(
    note: Annotated[str, typer.Argument(metavar="[NOTE]", help="A note's id, as `kb match` lists it.")] = "",
    paper: Annotated[str, typer.Argument(metavar="[PAPER]", help="Its paper's id or address, or none.")] = "",
    as_json: Json = False,
) -> None:
    """List the notes without a title and what they may be about; or say which paper a note is about."""
    if note:
        _decide(note, paper)
        return
    generation = home().open()
    try:
        catalogue = generation.catalogue
        notes, matches = catalogue.notes.untitled(), catalogue.notes.matches()
        keys = {m.paper_id: catalogue.key_of(m.paper_id) for m in matches if m.paper_id}
        papers = catalogue.papers([key for key in keys.values() if key is not None])
    finally:
        generation.close()
    titles = {identifier: papers[key].title if key is not None else "" for identifier, key in keys.items()}
    if as_json:
        print_json(
            [
                {
                    "id": n.id,
                    "source": n.source,
                    "line": n.line,
                    "authors": n.authors,
                    "text": n.text,
                    "matches": [
                        {
                            "id": m.paper_id,
                            "title": titles.get(m.paper_id, ""),
                            "confidence": m.confidence,
                            "standing": m.status,
                        }
                        for m in matches
                        if m.note_id == n.id
                    ],
                }
                for n in notes
            ]
        )
        return
    if not notes:
        say("Every note has a title or a link.")
    for n in notes:
        line(f"{n.id}  by {', '.join(n.authors) or 'unknown authors'}", "bold")
        line(f"     {n.source}:{n.line}")
        line(f"     “{n.text[:100]}…”")
        found = [m for m in matches if m.note_id == n.id]
        for m in found:
            line(f"     {_PHRASES[m.status].format(m.confidence)} {titles.get(m.paper_id, '')}  {m.paper_id}".rstrip())
        if not found:
            line("     no paper in the knowledge base is like it")


def tell_offers() -> None:
    """Says on stderr where untitled notes wait for the user's word."""
    generation = home().open()
    try:
        offered = {m.note_id for m in generation.catalogue.notes.matches() if m.status == "offered"}
    finally:
        generation.close()
    if offered:
        say(f"{len(offered)} notes without a title may be about papers that are here: `kb match` lists them.", "yellow")


def _decide(note: str, paper: str) -> None:
    from ingest.jobs.run import run_match

    if not paper:
        raise QueryError(f"Say which paper the note is about: `kb match {note} ID`, or `kb match {note} none`.")
    generation = home().open()
    try:
        catalogue = generation.catalogue
        wanted = note if note.startswith("url:") else f"url:note:{note}"
        if wanted not in {n.id for n in catalogue.notes.untitled()}:
            raise QueryError(f"There is no note {note!r} without a title; `kb match` lists them.")
        identifier = "" if paper == "none" else paper_id(paper)
        if identifier and (key := catalogue.key_of(identifier)) is None:
            raise QueryError(f"{paper} is not in the knowledge base. Ingest it first: `kb ingest arxiv --id {paper}`.")
        if identifier and key is not None:
            identifier = catalogue.papers([key])[key].id
    finally:
        generation.close()
    if identifier == wanted:
        raise QueryError("That is the note itself; name the paper that it is about.")
    run_match(home(), wanted, identifier)
    say(f"Noted: {wanted} is about {identifier or 'none of the papers offered'}.")
