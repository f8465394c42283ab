"""`kb recommend`: new papers for a reading list."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Annotated

import typer

from kb.cli.console import Json, choices, home, library, print_json, say
from kb.cli.console import show as line
from kb.errors import QueryError
from kb.identifiers import paper_id


def recommend(
    list_name: Annotated[str, typer.Option("--list", help="A reading list; without it, all of them.")] = "",
    since: Annotated[str, typer.Option("--since", help="YYYY-MM-DD; without it, the last 30 days that have papers.")] = "",
    unlike: Annotated[
        list[str] | None, typer.Option("--not", help="Never recommend this paper or its like again. May be repeated.")
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, max=200, help="How many papers.")] = 10,
    as_json: Json = False,
) -> None:
    """New papers, ranked by what is on your lists, each with the reason; none is recommended on two days."""
    from kb.library.recommend import recommend_for
    from kb.search.searcher import Searcher

    choices().dismiss([paper_id(identifier) for identifier in unlike or ()])
    start, today = _day(since) if since else None, datetime.now(UTC).date()
    with Searcher.open(home()) as searcher:
        answers = recommend_for(searcher, library(), choices(), list_name, start, k, today=today)
    if as_json:
        rows = [
            answer.hit.as_json() | {"reason": answer.reason, "close_to": [paper.id for paper in answer.close_to]}
            for answer in answers
        ]
        print_json(rows)
        return
    if not answers:
        say(f"Nothing new since {start}." if start else "Nothing new in the last 30 days that have papers.")
    for answer in answers:
        paper = answer.hit.paper
        line(f"{answer.hit.rank:>3}  {paper.title}", "bold")
        line(f"     {paper.published or paper.year or ''}  {paper.id}  {answer.hit.score:.3f}")
        line(f"     {answer.reason}")
        for link in answer.hit.code[:1]:
            line(f"     code: {link.url}")


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise QueryError(f"{text!r} is no date, such as 2025-10-01.") from None
