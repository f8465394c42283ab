"""Facets of an abstract: which of its sentences state background, method and result."""

from __future__ import annotations

import re
from typing import Literal, get_args

from kb.text.sentences import split_sentences

Facet = Literal["background", "method", "result"]
FACETS: tuple[Facet, ...] = get_args(Facet)

# Cue words and phrases of each facet (after Teufel and Moens, Summarizing scientific articles, CL 28(4), 2002).
_CUES = {
    "background": re.compile(
        r"\b(however|recent(ly)?|traditional(ly)?|conventional|existing|previous|prior (work|studies)|current(ly)?|despite"
        r"|ha(s|ve) (been|become)|widely|although|challeng\w+|remains?|is (an )?(important|crucial|critical|essential|key"
        r"|fundamental|necessary)|lack(s|ing)?|limited|suffers?|difficult|problem of|little is known|often|typically|usually"
        r"|increasing(ly)?|growing|aims?|goal|objective|purpose|need for|motivated|we (aim|seek|address|investigate|study|ask)"
        r"|this (paper|work|study|article) (aims|addresses|investigates|studies|explores|examines|considers))\b",
        re.IGNORECASE,
    ),
    "method": re.compile(
        r"\b(we (propose|present|introduce|model|describe|derive|combine|extend|leverage|(design|train|develop|employ|collect"
        r"|conduct|perform|implement|adopt|extract|construct|select|review|interview|test)(ed)?|(us|compar|formulat|utiliz|analy[sz]"
        r"|evaluat|creat)ed?|appl(y|ied)|buil[dt])|(is|are|was|were) (proposed|used|trained|applied|developed|collected|performed"
        r"|conducted|implemented|employed|designed|constructed|extracted|evaluated|selected|based on|introduced|combined"
        r"|obtained from|computed|included|analy[sz]ed|divided)|our (method|approach|model|framework|system|algorithm"
        r"|architecture|pipeline) (is|uses|consists|combines|employs|leverages|learns|first)|consist(s|ing) of|based on|novel"
        r"|by (means of|combining|leveraging|introducing)|using|algorithm|specifically|first,|then|module|in which"
        r"|to (do so|this end|achieve this))\b",
        re.IGNORECASE,
    ),
    "result": re.compile(
        r"\b(results?|show(s|ed|n)?|demonstrat\w+|outperform\w*|surpass\w*|achiev\w+|improv\w+|state[- ]of[- ]the[- ]art"
        r"|significant(ly)?|we (find|found|observed?|conclude|prove|identified|report)|reveal(s|ed)?|indicat\w+|confirm(s|ed)?"
        r"|suggest(s|ed|ing)?|findings?|superior|better than|higher|lower|reduc(es|ed|ing|tion)|compared (to|with)|respectively"
        r"|accuracy of|outcome|effective(ness)?|competitive|correlat\w+|conclu\w+|provides?|potential|can be|future"
        r"|experiments (on|show|with)|code (is|and|will)|available at)\b|\d ?%|\bp ?[<=]|\b0\.\d",
        re.IGNORECASE,
    ),
}
_MAX_CUES = 3  # per facet and sentence
# Usual beginnings of method and result as shares of the abstract's sentences: medians over structured abstracts.
_USUAL_CUTS = (0.28, 0.60)


def sentence_facets(abstract: list[str]) -> list[Facet]:
    """The facet of every sentence of an abstract, in order.

    Splits into background, method, result at the two cuts that maximise cue counts minus distance from 0.28 n and 0.60 n;
    n: number of sentences.
    """
    n = len(abstract)
    cues = {facet: [min(_MAX_CUES, sum(1 for _ in _CUES[facet].finditer(s))) for s in abstract] for facet in FACETS}

    def score(method: int, result: int) -> float:
        found = sum(cues["background"][:method]) + sum(cues["method"][method:result]) + sum(cues["result"][result:])
        return found - abs(method - _USUAL_CUTS[0] * n) - abs(result - _USUAL_CUTS[1] * n)

    method, result = max(((i, j) for i in range(n + 1) for j in range(i, n + 1)), key=lambda cuts: score(*cuts))
    return [FACETS[(place >= method) + (place >= result)] for place in range(n)]


def facet_passage(text: str, facet: Facet) -> str:
    """The sentences of a text on one facet; the whole text if there are none, or it has fewer than three sentences."""
    parts = split_sentences(text)
    if len(parts) < len(FACETS):
        return text
    return " ".join(part for part, role in zip(parts, sentence_facets(parts), strict=True) if role == facet) or text
