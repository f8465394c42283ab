"""`kb search`, `kb like` and `kb show`: queries."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from typer.core import TyperCommand

from kb.cli.console import Json, knowledge_base, print_json, say
from kb.cli.console import show as line
from kb.search.query_syntax import Sort
from kb.text.facets import Facet
from kb.text.latex import to_unicode

if TYPE_CHECKING:
    from kb.api.results import PaperDetails
    from kb.search.searcher import Hit

K = Annotated[int, typer.Option("-k", min=1, max=1000, help="How many papers.")]
Category = Annotated[list[str] | None, typer.Option("--category", help="Such as cs.CL, or cs for all of cs. May be repeated.")]
AuthorName = Annotated[str, typer.Option("--author", help="Part of an author's name.")]
Year = Annotated[str, typer.Option("--year", help="2019, 2019..2023, 2019.. or ..2023.")]
HasCode = Annotated[bool, typer.Option("--has-code", help="Only papers with a repository.")]
Source = Annotated[
    str, typer.Option("--source", help="notes or arxiv: only papers that your notes name, or that arXiv described.")
]
FacetName = Annotated[Facet | None, typer.Option("--facet", help="Compare papers in this respect only; slower.")]
Hops = Annotated[int, typer.Option("--hops", min=1, max=2, help="2: search again, near to the best papers found.")]
ListName = Annotated[str, typer.Option("--list", help="Only papers of this reading list.")]
SortOrder = Annotated[
    Sort, typer.Option("--sort", help="The order of the papers found: by relevance, date (newest first) or stars of their code.")
]
# A word to exclude, `-survey`: no option, which has two hyphens or is -k with a number.
_EXCLUDED_WORD = re.compile(r"-(?!k\d+$)(?=\d*[^\W\d_])\w.+", re.DOTALL)


class QueryCommand(TyperCommand):
    """A command whose argument may begin with a hyphen: a word to exclude, as in `-survey`."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Parse the arguments; words to exclude are no options."""
        # What begins with a blank is no option for click.
        return super().parse_args(ctx, [f" {arg}" if _EXCLUDED_WORD.fullmatch(arg) else arg for arg in args])


def search(
    text: Annotated[
        str,
        typer.Argument(
            help="A phrase, an abstract, a title, an id or an address. Operators restrict the results: "
            '"exact phrase", -word, author:NAME, year:2019..2023, title:WORD, category:cs.CL, code:yes.'
        ),
    ],
    k: K = 10,
    category: Category = None,
    author: AuthorName = "",
    year: Year = "",
    has_code: HasCode = False,
    source: Source = "",
    list_name: ListName = "",
    facet: FacetName = None,
    hops: Hops = 1,
    sort: SortOrder = "relevance",
    as_json: Json = False,
) -> None:
    """Find papers by what they are about."""
    with knowledge_base() as base:
        if understood := base.parse_query(text).conditions.describe():
            say(f"Understood as: {' · '.join(understood)}")
        elif (corrected := base.correct_spelling(text)) != text:
            say(f"Searched for “{corrected}” instead of “{text}”, of which no paper has a word.")
            text = corrected
        hits = base.search(
            text,
            k,
            categories=category or (),
            author=author,
            years=year,
            has_code=has_code,
            source=source,
            list_name=list_name,
            facet=facet,
            hops=hops,
            sort=sort,
        )
    _print_hits(hits, as_json)


def like(
    ids: Annotated[list[str], typer.Argument(help="Ids or addresses of papers.")],
    unlike: Annotated[list[str] | None, typer.Option("--not", help="A paper to stay away from. May be repeated.")] = None,
    text: Annotated[str, typer.Option("--text", help="Words that the papers should fit as well.")] = "",
    k: K = 10,
    category: Category = None,
    author: AuthorName = "",
    year: Year = "",
    has_code: HasCode = False,
    source: Source = "",
    list_name: ListName = "",
    facet: FacetName = None,
    hops: Hops = 1,
    sort: SortOrder = "relevance",
    as_json: Json = False,
) -> None:
    """Find papers like the given ones."""
    with knowledge_base() as base:
        hits = base.like(
            ids,
            unlike or (),
            text,
            k,
            categories=category or (),
            author=author,
            years=year,
            has_code=has_code,
            source=source,
            list_name=list_name,
            facet=facet,
            hops=hops,
            sort=sort,
        )
    _print_hits(hits, as_json)


