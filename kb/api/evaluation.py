"""Measures the search on a judged collection, or on the user's own reading lists."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path

from kb.library import Library
from kb.models.registry import load_encoder
from kb.progress import Progress
from kb.search.evaluate import (
    Evaluation,
    build_collection,
    document_ids,
    evaluate,
    judged_queries,
    judged_queries_from_lists,
    judged_queries_in_library,
)
from kb.search.qrels import read_judgements
from kb.search.searcher import Searcher
from kb.store import Home


def evaluate_folder(home: Home, folder: Path, binary: bool, hops: int, judged_only: bool, progress: Progress) -> Evaluation:
    """Measure on a judged collection: in a knowledge base of its documents, or in `home` if they are arXiv papers without text.

    Raises SourceError if the folder cannot be read, or nothing that it judges relevant is in `home`.
    """
    judgements = read_judgements(folder, binary=binary)
    if judgements.has_titles_only and home.exists():
        with Searcher.open(home) as searcher:
            asked = judged_queries_in_library(judgements, searcher.catalogue)
            names = searcher.catalogue.identifiers()
            found = evaluate(searcher, asked, names.__getitem__, progress, hops, judged_only)
        return replace(found, unanswerable=len(judgements.queries) - len(asked))
    encoder = load_encoder()
    with tempfile.TemporaryDirectory(prefix="kb-eval-") as place:
        made = build_collection(judgements, Path(place) / "kb", _cache() / "vectors", encoder, progress)
        with Searcher.open(made, encoder) as searcher:
            asked = judged_queries(judgements, searcher.catalogue)
            return evaluate(searcher, asked, document_ids(judgements.documents, searcher.catalogue), progress, hops, judged_only)


def evaluate_lists(searcher: Searcher, library: Library, hops: int, progress: Progress) -> Evaluation:
    """Measure how each paper of a reading list is found by the others.

    Raises QueryError if no list has two papers of the knowledge base.
    """
    papers = {found.name: [entry.paper_id for entry in library.read_list(found.name).entries] for found in library.lists()}
    asked = judged_queries_from_lists(papers, searcher.catalogue)
    return evaluate(searcher, asked, searcher.catalogue.identifiers().__getitem__, progress, hops)


def _cache() -> Path:
    """The folder that keeps vectors of judged collections between runs: beside other programs' caches."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "paper-kb"
