"""Loads rerankers by name."""

from __future__ import annotations

import os
from pathlib import Path

from kb.models.ranker.weights import RankerWeights
from kb.models.registry import default_model_folder, find_marge_model
from kb.search.ranker import LearnedReranker
from kb.search.rerank import CrossEncoderReranker, Reranker
from kb.search.retriever import Texts


def load_reranker(texts: Texts, home: Path, name: str | None = None) -> Reranker | None:
    """Load the reranker of that name, by default that of KB_RERANKER, else the learned ranker.

    Its weights are those of the knowledge base in the folder `home`, if it has its own.

    `none` is no reranker; `marge`, or a folder that `kb train marge` wrote, is the MARGE reranker; any other name is a
    CrossEncoder. Raises ModelError if the model cannot be loaded.
    """
    name = name or os.environ.get("KB_RERANKER") or "learned"
    match name:
        case "none":
            return None
        case "learned":
            return LearnedReranker(RankerWeights.for_home(home))
        case _ if trained := find_marge_model(name):
            from kb.search.rerank_marge import MargeReranker  # imports torch, which takes a second

            return MargeReranker(LearnedReranker(RankerWeights.for_home(home)), trained, default_model_folder(), texts)
        case _:
            return CrossEncoderReranker(name, texts)
