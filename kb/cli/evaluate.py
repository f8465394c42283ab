"""`kb eval`: how well the pipeline answers judged queries, stage by stage."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from kb.cli.console import Json, bars, home, library, print_json, results, say
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
        bool, typer.Option("--stages", help="Each stage with its gain over the one before, and 95 % intervals.")
    ] = False,
    run_out: Annotated[Path | None, typer.Option("--run-out", help="Write the last stage's run in TREC's form.")] = None,
    binary: Annotated[bool, typer.Option("--binary", help="Count every grade above 0 alike.")] = False,
    hops: Hops = 1,
    as_json: Json = False,
) -> None:
    """Measure the search on judged queries: nDCG@10, R@100 and AP of every stage.

    The documents become a knowledge base of their own for the time of the run. Where they are arXiv papers without a text, and
    there is a knowledge base, their queries are asked of that one instead. Vectors are kept, so a second run is fast.

    A query whose id is a document's does not find that document; nor does one of `document_facet`, which asks for that facet.
    """
    if (folder is None) == (not lists):
        raise QueryError("Give a folder of judgements, or --lists for your own reading lists.")
    found = _of_lists(hops) if folder is None else _of_folder(folder, binary, hops)
    if run_out:
        _write_runs(found, run_out)
    if as_json:
        print_json(found.as_json())
    else:
        _print(found, stages)


def _of_folder(folder: Path, binary: bool, hops: int) -> Evaluation:
    from kb.models.registry import load_encoder
    from kb.search.evaluate import build_collection, document_ids, evaluate, judged_queries, judged_queries_in_library
    from kb.search.qrels import read_judgements
    from kb.search.searcher import Searcher

    judgements = read_judgements(folder, binary=binary)
    place = home()
    if judgements.has_titles_only and place.exists():
        with Searcher.open(place) as searcher, bars() as progress:
            asked = judged_queries_in_library(judgements, searcher.catalogue)
            say(f"{len(asked)} of {len(judgements.queries)} queries have an answer in {place.path}.")
            return evaluate(searcher, asked, searcher.catalogue.identifiers().__getitem__, progress, hops)
    encoder = load_encoder()
    with tempfile.TemporaryDirectory(prefix="kb-eval-") as folder_of_run, bars() as progress:
        vectors = _cache() / "vectors"
        made = build_collection(judgements, Path(folder_of_run) / "kb", vectors, encoder, progress)
        with Searcher.open(made, encoder) as searcher:
            names = document_ids(judgements.documents, searcher.catalogue)
            return evaluate(searcher, judged_queries(judgements, searcher.catalogue), names, progress, hops)


def _of_lists(hops: int) -> Evaluation:
    from kb.search.evaluate import evaluate, judged_queries_from_lists
    from kb.search.searcher import Searcher

    entries = {found.name: [e.paper_id for e in library().read_list(found.name).entries] for found in library().lists()}
    with Searcher.open(home()) as searcher, bars() as progress:
        return evaluate(
            searcher,
            judged_queries_from_lists(entries, searcher.catalogue),
            searcher.catalogue.identifiers().__getitem__,
            progress,
            hops,
        )


def _cache() -> Path:
    """Where vectors of judged collections are kept between runs: beside other programs' caches."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "paper-kb"


def _write_runs(found: Evaluation, path: Path) -> None:
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
