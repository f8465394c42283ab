"""Queries for one kind of paper, surveys or benchmarks, which such papers answer best."""

from __future__ import annotations

import re

#: Words of a title by which a paper of the kind is told, by a word of the query that asks for the kind.
_TITLE_WORDS = {
    "survey": ("survey", "surveys", "review", "reviews", "overview", "tutorial"),
    "benchmark": ("benchmark", "benchmarks", "benchmarking", "dataset", "datasets", "bench"),
}
_KIND_WORDS = {
    word: words
    for words, asked in (
        (_TITLE_WORDS["survey"], "survey surveys review reviews overview overviews"),
        (_TITLE_WORDS["benchmark"], "benchmark benchmarks dataset datasets"),
    )
    for word in asked.split()
}
# `survey of X`, `a review on X`; or the word at the end: `LLM agents survey`, `GUI agents benchmark`.
_ASKED = re.compile(
    r"(?:^(?:an?\s+|the\s+|recent\s+|literature\s+|systematic\s+)*"
    rf"(?P<first>{'|'.join(_KIND_WORDS)})\s+(?:of|on|for|about|in|paper|papers)\b"
    rf"|\b(?P<last>{'|'.join(_KIND_WORDS)})(?:\s+papers?)?$)",
    re.IGNORECASE,
)


def title_words_asked_for(text: str) -> tuple[str, ...]:
    """Words of which the title of the kind of paper that a query asks for has one; empty if it asks for none.

    `survey of LLM agents` → survey, review, overview, …
    """
    found = _ASKED.search(text.strip(" ?.!"))
    return _KIND_WORDS[(found["first"] or found["last"]).lower()] if found else ()
