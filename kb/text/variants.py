"""Variants of a word that a text itself shows: hyphenation, American spelling, and acronyms with their long form."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

_COMPOUND = re.compile(r"(?<![\w-])[^\W_]+(?:[-‐‑][^\W_]+){1,3}(?![\w-])")
_HYPHEN = re.compile(r"[-‐‑]")
_MAX_COMPOUND = 40  # characters
# British endings, with the words that have them in American English too.
_ISE = re.compile(r"\b([a-z]{2,})is(ation|ations|e|ed|er|ers|es|ing)\b", re.I)
# Stems before -ise that keep their s in American English.
_KEEP_S = frozenset(
    "no deno preco conc prec ra appra pra prom comprom prem adv rev superv dev improv telev exc exerc surpr enterpr compr repr "
    "appr ar upr w otherw likew pairw elementw layerw stepw piecew tokenw pointw disgu gu expert franch merchand parad dem treat "
    "bru cru po turquo torto mala chast inc circumc advert unsuperv semisuperv selfsuperv".split()
)
_OUR = re.compile(r"\b((?:mis|un)?(?:col|behavi|fav|neighb|lab|hon|hum|rum|tum|vap|flav|harb|endeav|arm))our", re.I)
_YSE = re.compile(r"\b(anal|catal|paral|dial|hydrol)ys(e|ed|er|ers|es|ing)\b", re.I)
_LL = re.compile(r"\b(model|label|signal|channel|travel|cancel|level|fuel|tunnel|parallel|equal|total)l(ed|er|ers|ing)\b", re.I)
_WORDS = {
    "centre": "center", "centred": "centered", "metre": "meter", "fibre": "fiber", "theatre": "theater", "litre": "liter",
    "grey": "gray", "defence": "defense", "offence": "offense", "licence": "license", "programme": "program",
    "artefact": "artifact", "catalogue": "catalog", "dialogue": "dialog", "analogue": "analog", "sceptic": "skeptic",
    "aluminium": "aluminum", "aeroplane": "airplane", "judgement": "judgment", "ageing": "aging",
}  # fmt: skip
_WORD = re.compile(rf"\b({'|'.join(_WORDS)})(s?)\b", re.I)
# An acronym in brackets: two capitals at least, an ending plural s apart.
_ACRONYM = re.compile(r"\(([A-Za-z][A-Za-z0-9-]{1,9}?)(s?)\)")
_PLURAL_ACRONYM = re.compile(r"\b([A-Z][A-Za-z0-9]*[A-Z0-9])s\b")
_SENTENCE_PART = re.compile(r"[.;:!?()\[\],]")
_LOOK_BACK = 90  # characters before the bracket that may hold the long form


def american_spelling(text: str) -> str:
    """Rewrite British spelling as American: `optimisation`, `behaviour` → `optimization`, `behavior`."""
    return " ".join(map(_american_word, text.split(" ")))


@lru_cache(maxsize=100_000)
def _american_word(word: str) -> str:
    word = _ISE.sub(_with_z, word)
    word = _YSE.sub(r"\1yz\2", _OUR.sub(r"\1or", word))
    return _WORD.sub(lambda m: _WORDS[m[1].lower()] + m[2], _LL.sub(r"\1\2", word))


def compounds(text: str) -> list[str]:
    """The hyphenated words of a text, as written: `over-smoothing`, `state-of-the-art`."""
    if not _HYPHEN.search(text):
        return []
    return [match[0] for match in _COMPOUND.finditer(text) if len(match[0]) <= _MAX_COMPOUND]


def singular_acronyms(text: str) -> str:
    """Take the plural s off acronyms, which stemmers leave where there is no vowel: `GNNs` → `GNN`."""
    return _PLURAL_ACRONYM.sub(r"\1", text)


def without_hyphens(compound: str, between: str = "") -> str:
    """A hyphenated word with something else, or nothing, in place of its hyphens."""
    return _HYPHEN.sub(between, compound)


def acronym_definitions(text: str) -> Iterator[tuple[str, str]]:
    """Acronyms that a text defines, each with its long form: `graph neural networks (GNNs)` → (`GNN`, `graph neural networks`).

    The characters of the acronym are matched backwards with those of the words before the bracket (Schwartz and Hearst, A simple
    algorithm for identifying abbreviation definitions in biomedical text, PSB 2003).
    """
    for match in _ACRONYM.finditer(text):
        acronym = match[1]
        if sum(map(str.isupper, acronym)) < 2:
            continue
        before = _SENTENCE_PART.split(text[max(0, match.start() - _LOOK_BACK) : match.start()].rstrip())[-1]
        if long_form := _long_form(acronym, before):
            yield acronym, long_form


def _with_z(match: re.Match[str]) -> str:
    stem, ending = match[1], match[2]
    return match[0] if not ending.startswith("a") and stem.lower() in _KEEP_S else f"{stem}iz{ending}"


def _long_form(acronym: str, before: str) -> str:
    """The last words of `before` that the acronym stands for; '' if there are none."""
    letters, lower = [c for c in acronym.lower() if c != "-"], before.lower()
    at = len(lower)
    for number in range(len(letters) - 1, -1, -1):
        at -= 1
        while at >= 0 and (lower[at] != letters[number] or (number == 0 and at > 0 and lower[at - 1].isalnum())):
            at -= 1
        if at < 0:
            return ""
    found = before[at:].strip()
    n = len(found.split())
    several = n + found.count("-") >= 2
    return found if several and n <= min(len(acronym) + 4, 2 * len(acronym)) and len(found) > len(acronym) + 2 else ""