def show(
    identifier: Annotated[str, typer.Argument(metavar="ID", help="The id or address of a paper.")], as_json: Json = False
) -> None:
    """Show everything known of one paper."""
    with knowledge_base() as base:
        details = base.show(identifier)
    if as_json:
        print_json(details.as_json())
        return
    line(to_unicode(details.hit.paper.title), "bold")
    for part in (_facts, _versions, _code, _notes):
        for text in part(details):
            line(text)
    _print_explanations(details)


def _facts(details: PaperDetails) -> Iterator[str]:
    """Authors, address, date, where it appeared, comments or the reason of its withdrawal."""
    paper = details.hit.paper
    date = paper.published.isoformat() if paper.published else str(paper.year or "")
    withdrawals = details.history.withdrawals
    reason = withdrawals[-1].reason if withdrawals else ""
    facts = [
        "" if details.title_origin is None else f"title from {details.title_source}",
        ", ".join(author.name for author in paper.authors),
        f"{paper.id}  {details.hit.url}",
        "  ".join(filter(None, [date, " ".join(paper.categories)])),
        paper.journal_ref,
        f"WITHDRAWN: {reason or 'no reason is given'}" if paper.withdrawn else paper.comments,
    ]
    yield from filter(None, facts)


def _versions(details: PaperDetails) -> Iterator[str]:
    """Versions with their dates, titles and abstracts that a version changed, and the abstract."""
    versions = details.hit.paper.versions
    if len(versions) > 1:
        yield ", ".join(f"v{version.number} {version.created.date() if version.created else '?'}" for version in versions)
    for change in details.history.changes:
        yield f"{change.field} until v{change.before_version}: {to_unicode(change.before)}"
    if details.hit.paper.abstract:
        yield f"\n{to_unicode(details.hit.paper.abstract)}"


def _code(details: PaperDetails) -> Iterator[str]:
    for kind, links in (("code", details.hit.code), ("mentioned", details.mentioned)):
        for link in links:
            yield f"{kind}: {link.url}"
            yield f"    {'; '.join(link.facts)}"
    if details.project_page:
        yield f"project page: {details.project_page}"


def _notes(details: PaperDetails) -> Iterator[str]:
    for note in details.hit.notes:
        yield f"\nNote, {note.source}:{note.line}\n{note.body}"


def _print_explanations(details: PaperDetails) -> None:
    if details.explained_by:
        line("\nExplained by", "bold")
    for explanation in details.explained_by:
        line(f"{explanation.weight:4.0%}  {to_unicode(explanation.paper.title)}  {explanation.paper.id}")
        if explanation.sentence:
            line(f"      “{to_unicode(explanation.sentence)}”")


def _print_hits(hits: Sequence[Hit], as_json: bool) -> None:
    if as_json:
        print_json([hit.as_json() for hit in hits])
        return
    if not hits:
        say("No paper passes these filters.")
    elif not any(hit.fits for hit in hits):
        say("Nothing here fits that well. These are the nearest papers:")
    for hit in hits:
        paper = hit.paper
        authors = ", ".join(a.name for a in paper.authors[:3]) + (" et al." if len(paper.authors) > 3 else "")
        line(f"{hit.rank:>3}  {to_unicode(paper.title)}", "bold")
        withdrawn = "  WITHDRAWN" if paper.withdrawn else ""
        line(f"     {authors}  {paper.year or ''}  {paper.id}  {hit.score:.3f}{withdrawn}")
        if hit.matched:
            line(f"     “{to_unicode(hit.matched)}”")
        for link in hit.code[:2]:
            line(f"     code: {link.url}")
        for note in hit.notes[:1]:
            line(f"     note: {' '.join(note.body.split())[:160]}")
