"""Titles as people write them: with emoji, nicknames, organisations, venues and years around them."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from ingest.notes.links import is_label

# Venues that no title ends with, and words that are a venue only together with a year.
_VENUES = (
    "3DV|AAAI|AAMAS|ACL|AISTATS|arXiv|ASPLOS|BMVC|CHI|CIKM|COLING|COLT|CoNLL|CoRL|CoRR|CVPR|EACL|ECCV|ECML|EMNLP|FAccT"
    "|ICASSP|ICCV|ICDM|ICLR|ICML|ICRA|IJCAI|IJCNN|INTERSPEECH|IROS|ISCA|JAIR|JMLR|KDD|LREC|MICCAI|MLSys|NAACL|NeurIPS"
    "|NIPS|NSDI|OSDI|PAMI|PNAS|RecSys|SIGGRAPH|SIGIR|SIGMOD|SOSP|TACL|TMLR|TPAMI|UAI|VLDB|WACV|WSDM"
)
_VENUE = re.compile(
    rf"(?:(?:{_VENUES})(?:[ -](?:Findings|Workshops?))?|(?:Findings of )?(?:{_VENUES}))(?:[ ']*(?:\d{{4}}|\d{{2}}))?"
    r"|(?:Nature|Science|Cell|RSS|SC|WWW|ISMIR)[ ']*(?:\d{4}|\d{2})"
    r"|(?:Journal|Transactions|Proceedings|Proc\.|International Conference|Conference|Workshop) [^,]{2,80}",
    re.IGNORECASE,
)
_YEAR = re.compile(r"(?:19|20)\d{2}")
# Words that make a name an institution's, wherever they stand in it.
_INSTITUTION = re.compile(
    r"(?:Univ\b|Uni\b|Universi|Institut|Lab\b|Labs\b|Laborator|College|Academy|Inc\b|Corp\b|Corporation|Ltd\b|GmbH\b"
    r"|OpenResearch\b|UToronto\b|ETH\b|EPFL\b|KAIST\b|INRIA\b|IDSIA\b|MIT\b|CMU\b|UCLA\b|UCL\b|UC [A-Z])"
)
# Names that an organisation is known by when they are a word of the part …
_KNOWN = frozenset(
    [
        "alibaba",
        "anthropic",
        "baidu",
        "bytedance",
        "deepmind",
        "deepseek",
        "facebook",
        "google",
        "huawei",
        "microsoft",
        "nvidia",
        "openai",
        "salesforce",
        "samsung",
        "tencent",
        "berkeley",
        "caltech",
        "cornell",
        "epfl",
        "harvard",
        "hopkins",
        "jiaotong",
        "mellon",
        "oxford",
        "princeton",
        "stanford",
        "toronto",
        "tsinghua",
        "yale",
        "montreal",
        "idsia",
    ]
)
# … and those that are words of titles too, so that they must stand alone or with `AI`, `Research`, `Brain`.
_AMBIGUOUS = re.compile(
    r"(?:Meta|Apple|Amazon|Intel|IBM|Adobe|Mila|Cambridge|Columbia|Cohere|Mistral|Hugging ?Face|Allen|Stability|Yandex|Waymo)"
    r"(?: (?:AI|Research|AI Research|Labs?|Brain))?|(?:[A-Z]\w+ )?AI Research|[A-Z]\w+ Research"
)
_INITIALS = re.compile(r"(?:[A-Z]\.[ -]?){1,4}(?:[\w'’-]+ ){0,2}[\w'’-]+")
_PERSON = re.compile(r"[A-Z][\w'’.-]+(?: [A-Z][\w'’.-]*){1,2}")
_NICKNAME = re.compile(r"\s+\(([^()]{1,60})\)$")
# What stands in brackets after a title without being a name for the paper.
_NO_NICKNAME = re.compile(r"\b(?:edition|abstract|version|part|revised|supplement\w*|appendix|vol)\b", re.IGNORECASE)
_TAG = re.compile(r"</?[A-Za-z][^<>]{0,300}>")


@dataclass(frozen=True, slots=True)
class Title:
    """A title, and what was written behind it."""

    text: str
    tags: tuple[str, ...] = ()
    """The nickname of the paper, such as `LoRA`."""
    authors: tuple[str, ...] = ()
    venue: str = ""
    """Organisations and venues, as they were written."""
    year: int | None = None


def clean_title(text: str) -> str:
    """A title in one line, without leftover markup, emoji and link labels such as `| 👾 Code`; formulas stay."""
    text = _TAG.sub(" ", text).replace("\\|", "|").replace("\\&", "&")
    segments = text.split("|")
    while len(segments) > 1 and is_label(segments[-1]):
        segments.pop()
    text = "".join(c for c in "|".join(segments) if not _is_emoji(c))
    return " ".join(text.replace("**", " ").split()).strip(" *_`") if "$" not in text else " ".join(text.split())


def _is_emoji(character: str) -> bool:
    code = ord(character)
    if code in {0x200D, 0xFE0E, 0xFE0F} or 0x1F3FB <= code <= 0x1F3FF:
        return True
    return (0x2600 <= code <= 0x2BFF or code >= 0x1F000) and unicodedata.category(character) == "So"


def split_title(text: str) -> Title:
    """Takes a title apart from the nickname, authors, organisations, venues and years behind it.

    Titles have commas too, so a part behind a comma goes only where it is known for what it is.
    """
    title = clean_title(text)
    parts = title.split(", ")
    venues: list[str] = []
    authors: list[str] = []
    year: int | None = None
    while len(parts) > 1:
        part = parts[-1].strip().rstrip(",")
        after_nickname = parts[-2].endswith(")")
        if _YEAR.fullmatch(part):
            year = year or int(part)
        elif _INITIALS.fullmatch(part):
            authors.insert(0, part)
        elif _is_venue(part) or _is_organisation(part) or (part.startswith("and ") and _ends_a_list(part, parts[-2])):
            venues.insert(0, part)
        elif after_nickname and _PERSON.fullmatch(part):
            # After the bracket of a nickname the title is over: what follows says who wrote it.
            authors.insert(0, part)
        elif after_nickname and all(map(_is_name, _names(part))):
            venues.insert(0, part)
        else:
            break
        parts.pop()
    title, tags, aside = _without_nickname(", ".join(parts).rstrip(", "))
    venue = ", ".join([aside, *venues] if aside else venues)
    return Title(title, tags, tuple(authors), venue, year or _year_of(venue))


def aside(text: str) -> tuple[str, int | None, str]:
    """Venue, year, and the rest of a text that goes on behind a title, as in `(NeurIPS 2017) – a classic`."""
    match = re.match(r"\s*[(\[]([^()\[\]]{2,80})[)\]]", text)
    if match is None:
        return "", None, text
    parts = [part.strip() for part in match[1].split(",")]
    years = [int(part) for part in parts if _YEAR.fullmatch(part)]
    venues = [part for part in parts if not _YEAR.fullmatch(part)]
    if not all(_is_venue(part) or _is_organisation(part) for part in venues):
        return "", None, text
    venue = ", ".join(venues)
    return venue, years[0] if years else _year_of(venue), text[match.end() :]


def _without_nickname(title: str) -> tuple[str, tuple[str, ...], str]:
    """The title, its nickname if it ends with one, and the venue if that stands in the brackets instead."""
    match = _NICKNAME.search(title[-70:])
    if match is None or len(match[0]) >= len(title):
        return title, (), ""
    inner = match[1].strip()
    bare = title[: len(title) - len(match[0])].rstrip(" ,")
    if _is_venue(inner) or _YEAR.fullmatch(inner):
        return bare, (), inner
    if len(inner.split()) > 4 or _NO_NICKNAME.search(inner):
        return title, (), ""
    return bare, (inner.removeprefix("and "),), ""


def _is_venue(text: str) -> bool:
    return len(text) <= 100 and _VENUE.fullmatch(text) is not None


def _is_organisation(text: str) -> bool:
    """Whether a part consists of names of organisations: one of a list joined by `and` must be known."""
    names = _names(text)
    return bool(names) and all(_is_name(name) for name in names) and any(_is_known(name) for name in names)


def _names(text: str) -> list[str]:
    return [name for name in re.split(r" and | & |/", text) if name]


def _ends_a_list(text: str, before: str) -> bool:
    """Whether `and Xi’an Jiaotong` ends a list of organisations."""
    return _is_name(text.removeprefix("and ")) and (_is_organisation(before.strip()) or _is_venue(before.strip()))


def _is_name(text: str) -> bool:
    words = text.split()
    return 0 < len(words) <= 6 and all(w[0].isupper() or w in {"of", "for", "van", "de", "the", "at"} for w in words)


def _is_known(name: str) -> bool:
    if _INSTITUTION.search(name) or _AMBIGUOUS.fullmatch(name):
        return True
    return any(word.strip(".,").lower() in _KNOWN for word in name.split())


def _year_of(venue: str) -> int | None:
    years = _YEAR.findall(venue)
    return int(years[-1]) if years else None


def split_people(text: str) -> tuple[str, ...]:
    """The names in `Ada Byron, Carl Weiss and Eva Sun`, without `et al.`"""
    text = re.sub(r"[,.]?\s*\bet\.?\s+al\b\.?|\s*\band others\b", "", text.strip().removesuffix("."), flags=re.IGNORECASE)
    names = (" ".join(name.split()) for name in re.split(r"\s*[,;]\s*(?:and\s+)?|\s+and\s+|\s+&\s+", text))
    return tuple(name.rstrip(".") if len(name.rstrip(".").split()[-1]) > 1 else name for name in names if name.strip("."))
