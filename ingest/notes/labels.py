"""The words with which people label things in their notes: fields of a paper, kinds of links, sections, reading states.

`**Authors**: …`, `论文：…`, `[code](…)`, `## 요약` and `TODO read` name no paper. The words of eleven languages are in
`labels.toml`.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from functools import cache, lru_cache
from importlib import resources
from typing import Literal

#: What a label says that its value is. `link` is an address of any other kind, `text` a remark or a state.
FieldKind = Literal["title", "authors", "year", "venue", "tags", "paper", "code", "link", "text"]
_KINDS: tuple[FieldKind, ...] = ("title", "authors", "year", "venue", "tags", "paper", "code", "link", "text")
_LONGEST_LABEL = 60
_PARENTHESIS = re.compile(r"\s*[(（\[][^()（）\[\]]{0,40}[)）\]]\s*$")
_NOT_LETTERS = re.compile(r"[\W_]+|\b\d+|\d+\b")
_WORD = re.compile(r"[^\W\d_](?:[^\W_]*[^\W\d_])?")
_IDENTIFIER = re.compile(
    r"(?:ar\s?xiv\s*[:：]?\s*)?(?:\d{4}\.\d{4,5}|[a-z-]+(?:\.[a-z]{2})?/\d{7})(?:v\d+)?(?:\.pdf)?"
    r"|(?:doi\s*[:：]?\s*)?10\.\d{4,9}/\S+"
    r"|https?://\S+|(?:www\.)?[\w-]+(?:\.[\w-]+)*\.(?:org|com|net|cc|io|edu)(?:/\S*)?|[A-Z]\d\d-\d{4}(?:\.pdf)?",
    re.IGNORECASE,
)


@cache
def _table() -> dict[str, dict[str, frozenset[str]]]:
    """Phrases by list and name, as `_key` makes them."""
    text = resources.files("ingest.notes").joinpath("labels.toml").read_text(encoding="utf-8")
    return {
        table: {name: frozenset(_key(phrase) for phrase in phrases.split("|")) for name, phrases in names.items()}
        for table, names in tomllib.loads(text).items()
    }


@cache
def _fields() -> dict[str, FieldKind]:
    fields = _table()["fields"]
    return {phrase: kind for kind in reversed(_KINDS) for phrase in fields[kind]}


@cache
def _link_words() -> frozenset[str]:
    links = _table()["links"]
    return links["words"] | links["phrases"]


def _key(text: str) -> str:
    """A phrase as it is compared: case-folded letters with single blanks between the words."""
    folded = unicodedata.normalize("NFC", text.casefold())
    return " ".join(_NOT_LETTERS.sub(" ", folded).split())


@lru_cache(maxsize=4096)
def field_of(label: str) -> FieldKind | None:
    """What a label names: `Authors` → `authors`, `论文链接` → `paper`, `Paper(Oral)` → `paper`; `None` for other words."""
    if len(label) > _LONGEST_LABEL:
        return None
    for text in (label, _PARENTHESIS.sub("", label)):
        key = _key(text)
        if kind := _fields().get(key):
            return kind
        if "/" in text:  # 著者/所属機関, Paper/Source
            first = _key(text.partition("/")[0])
            if kind := _fields().get(first):
                return kind
    if _IDENTIFIER.fullmatch(label.strip("[]()<>` ")):
        return "paper"
    if is_label(label) and _NOT_LETTERS.sub("", label):
        words = set(_key(label).split())
        if words & _table()["links"]["of_code"]:
            return "code"
        return "paper" if words & _table()["links"]["of_papers"] else "link"
    return None


@lru_cache(maxsize=4096)
def is_label(text: str) -> bool:
    """Whether a text only names a kind of link: `[Paper]`, `👾 Code`, `Link to the paper`, `论文`, `2004.05150`, an emoji."""
    bare = text.strip()
    if len(bare) > 4 * _LONGEST_LABEL:
        return False
    if _IDENTIFIER.fullmatch(bare.strip("[]()<>` ")):
        return True
    words = _WORD.findall(unicodedata.normalize("NFC", bare.casefold()))
    if len(words) > 6:
        return False
    known = _link_words()
    if len(words) <= 4 and all(word in known for word in words):
        return True
    phrase = " ".join(words)
    if phrase in known or phrase in _fields_of_links():
        return True
    around = _table()["links"]["around"]
    return any(word in known for word in words) and all(word in known or word in around for word in words)


@cache
def _fields_of_links() -> frozenset[str]:
    fields = _table()["fields"]
    return fields["paper"] | fields["code"] | fields["link"]


@lru_cache(maxsize=4096)
def is_section_word(text: str) -> bool:
    """Whether a heading names a part of a note (`Metadata`, `## 2. Method`, `📌 요약`) and so no paper."""
    if len(text) > 2 * _LONGEST_LABEL:
        return False
    for form in (text, _PARENTHESIS.sub("", text)):
        key = _key(form)
        if not key or key in _sections() or key in _fields() or is_label(form):
            return True
        parts = [_key(part) for part in re.split(r"[/&+,、・：:|·-]| and | und | et | y | и | 및 |と|和", form.casefold())]
        if len(parts) > 1 and all(part in _sections() or part in _fields() or not part for part in parts):
            return True
    return False


@cache
def _sections() -> frozenset[str]:
    return frozenset().union(*_table()["sections"].values())


def is_reference_word(text: str) -> bool:
    """Whether a heading announces other papers than the one the note is on: `Related work`, `参考文献`."""
    return _key(text) in _table()["sections"]["references"]


def is_review_word(text: str) -> bool:
    """Whether a heading is one that notes on a paper have: `Summary`, `Strengths`, `どんなもの？`, `方法`."""
    return _key(_PARENTHESIS.sub("", text)) in _table()["sections"]["review"]


def is_list_word(text: str) -> bool:
    """Whether a title is a collection's: `Reading list`, `Awesome …`, `论文列表`."""
    words = set(_key(text).split())
    listing = _table()["sections"]["lists"]
    return bool(words & listing) or any(not p.isascii() and p in _key(text) for p in listing)


def state_of(text: str) -> str:
    """The reading state that a text consists of: `TODO read` is `unread`, `done` `read`; '' for any other text."""
    key = _key(text)
    return next((state for state, phrases in _table()["states"].items() if key and key in phrases), "")


@cache
def leading_state() -> re.Pattern[str]:
    """The pattern of a reading state before a title, such as `TODO read:`; its group `state` is the words."""
    phrases = sorted({p for phrases in _table()["states"].values() for p in phrases}, key=len, reverse=True)
    either = "|".join(re.escape(p).replace(r"\ ", r"[\s-]") for p in phrases)
    upper = "|".join(sorted({p.upper() for p in ("todo", "done", "doing", "later", "now", "waiting", "next")}))
    return re.compile(
        rf"\s*[*_`\[(]*(?P<state>(?i:{either})(?=\s*[\])`*_]*\s*(?:[:：]|$|https?:|\[))|(?:{upper})(?=\s))[\])`*_]*\s*[:：]?\s*"
    )
