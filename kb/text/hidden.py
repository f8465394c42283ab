"""Characters that are not seen: controls, invisible and bidirectional ones, with which a text shows as another."""

from __future__ import annotations

import json
import re

# Controls but tab and newline, a carriage return that ends no line, and the soft hyphen; direction marks, zero-width spaces,
# word joiners, and the "tags" that mirror ASCII; halves of characters. The two joiners U+200C and U+200D stay: Persian and
# Indic words are spelled with them.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ud800-\udfff"
    "\U000e0000-\U000e007f]|\r(?!\n)"
)
_SEPARATORS = re.compile("[\u2028\u2029]")


def without_hidden(text: str) -> str:
    """The text without these characters; line and paragraph separators become spaces."""
    return _HIDDEN.sub("", _SEPARATORS.sub(" ", text))


def escape_hidden(document: str) -> str:
    r"""A JSON document with these characters as `\u` escapes, which mean the same to a program."""
    return _HIDDEN.sub(lambda match: json.dumps(match[0])[1:-1], document)
