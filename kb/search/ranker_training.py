"""Judged queries as the ranker learns from them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kb.models.ranker.training import RankedQuery
from kb.models.ranker.weights import RankerWeights
from kb.progress import NoProgress, Progress
from kb.search.evaluate import JudgedQuery
from kb.search.ranker import LearnedReranker
from kb.search.searcher import Searcher

_RESULTS = 100  # a search for so many has the candidates that the ranker learns from


def ranked_queries(searcher: Searcher, asked: Sequence[JudgedQuery], progress: Progress | None = None) -> list[RankedQuery]:
    """Run the questions and return the features of their candidates with the relevance of each, its own paper left out."""
    progress = progress or NoProgress()
    progress.start("Searching", len(asked), "queries")
    ranker = LearnedReranker(RankerWeights.read())
    found: list[RankedQuery] = []
    for judged in asked:
        candidates, _ = searcher.candidates(judged.query, _RESULTS)
        features = ranker.features(candidates)
        keys = candidates.keys[: len(features)].tolist()
        kept = np.asarray([key != judged.source for key in keys], dtype=bool)
        relevance = np.asarray([max(judged.grades.get(key, 0), 0) for key in keys], dtype=np.float32)
        found.append(RankedQuery(features[kept], relevance[kept]))
        progress.advance(1)
    return found
