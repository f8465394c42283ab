"""`kb search`, `kb like`, `kb show`: what is asked of the knowledge base."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kb.cli.console import Json, home, library, print_json, say
from kb.cli.console import show as line
from kb.papers import CodeLink
from kb.store import CodeCatalogue, Filters, Ledger, parse_years
from kb.text.facets import Facet

if TYPE_CHECKING:
    from kb.search.searcher import Hit

K = Annotated[int, typer.Option("-k", min=1, max=1000, help="How many papers.")]
Category = Annotated[list[str] | None, typer.Option("--category", help="Such as cs.CL, or cs for all of cs. May be repeated.")]
AuthorName = Annotated[str, typer.Option("--author", help="Part of an author's name.")]
Year = Annotated[str, typer.Option("--year", help="2019, 2019..2023, 2019.. or ..2023.")]
HasCode = Annotated[bool, typer.Option("--has-code", help="Only papers with a repository.")]
Source = Annotated[str, typer.Option("--source", help="notes or arxiv.")]
FacetName = Annotated[Facet | None, typer.Option("--facet", help="Alike in this respect only; takes longer.")]
Hops = Annotated[int, typer.Option("--hops", min=1, max=2, help="2: look again, near to the best of what was found.")]
ListName = Annotated[str, typer.Option("--list", help="Only papers of this reading list.")]


def search(
    text: Annotated[str, typer.Argument(help="A phrase, an abstract, a title, an id or an address.")],
    k: K = 10,
    category: Category = None,
    author: AuthorName = "",
    year: Year = "",
    has_code: HasCode = False,
    source: Source = "",
    list_name: ListName = "",
    facet: FacetName = None,
    hops: Hops = 1,
    as_json: Json = False,
) -> None:
    """Find papers by what they are about."""
    from kb.search.searcher import Searcher

    filters = Filters(tuple(category or ()), author, parse_years(year), has_code, source, library().papers_of(list_name))
    with Searcher.open(home()) as searcher:
        _print_hits(searcher.search(text, k, filters, facet, hops), as_json)


def like(
    ids: Annotated[list[str], typer.Argument(help="Ids or addresses of papers.")],
    unlike: Annotated[list[str] | None, typer.Option("--not", help="A paper to keep away from. May be repeated.")] = None,
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
    as_json: Json = False,
) -> None:
    """Find papers like these."""
    from kb.search.searcher import Searcher

    filters = Filters(tuple(category or ()), author, parse_years(year), has_code, source, library().papers_of(list_name))
    with Searcher.open(home()) as searcher:
        _print_hits(searcher.like(ids, unlike or (), text, k, filters, facet, hops), as_json)


def show(identifier: Annotated[str, typer.Argument(metavar="ID")], as_json: Json = False) -> None:
    """Everything known of one paper."""
    from kb.search.explain import explain
    from kb.search.searcher import Searcher, find_paper

    with Searcher.open(home()) as searcher:
        hit = find_paper(searcher.catalogue, identifier)
        history = Ledger(searcher.catalogue).history(hit.paper.id)
        code = CodeCatalogue(searcher.catalogue)
        mentioned = code.mentioned([hit.paper.id]).get(hit.paper.id, [])
        project_page = code.project_page(hit.paper.id)
        explained_by = explain(searcher, hit.paper.id)
    paper = hit.paper
    if as_json:
        extra = {
            "abstract": paper.abstract,
            "categories": paper.categories,
            "published": paper.published and paper.published.isoformat(),
            "updated": paper.updated and paper.updated.isoformat(),
            "doi": paper.doi,
            "comments": paper.comments,
            "journal_ref": paper.journal_ref,
            "withdrawn": paper.withdrawn,
            "versions": [{"version": v.number, "created": v.created and v.created.isoformat()} for v in paper.versions],
            "changes": [asdict(change) for change in history.changes],
            "withdrawals": [asdict(w) | {"noticed": w.noticed and w.noticed.isoformat()} for w in history.withdrawals],
            "code": [_link_json(link) for link in hit.code],
            "mentioned": [_link_json(link) for link in mentioned],
            "project_page": project_page,
            "explained_by": [
                {"id": e.paper.id, "title": e.paper.title, "weight": round(e.weight, 4), "sentence": e.sentence}
                for e in explained_by
            ],
        }
        hit_json = hit.as_json()
        print_json({key: hit_json[key] for key in ("id", "title", "authors", "year", "url", "code", "notes")} | extra)
        return
    line(paper.title, "bold")
    date = paper.published.isoformat() if paper.published else str(paper.year or "")
    where = "  ".join(filter(None, [date, " ".join(paper.categories)]))
    facts = [", ".join(a.name for a in paper.authors), f"{paper.id}  {hit.url}", where, paper.journal_ref]
    reason = history.withdrawals[-1].reason if history.withdrawals else ""
    withdrawn = f"WITHDRAWN: {reason or 'no reason is given'}" if paper.withdrawn else ""
    for fact in [*facts, withdrawn or paper.comments]:
        if fact:
            line(fact)
    if len(paper.versions) > 1:
        line(", ".join(f"v{v.number} {v.created.date() if v.created else '?'}" for v in paper.versions))
    for change in history.changes:
        line(f"{change.field} until v{change.before_version}: {change.before}")
    if paper.abstract:
        line(f"\n{paper.abstract}")
    for kind, links in (("code", hit.code), ("mentioned", mentioned)):
        for link in links:
            line(f"{kind}: {link.url}")
            line(f"    {'; '.join(link.facts)}")
    if project_page:
        line(f"project page: {project_page}")
    for note in hit.notes:
        line(f"\nNote, {note.source}:{note.line}\n{note.body}")
    if explained_by:
        line("\nExplained by", "bold")
    for explanation in explained_by:
        line(f"{explanation.weight:4.0%}  {explanation.paper.title}  {explanation.paper.id}")
        if explanation.sentence:
            line(f"      “{explanation.sentence}”")


def _link_json(link: CodeLink) -> dict[str, Any]:
    """A code link with all that is known of it."""
    return asdict(link) | {"checked": link.checked and link.checked.isoformat()}


def _print_hits(hits: Sequence[Hit], as_json: bool) -> None:
    if as_json:
        print_json([hit.as_json() for hit in hits])
        return
    if not hits:
        say("Nothing passes these filters.")
    for hit in hits:
        paper = hit.paper
        authors = ", ".join(a.name for a in paper.authors[:3]) + (" et al." if len(paper.authors) > 3 else "")
        line(f"{hit.rank:>3}  {paper.title}", "bold")
        withdrawn = "  WITHDRAWN" if paper.withdrawn else ""
        line(f"     {authors}  {paper.year or ''}  {paper.id}  {hit.score:.3f}{withdrawn}")
        if hit.matched:
            line(f"     “{hit.matched}”")
        for link in hit.code[:2]:
            line(f"     code: {link.url}")
        for note in hit.notes[:1]:
            line(f"     note: {' '.join(note.body.split())[:160]}")
