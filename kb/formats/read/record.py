"""A reference as a file has it, and the list entry that it becomes: identifiers, names, years, markup and citation keys."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from kb.errors import IdentifierError
from kb.identifiers import ArxivId, paper_id, title_id
from kb.library import Entry
from kb.papers import Author
from kb.text.latex import to_unicode

_YEAR = re.compile(r"(?<!\d)(?:1[0-9]|20)\d{2}(?!\d)")
_ARXIV_VENUES = re.compile(r"\s*(?:arxiv|corr\b|computing research repository)", re.IGNORECASE)
_ID = r"(?P<id>[a-z][a-z-]+(?:\.[a-z]{2})?/\d{7}|\d{4}\.\d{4,5})(?:v\d{1,3})?"
# A line that is nothing but an arXiv identifier: `arXiv:1706.03762v5 [cs.CL]`, `eprint: 1706.03762`,
# `arXiv preprint arXiv:1706.03762, 2017`.
_ARXIV_LINE = re.compile(
    r"[\s(\[]*(?:(?:_?e-?prints?|preprint|arxiv(?:\.org)?(?:[ _-]?id)?|available (?:as|at)|in)[\s:.=,(]*)*"
    r"(?P<named>arxiv(?:\.org/(?:abs|pdf)/|[\s:.=]*(?:abs/)?)|abs/)?" + _ID + r"(?:\.pdf)?"
    r"[\s)\].,;]*(?:\[[A-Za-z][\w .,-]*\])?[\s)\].,;]*(?:\(?(?:[A-Z][a-z]{2,8}\.?\s+)?\d{4}\)?)?[\s.]*",
    re.IGNORECASE,
)
_MARKUP = re.compile(r"</?(?:i|b|em|strong|u|sub|sup|span|sc|scp|tt|italic|bold|jats:\w+)\b[^<>]*>", re.IGNORECASE)
_SUFFIX = re.compile(r"(?:jr|sr|junior|senior|i{2,3}|iv|vi{1,3}|phd|md)\.?", re.IGNORECASE)
# What a citation key cannot hold in BibTeX, biber and pandoc.
_BAD_IN_KEY = re.compile(r"[\s,{}\"'#%\\~()=@$&^`]")
_ORGANISATIONS = re.compile(
    r"\b(?:collaboration|consortium|group|team|project|university|institute|laborator(?:y|ies)|labs?|society|association|committee|"
    r"council|foundation|inc|ltd|corp|workshop|network|initiative|agency|ministry|department|organi[sz]ation|company|center|centre)\b",
    re.IGNORECASE,
)
#: The name that stands for authors who are not listed, as BibTeX writes it.
OTHERS = Author("others")


@dataclass(frozen=True, slots=True)
class Record:
    """A reference as a file has it, in Unicode and without markup."""

    line: int
    """Line or number at which it begins."""
    title: str
    authors: tuple[Author, ...] = ()
    year: int | None = None
    venue: str = ""
    key: str = ""
    """Citation key in the file."""
    arxiv: str = ""
    """What its own field for an arXiv identifier says."""
    doi: str = ""
    addresses: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    """Fields in which an identifier may stand alone: notes, numbers, volumes."""
    remark: str = ""
    tags: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    """What was mended in reading it."""

    def entry(self) -> Entry:
        """The list entry of the reference."""
        return Entry(self.identifier(), self.title, self.authors, self.year, plain_venue(self.venue), self.remark, self.tags)

    def identifier(self) -> str:
        """Canonical id from arXiv id, DOI, address or title, in this order.

        An arXiv identifier counts where it is all that a line of a field holds: in a sentence it names another paper.
        """
        arxiv = [self.arxiv, *self.addresses]
        if _ARXIV_VENUES.match(self.venue):
            arxiv.append(self.venue)
        named = [line for text in self.texts for line in text.split("\n")]
        candidates = [f"arxiv:{i}" for i in map(_arxiv_alone, arxiv) if i]
        candidates += [f"arxiv:{i}" for line in named if (i := _arxiv_alone(line, bare=bool(_ARXIV_VENUES.match(self.venue))))]
        candidates += [f"doi:{doi}" if (doi := first_doi(self.doi)) else "", *self.addresses]
        for candidate in filter(None, candidates):
            try:
                return paper_id(candidate)
            except IdentifierError:
                continue  # free text: try the next field
        return title_id(self.title)


def _arxiv_alone(text: str, *, bare: bool = True) -> str:
    """The arXiv identifier that is all of a text; empty if there is none, or if its kind is not named and `bare` is False."""
    text = re.sub(r"\\url\s*\{([^{}]*)\}", r"\1", text).strip().strip("{}<>")
    if "arxiv.org/" in text.lower() and " " not in text:
        try:
            found = paper_id(text if "://" in text else f"https://{text}")
        except IdentifierError:
            return ""
        return found.removeprefix("arxiv:") if found.startswith("arxiv:") else ""
    match = _ARXIV_LINE.fullmatch(text)
    if match is None or not (bare or re.search("arxiv|eprint|abs/", text, re.IGNORECASE)):
        return ""
    try:
        return ArxivId.parse(match["id"]).identifier
    except IdentifierError:
        return ""


def first_doi(text: str) -> str:
    """The first DOI in a field that may hold several, or an address; empty if there is none."""
    text = to_unicode(text) if re.search(r"[\\{}]", text) else text.strip()  # LaTeX conversion would make `--` a dash
    match = re.search(r"10\.\d{4,9}/[^\s,;]+(?:[,;](?!\s*10\.)[^\s,;]+)*", text)
    return match[0] if match else ""


def plain_venue(venue: str) -> str:
    """The venue; empty for arXiv, which publishes nothing."""
    return "" if _ARXIV_VENUES.match(venue) else venue


def one_line(value: object) -> str:
    """A string or number as text on one line; anything else as the empty string."""
    # JSON can hold lone surrogates, which UTF-8 cannot encode.
    return " ".join(str(value).encode("utf-8", "replace").decode().split()) if isinstance(value, str | int) else ""


def without_markup(text: str) -> str:
    """Text without HTML's font elements, entities read: `Salt &amp; <i>Light</i> at &lt;5` → `Salt & Light at <5`.

    A `<` that begins no such element stays.
    """
    for _ in range(2):  # some programs escape what is escaped already
        text = _MARKUP.sub("", text)
        if "&" not in text:
            break
        text = html.unescape(text)
    return " ".join(text.split())


def year_of(*texts: str) -> int | None:
    """The first year from 1000 on that the texts name, each read before the next: `forthcoming`, `2019-12/2020-01` → 2019."""
    for text in texts:
        if match := _YEAR.search(text):
            return int(match[0])
    return None


def cleaned_key(key: str) -> str:
    """The citation key if BibTeX can hold it; empty if not, or if it is an address, as Zotero gives items."""
    return "" if not key or "://" in key or _BAD_IN_KEY.search(key) else key


def inverted_name(name: str) -> Author:
    """Parse `Family, Given, Suffix` or `Family Suffix, Given`; a name without a comma is an organisation or a single name."""
    parts = [part.strip() for part in name.split(",")]
    family, given, suffix = (*parts, "", "")[:3]
    if len(parts) == 3 and _SUFFIX.fullmatch(given) and not _SUFFIX.fullmatch(suffix):
        given, suffix = suffix, given
    return Author.of_parts(family, given, suffix)


def split_names(text: str) -> list[str]:
    """Names in one field, apart: at semicolons, `and`, ampersands, and at those commas that stand between persons.

    A name in braces, or one that is an organisation's, stays whole.
    """
    text = " ".join(text.split())
    if (inner := _all_in_braces(text)) and re.search(r"\sand\s|;", inner) and not _ORGANISATIONS.search(inner):
        text = inner
    pieces = list(_outside_braces(text, r"\s*;\s*|\s+\\?&\s+|,?\s+and\s+"))
    # A comma before `and` is English: in BibTeX a name cannot end with one.
    has_list_comma = re.search(r",\s+and\s", text) is not None
    return [part for piece in pieces for part in _at_commas(piece, has_list_comma) if part]


def _all_in_braces(text: str) -> str:
    """What stands between the braces that enclose all of a text; empty if there are none."""
    if not (text.startswith("{") and text.endswith("}")):
        return ""
    depth = 0
    for at, character in enumerate(text):
        depth += (character == "{") - (character == "}")
        if depth == 0 and at < len(text) - 1:
            return ""
    return text[1:-1].strip()


def _outside_braces(text: str, pattern: str) -> Iterator[str]:
    """Split at matches of a pattern that are not within braces."""
    start = 0
    for match in re.finditer(pattern, text, re.IGNORECASE):
        before = text[: match.start()]
        if before.count("{") - before.count("\\{") == before.count("}") - before.count("\\}"):
            yield text[start : match.start()].strip()
            start = match.end()
    yield text[start:].strip()


def _at_commas(name: str, has_list_comma: bool) -> list[str]:
    """One field of BibTeX's name list, split if its commas separate persons and not the parts of one name."""
    if "{" in name or "=" in name:
        return [name]
    parts = [part.strip() for part in name.split(",") if part.strip()]
    if len(parts) < 2 or (len(parts) <= 3 and any(map(_SUFFIX.fullmatch, parts[1:]))):
        return [name.strip(" ,")]
    if all(" " in part and not _is_initials(part) for part in parts):
        if len(parts) == 2 and not has_list_comma:  # `Garcia Marquez, Gabriel Jose`
            return [name]
        return [re.sub(r"^(\S+) ([A-Z]{1,3})$", r"\1, \2", part) for part in parts]  # `Jon Smit, Jane Dow`; `Smit J, Dow JB`
    if len(parts) > 2 and len(parts) % 2 == 0:  # `Nowa, U., Misr, A.`
        return [f"{family}, {given}" for family, given in zip(parts[::2], parts[1::2], strict=True)]
    return [name.strip(" ,")]


def _is_initials(part: str) -> bool:
    return all(len(word) <= 2 or word.endswith(".") for word in part.split())


def is_sure(authors: Iterable[Author]) -> bool:
    """False if a name looks like several persons in one, which the user should look at."""
    return not any(
        "," in a.name or ";" in a.name or re.search(r"\sand\s", a.name) for a in authors if not _ORGANISATIONS.search(a.name)
    )
