"""Loads rerankers by name."""

from __future__ import annotations

import os

from kb.models.registry import default_model_folder, find_marge_model
from kb.search.rerank import CrossEncoderReranker, FeedbackReranker, Reranker, Texts


def load_reranker(texts: Texts, name: str | None = None) -> Reranker | None:
    """Load the reranker of that name, by default that of KB_RERANKER, else pseudo-relevance feedback.

    `none` is no reranker; `marge`, or a folder that `kb train marge` wrote, is the MARGE reranker; any other name is a
    CrossEncoder. Raises ModelError if the model cannot be loaded.
    """
    name = name or os.environ.get("KB_RERANKER") or "feedback"
    match name:
        case "none":
            return None
        case "feedback":
            return FeedbackReranker()
        case _ if trained := find_marge_model(name):
            from kb.search.rerank_marge import MargeReranker  # imports torch, which takes a second

            return MargeReranker(FeedbackReranker(), trained, default_model_folder(), texts)
        case _:
            return CrossEncoderReranker(name, texts)
