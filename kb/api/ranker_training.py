"""Trains the ranker on the user's own reading lists."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kb.api.results import RankerTraining
from kb.library import Library
from kb.models.ranker.training import RankedQuery, fit
from kb.models.ranker.weights import RankerWeights, Weights
from kb.progress import Progress
from kb.search.evaluate import judged_queries_from_lists, paired_bootstrap
from kb.search.ranker_training import ranked_queries
from kb.search.searcher import Searcher
from kb.store import Home


def train_ranker_on_lists(searcher: Searcher, library: Library, home: Home, progress: Progress) -> RankerTraining:
    """Fit the weights for examples to one half of the lists' papers, and install them if the other half is found better.

    Raises QueryError if no list has two papers of the knowledge base.
    """
    papers = {found.name: [entry.paper_id for entry in library.read_list(found.name).entries] for found in library.lists()}
    queries = ranked_queries(searcher, judged_queries_from_lists(papers, searcher.catalogue), progress)
    learned, held_out = queries[::2], queries[1::2]
    bundled, used = RankerWeights.read(), RankerWeights.for_home(home.path)
    weights = fit([(1.0, learned)], bundled.example)
    before, after = reciprocal_ranks(held_out, used.example), reciprocal_ranks(held_out, weights)
    gain = paired_bootstrap(after - before)
    installed = gain.mean > 0
    if installed:
        facts = {"learned from": {"papers of lists": len(learned)}}
        RankerWeights(used.phrase, weights).write(RankerWeights.file(home.path), facts)
    return RankerTraining(len(queries), float(before.mean()), float(after.mean()), gain, installed)


def reciprocal_ranks(queries: Sequence[RankedQuery], weights: Weights) -> NDArray[np.float64]:
    """1 / rank of each query's first relevant candidate, 0 without one; shape (queries,)."""
    values = np.zeros(len(queries))
    for number, query in enumerate(queries):
        if query.relevance.any():
            order = np.argsort(-(query.features @ weights), kind="stable")
            values[number] = 1 / (1 + int(np.argmax(query.relevance[order] > 0)))
    return values
