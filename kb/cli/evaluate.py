"""`kb eval`: the quality of the search on judged queries, stage by stage."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from kb.cli.console import Json, bars, knowledge_base, print_json, results, say
from kb.cli.search import Hops
from kb.errors import QueryError

if TYPE_CHECKING:
    from kb.search.evaluate import Evaluation


def evaluate(
    folder: Annotated[
        Path | None, typer.Argument(help="corpus.jsonl, queries.jsonl (plain or .gz) and qrels/*.tsv.", metavar="FOLDER")
    ] = None,
    lists: Annotated[bool, typer.Option("--lists", help="Find each paper of your reading lists by the others.")] = False,
    stages: Annotated[
        bool, typer.Option("--stages", help="Show the gain of each stage over the one before, with 95 % intervals.")
    ] = False,
    run_out: Annotated[Path | None, typer.Option("--run-out", help="Write the last stage's run in TREC's format.")] = None,
    binary: Annotated[bool, typer.Option("--binary", help="Count every grade above 0 as 1.")] = False,
    judged_only: Annotated[
        bool, typer.Option("--judged-only", help="Leave out documents that nobody judged, as where judgements are few.")
    ] = False,
    hops: Hops = 1,
    as_json: Json = False,
) -> None:
    """Measure the search on judged queries: nDCG@10, R@100 and AP of every stage.

    The documents become a knowledge base of their own for the time of the run. If they are arXiv papers without a text, and
    there is a knowledge base, the queries are searched for in that one instead. Vectors are kept: a second run is fast.

    A query with the id of a document does not find that document. A query with the id `document_facet` does not either, and
    searches by that facet.
    """
    if (folder is None) == (not lists):
        raise QueryError("Give a folder of judgements, or --lists for your own reading lists.")
    with bars() as progress, knowledge_base(progress) as base:
        found = base.eval(folder, binary=binary, hops=hops, judged_only=judged_only)
    if found.unanswerable:
        say(f"{found.queries} of {found.queries + found.unanswerable} queries have an answer in {base.path}.")
    if run_out:
        _write_run(found, run_out)
    if as_json:
        print_json(found.as_json())
    else:
        _print(found, stages)


def _write_run(found: Evaluation, path: Path) -> None:
    from kb.search.evaluate import STAGES, write_run

    write_run(path, found.runs[STAGES[-1]], "paper-kb")
    say(f"Wrote {path}.")


def _print(found: Evaluation, stages: bool) -> None:
    from kb.search.evaluate import STAGES

    say(f"{found.queries:,} queries over {found.documents:,} documents")
    measures = list(found.means(STAGES[0]))
    table = Table("stage", *measures)
    for number, stage in enumerate(STAGES):
        cells = [f"{value:.4f}" for value in found.means(stage).values()]
        if stages and number:
            gains = [found.gain(stage, STAGES[number - 1], measure) for measure in measures]
            cells = [f"{c}  {g.mean:+.4f} [{g.low:+.4f}, {g.high:+.4f}]" for c, g in zip(cells, gains, strict=True)]
        table.add_row(stage, *cells)
    results.print(table)
