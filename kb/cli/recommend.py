"""`kb recommend`: new papers for a reading list."""

from __future__ import annotations

from datetime import date
from typing import Annotated

import typer

from kb.cli.console import Json, knowledge_base, print_json, say
from kb.cli.console import show as line
from kb.errors import QueryError
from kb.text.latex import to_unicode


def recommend(
    list_name: Annotated[str, typer.Option("--list", help="A reading list; without it, all of them.")] = "",
    since: Annotated[str, typer.Option("--since", help="YYYY-MM-DD; without it, the last 30 days that have papers.")] = "",
    unlike: Annotated[
        list[str] | None, typer.Option("--not", help="Never recommend this paper or papers like it again. May be repeated.")
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, max=200, help="How many papers.")] = 10,
    as_json: Json = False,
) -> None:
    """Recommend new papers close to those on your lists, each with the reason. A paper is recommended on one day only."""
    from kb.api.results import recommendation_as_json

    start = _day(since) if since else None
    with knowledge_base() as base:
        answers = base.recommend(list_name, since=start, not_like=unlike or (), k=k)
    if as_json:
        print_json([recommendation_as_json(answer) for answer in answers])
        return
    if not answers:
        say(f"Nothing new since {start}." if start else "Nothing new in the last 30 days that have papers.")
    for answer in answers:
        paper = answer.hit.paper
        line(f"{answer.hit.rank:>3}  {to_unicode(paper.title)}", "bold")
        line(f"     {paper.published or paper.year or ''}  {paper.id}  {answer.hit.score:.3f}")
        line(f"     {answer.reason}")
        for link in answer.hit.code[:1]:
            line(f"     code: {link.url}")


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise QueryError(f"{text!r} is not a date such as 2025-10-01.") from None
