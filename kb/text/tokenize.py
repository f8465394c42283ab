"""Tokenisation for the lexical index: terms of texts, names of people, and technical names such as GPT-J."""

from __future__ import annotations

import re
import unicodedata
from functools import cache

import tantivy

from kb.text.variants import american_spelling, compounds, singular_acronyms, without_hyphens

_GREEK = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigma tau upsilon phi chi psi omega"
).split()
# Final sigma, U+03C2, stands between rho and sigma.
_LETTERS = {name: chr(0x3B1 + i + (i > 16)) for i, name in enumerate(_GREEK)}
_COMMAND = re.compile(r"\\([A-Za-z]+)\s?")
_WRAPPED = re.compile(r"[\\${}^]")
_SEPARATORS = re.compile(r"[\s,;:!?\"“”|=<>…—–]+|\.(?=\s|$)|(?<=\s)['‘’(\[]|['’](?=\s|$)")
_FOLDED = re.compile(r"[^\w+#]|_")


def normalize_text(text: str) -> str:
    r"""Normalise compatibility characters (NFKC) and TeX: `O(n²)`, `$O(n^2)$` → `O(n2)`; `$\mu$P`, `µP` → `μP`; `\'e` → `é`."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    if "\\" in text:
        from kb.text.latex import (
            accents_to_unicode,  # only here: a query hardly ever has a backslash, and pylatexenc is slow to load
        )

        text = accents_to_unicode(text)
        text = _COMMAND.sub(lambda match: _LETTERS.get(match[1].lower(), " "), text)
    return _WRAPPED.sub("", text)


@cache
def word_analyzer() -> tantivy.TextAnalyzer:
    """Analyzer for English text: lower case, no accents, no stop words, stemmed."""
    builder = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
    for step in (
        tantivy.Filter.remove_long(60),
        tantivy.Filter.lowercase(),
        tantivy.Filter.ascii_fold(),
        tantivy.Filter.stopword("english"),
        tantivy.Filter.stemmer("english"),
    ):
        builder = builder.filter(step)
    return builder.build()


def analyzed_text(text: str) -> str:
    """A normalised text as it is given to `word_analyzer`: American spelling, and hyphenated words once more as one word.

    Acronyms lose their plural s.
    """
    text = singular_acronyms(american_spelling(text))
    return " ".join([text, *(without_hyphens(word) for word in compounds(text))])


def index_terms(text: str) -> list[str]:
    """The terms under which a text is indexed, in order; those of `analyzed_text` last."""
    return list(word_analyzer().analyze(analyzed_text(normalize_text(text))))


@cache
def name_analyzer() -> tantivy.TextAnalyzer:
    """Analyzer for names of people: lower case, no accents."""
    builder = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
    return builder.filter(tantivy.Filter.lowercase()).filter(tantivy.Filter.ascii_fold()).build()


def fold(name: str) -> str:
    """Fold a name for comparison: without case, accents, hyphens and blanks: `GPT-J`, `gpt j` → `gptj`."""
    if not name.isascii():
        name = "".join(c for c in unicodedata.normalize("NFD", name) if not unicodedata.combining(c))
    return _FOLDED.sub("", name).lower()


def technical_names(text: str) -> list[str]:
    """Words of a text that look like names of methods, programs or quantities: LoRA, GPT-J, μTransfer, O(n2), C++.

    Such a word has a capital after its first character, letters and digits, a Greek letter, or one of the signs + # ( ). A
    capital at the beginning, as in a heading, is not enough. The text is expected as `normalize_text` returns it.
    """
    # Nine words in ten are ordinary ones; skip them early.
    special = (chunk for chunk in text.split() if not (chunk[1:].islower() and chunk.isascii() and chunk.isalpha()))
    words = (_trimmed(word) for chunk in special for word in _SEPARATORS.split(chunk))
    return [word for word in words if _is_name(word)]


def _trimmed(word: str) -> str:
    word = word.strip(".,'‘’*")
    # Brackets inside a word, as in O(n), belong to it; those around it do not.
    if word.count("(") != word.count(")") or (word.startswith("(") and word.endswith(")")):
        word = word.strip("()")
    return word.strip("[]./-")


def _is_name(word: str) -> bool:
    if not 2 <= len(word) <= 40 or "://" in word:
        return False
    if not word.isascii() and any("\u0370" <= c <= "\u03ff" for c in word):
        return True
    if not any(map(str.isalpha, word)):
        return False
    if any(map(str.isdigit, word)) or any(sign in word for sign in "+#()"):
        return True
    # `Self-Supervised` is an ordinary word in a heading; `GPT-J` and `U-Net` have a part that no ordinary word has.
    parts = word.split("-")
    return any(any(map(str.isupper, part[1:])) or (len(part) == 1 < len(parts) and part.isupper()) for part in parts)


def short_name(title: str) -> str:
    """The name before a title's colon, folded: `LoRA: Low-Rank Adaptation of …` → `lora`; '' if there is none."""
    head, colon, _ = normalize_text(title).partition(":")
    return fold(head) if colon and len(head.split()) <= 3 else ""
