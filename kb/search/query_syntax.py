"""Query syntax: exact phrases, excluded words, fields, and names of authors.

    "chain of thought"  -survey  author:LeCun  year:2019..2023  title:attention  category:cs.CL  code:yes
    papers by Yann LeCun on vision    LeCun 2015    Vaswani et al., 2017

What does not fit the syntax is plain text: an unclosed quote, a field without a value, a hyphen inside a word. A text of 60 words
or more is a pasted abstract, and plain text as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Literal, get_args

from kb.store import parse_categories, parse_years
from kb.text.tokenize import name_analyzer, normalize_text

Sort = Literal["relevance", "date", "stars"]
#: Orders of the results of a search.
SORTS: tuple[Sort, ...] = get_args(Sort)
Years = tuple[int | None, int | None]

MIN_ABSTRACT_WORDS = 60
_MAX_HYPHENS = 4  # of a phrase whose hyphens also match no character; every further one matches a space or hyphen only
_QUOTES = str.maketrans("“”„‟«»", '""""""')
_HYPHENS = "-\u2010\u2011"
_OPERATOR = re.compile(
    r"""(?<![^\s(])(?:
        (?P<field>author|title|year|category|code):(?:"(?P<quoted>[^"]+)"|(?P<value>[^\s"]+))(?!\S*")
      | (?P<not>-)?"(?P<phrase>[^"]+)"(?!\w)
      | -(?P<word>(?=\d*[^\W\d_])\w[^\s"]*)
    )""",
    re.VERBOSE,
)
_AFTER_COLON = re.compile(r"(?<!\S)(author|year|category):\s+(?=\S)")
_YEARS = re.compile(r"(?:\d{4}(?:(?:\.\.|[-–])(?:\d{4})?)?|(?:\.\.|[-–])\d{4})")
_CATEGORY = re.compile(r"[a-z]+(?:-[a-z]+)*(?:\.[a-z]{2,}(?:-[a-z]+)*)?", re.IGNORECASE)
_PAPERS_BY = re.compile(
    r"(?:(?:all|new|recent|latest|the)\s+)*(?:papers?|articles?|publications?|works?)\s+(?:written\s+)?(?:by|from)\s+(?P<names>.+?)"
    r"(?:\s+(?:on|about|regarding)\s+(?P<topic>.+))?",
    re.IGNORECASE,
)
_NAMES_YEAR = re.compile(
    r"(?P<names>\D+?)(?:\s+et\s+al\.?)?,?\s+(?:(?:in|from|since)\s+)?\(?(?P<year>(?:19|20)\d\d)\)?", re.IGNORECASE
)
_AND = re.compile(r"\s*(?:,\s*(?:and\s+|&\s*)?|\s+and\s+|\s*&\s*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Conditions:
    """What every result must fulfil beside the filters of a search."""

    phrases: tuple[str, ...] = ()
    """Exact phrases in the title or the abstract."""
    excluded: tuple[str, ...] = ()
    """Words or exact phrases that neither the title nor the abstract may have."""
    titles: tuple[str, ...] = ()
    """Exact phrases in the title."""
    authors: tuple[str, ...] = ()
    """Names of authors, whole words in reading order or family name first; a family name alone will do."""
    years: tuple[Years, ...] = ()
    """First and last year, both included; None for an open end."""
    categories: tuple[str, ...] = ()
    """Any of them; `cs` stands for every `cs.…`."""
    has_code: bool = False

    def __bool__(self) -> bool:
        return self != Conditions()

    def describe(self) -> list[str]:
        """Say each condition in words: `phrase “few-shot”`, `without “survey”`, `author LeCun`, `2019–2023`."""
        return [
            *(f"phrase “{phrase}”" for phrase in self.phrases),
            *(f"without “{phrase}”" for phrase in self.excluded),
            *(f"title with “{phrase}”" for phrase in self.titles),
            *(f"author {name}" for name in self.authors),
            *(map(_describe_years, self.years)),
            *([f"category {' or '.join(self.categories)}"] if self.categories else []),
            *(["with code"] if self.has_code else []),
        ]


@dataclass(frozen=True, slots=True)
class ParsedQuery:
    """A query as it was understood."""

    text: str
    """What results are ranked by: the query without its operators, with the words of phrases; '' if there is nothing else."""
    conditions: Conditions = Conditions()


@dataclass(frozen=True, slots=True)
class AuthorReading:
    """A query read as names of authors, which holds only if there are such authors."""

    names: tuple[tuple[str, ...], ...]
    """Ways to divide the text into names, the likeliest first."""
    years: tuple[Years, ...]
    topic: str


def parse_query(text: str) -> ParsedQuery:
    """Separate the operators of a query from its text. A query without operators is returned as it is.

    Raises QueryError for a range of years whose later year comes first.
    """
    if len(text.split()) >= MIN_ABSTRACT_WORDS:
        return ParsedQuery(text)
    phrases: list[str] = []
    excluded: list[str] = []
    titles: list[str] = []
    authors: list[str] = []
    years: list[Years] = []
    categories: list[str] = []
    has_code = False

    def replacement(match: re.Match[str]) -> str:
        """What is left of an operator in the text: the words of phrases, else nothing; all of it if it is no operator."""
        nonlocal has_code
        field, value = match["field"], match["quoted"] or match["value"]
        if phrase := match["phrase"]:
            if not _words(phrase):
                return match[0]
            (excluded if match["not"] else phrases).append(" ".join(phrase.split()))
            return "" if match["not"] else phrase
        if word := match["word"]:
            if word.partition(":")[0] in {"author", "title", "year", "category", "code"}:
                return match[0]
            excluded.append(word.rstrip(".,;:!?)"))
            return ""
        match field:
            case "title" if _words(value):
                titles.append(" ".join(value.split()))
                return value
            case "author" if _words(value):
                authors.append(" ".join(value.replace("_", " ").split()))
            case "year" if found := _parse_years(value):
                years.append(found)
            case "category" if all(map(_CATEGORY.fullmatch, value.split(","))):
                categories.extend(parse_categories([value]))
            case "code" if value.lower() in {"yes", "true", "1"}:
                has_code = True
            case _:
                return match[0]
        return ""

    rest = _OPERATOR.sub(replacement, _AFTER_COLON.sub(r"\1:", text.translate(_QUOTES)))
    conditions = Conditions(
        tuple(phrases), tuple(excluded), tuple(titles), tuple(authors), tuple(years), tuple(categories), has_code
    )
    return ParsedQuery(" ".join(rest.split()), conditions) if conditions else ParsedQuery(text)


def read_authors(text: str) -> AuthorReading | None:
    """Read `papers by X`, `papers by X on Y`, `X 2015` or `X et al., 2015`; None for any other text."""
    topic = ""
    years: tuple[Years, ...] = ()
    found = _PAPERS_BY.fullmatch(text.strip())
    names = found["names"] if found else text.strip()
    if found:
        topic = found["topic"] or ""
    if dated := _NAMES_YEAR.fullmatch(names):
        names, years = dated["names"], ((int(dated["year"]), int(dated["year"])),)
    elif not found:
        return None
    names = re.sub(r"\s+et\s+al\.?$", "", names.strip(" ,()"), flags=re.IGNORECASE)
    whole, parts = (names,), tuple(name for name in _AND.split(names) if name)
    if not _words(names) or max(len(name.split()) for name in parts) > _MAX_NAME_WORDS:
        return None
    return AuthorReading((whole, parts) if parts != whole else (whole,), years, topic)


_MAX_NAME_WORDS = 5


def phrase_forms(phrase: str) -> Iterator[list[str]]:
    """The word sequences that an exact phrase stands for, without case and accents.

    A hyphen in the phrase matches a hyphen, a space or nothing: `few-shot` gives `few shot` and `fewshot`.
    """
    chunks = phrase.split()
    hyphens = 0
    choices: list[list[str]] = []
    for chunk in chunks:
        parts = [part for part in re.split(f"[{_HYPHENS}]", chunk) if _words(part)]
        hyphens += len(parts) - 1
        spaced = " ".join(parts)
        choices.append([spaced] if len(parts) < 2 or hyphens > _MAX_HYPHENS else [spaced, "".join(parts)])
    seen: set[tuple[str, ...]] = set()
    for forms in product(*choices):
        words = _words(" ".join(forms))
        if words and tuple(words) not in seen:
            seen.add(tuple(words))
            yield words


def _words(text: str) -> list[str]:
    """The words of a text without case and accents."""
    return list(name_analyzer().analyze(normalize_text(text)))


def _parse_years(text: str) -> Years | None:
    """`2019`, `2019..2023`, `2019-2023`, `2019..` or `..2023`; None for any other text.

    Raises QueryError if the later year comes first.
    """
    return parse_years(re.sub(r"\.\.|[-–]", "..", text)) if _YEARS.fullmatch(text) else None


def _describe_years(years: Years) -> str:
    first, last = years
    if first == last:
        return f"year {first}"
    return f"years {first or ''}–{last or ''}"
