"""Rerankers by name."""

from __future__ import annotations

import os

from kb.models.registry import default_folder, find_trained
from kb.search.rerank import CrossEncoderReranker, FeedbackReranker, Reranker, Texts


def load_reranker(texts: Texts, name: str | None = None) -> Reranker | None:
    """The reranker of that name; without one that of KB_RERANKER, else the default. `none` is none at all."""
    name = name or os.environ.get("KB_RERANKER") or "feedback"
    match name:
        case "none":
            return None
        case "feedback":
            return FeedbackReranker()
        case _ if trained := find_trained(name):
            from kb.search.rerank_marge import MargeReranker  # torch takes a second, and most searches need none

            return MargeReranker(FeedbackReranker(), trained, default_folder(), texts)
        case _:
            return CrossEncoderReranker(name, texts)
