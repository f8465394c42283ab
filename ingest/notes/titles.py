"""Titles as people write them: with emoji, nicknames, organisations, venues and years around them."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from ingest.notes.labels import is_label, is_section_word, state_of

# Venues that no title ends with, and words that are a venue only together with a year.
_VENUES = (
    "3DV|AAAI|AAMAS|ACCV|ACL|ACM ?MM|AISTATS|ALT|arXiv|ASPLOS|ASRU|BMVC|bioRxiv|CHI|CIKM|COLING|COLM|COLT|CoNLL|CoRL"
    "|CoRR|CVPR|CVPRW|EACL|EAMT|ECAI|ECCV|ECCVW|ECIR|ECML|EMNLP|EuroSys|FAccT|ICASSP|ICCV|ICCVW|ICDAR|ICDE|ICDM|ICIP"
    "|ICLR|ICME|ICML|ICPR|ICRA|ICTIR|IJCAI|IJCNLP|IJCNN|IJCV|INLG|INTERSPEECH|IROS|ISBI|ISCA|ISSCC|ISWC|IUI|IWSLT"
    "|JAIR|JMLR|KDD|L4DC|LREC|MedIA|medRxiv|MICCAI|MICRO|MIDL|MLHC|MLSys|MM|NAACL|NeurIPS|NIPS|NSDI|OSDI|PAMI|PAKDD"
    "|PNAS|PODC|PODS|PPoPP|RA-?L|RecSys|SDM|SIGCOMM|SIGDIAL|SIGGRAPH(?: Asia)?|SIGIR|SIGMOD|SLT|SOSP|TACL|TASLP"
    "|TCSVT|TGRS|THMS|TIP|TITS|TKDE|TMI|TMLR|TMM|TNNLS|TOG|TOIS|TPAMI|T-PAMI|TSP|TVCG|UAI|UIST|USENIX|VLDB|WACV|WMT"
    "|WSDM|OpenReview|Preprint"
)
_YEAR_MARK = r"(?:\s*['’`]?\s*(?:(?:19|20)\d{2}|\d{2})\b)"
_VENUE = re.compile(
    rf"(?:(?:19|20)\d\d,?[ -])?(?:IEEE |ACM |Findings of |In |in |Proc(?:eedings|\.)? of )*(?:{_VENUES})(?:[ -]?(?:Findings"
    rf"|Workshops?|W|Demo|Datasets|D&B))?(?:,?[ -]?{_YEAR_MARK})?"
    r"(?:[ ,/-]*\(?(?:Oral|Spotlight|Poster|Best Paper|Workshops?|Findings|Demo|Highlight|Outstanding|submission|under review"
    r"|Honou?rable Mention|Long|Short|Award)\)?)*"
    rf"|(?:Nature(?: [A-Z]\w+){{0,2}}|Science(?: Robotics| Advances)?|Cell|RSS|SC|WWW|ISMIR|The Web Conference|TheWebConf"
    rf"|PLOS \w+|Neurocomputing){_YEAR_MARK}"
    r"|(?:Journal|Transactions|Proceedings|Proc\.|International Conference|Conference|Workshop|IEEE Transactions) [^,]{2,80}",
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
_ANY_YEAR = re.compile(r"(?<!\d)(?:19[5-9]|20[0-4])\d(?!\d)")
_DATE = re.compile(
    r"(?:(?:\d{1,2}\.?\s+)?(?:jan|feb|mar|apr|may|jun|jul|aug|sep|sept|oct|nov"
    r"|dec)[a-z]*\.?,?\s+(?:\d{1,2},?\s+)?)?(?P<year>(?:19[5-9]|20[0-4])\d)"
    r"(?:[-./年]\s?\d{1,2}(?:[-./月]\s?\d{1,2}日?|月)?|年)?",
    re.IGNORECASE,
)
_SHORT_YEAR = re.compile(r"['’`]\s?(\d\d)\b|[A-Za-z](\d\d)$")
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
    """Take a title apart from the nickname, authors, organisations, venues and years behind it.

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
        elif is_venue(part) or _is_organisation(part) or (part.startswith("and ") and _ends_a_list(part, parts[-2])):
            venues.insert(0, part)
        elif after_nickname and _PERSON.fullmatch(part):
            # After the bracket of a nickname the title is over: what follows says who wrote it.
            authors.insert(0, part)
        elif re.search(r"\bet\.? al\.?$", part) and (names := authors_of(part)):
            authors[:0] = names
        elif after_nickname and all(map(_is_name, _names(part))):
            venues.insert(0, part)
        else:
            break
        parts.pop()
    title, tags, aside = _without_nickname(", ".join(parts).rstrip(", "))
    venue = ", ".join([aside, *venues] if aside else venues)
    return Title(title, tags, tuple(authors), "" if _YEAR.fullmatch(venue) else venue, year or _year_of(venue))


def aside(text: str) -> tuple[str, int | None, str]:
    """Venue, year, and the rest of a text that goes on behind a title, as in `(NeurIPS 2017) – a classic`."""
    match = re.match(r"\s*[(\[]([^()\[\]]{2,80})[)\]]", text)
    if match is None:
        return "", None, text
    parts = [part.strip() for part in match[1].split(",")]
    years = [int(part) for part in parts if _YEAR.fullmatch(part)]
    venues = [part for part in parts if not _YEAR.fullmatch(part)]
    if not all(is_venue(part) or _is_organisation(part) for part in venues):
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
    if is_venue(inner) or _YEAR.fullmatch(inner):
        return bare, (), inner
    if is_label(inner) or state_of(inner):
        return bare, (), ""
    if is_citation(inner):
        return bare, (), inner[-4:] if _YEAR.fullmatch(inner[-4:]) else ""
    if len(inner.split()) > 4 or _NO_NICKNAME.search(inner):
        return title, (), ""
    return bare, (inner.removeprefix("and "),), ""


def is_venue(text: str) -> bool:
    """Whether a text is a venue, with or without a year: `ACL' 20`, `NeurIPS 2020 (Spotlight)`."""
    return 0 < len(text) <= 100 and _VENUE.fullmatch(text) is not None


def venue_and_year(text: str) -> tuple[str, int | None]:
    """The venue and year that a text consists of; neither where it says anything else."""
    words = " ".join(text.strip(" .,;:").split())
    if not words or len(words) > 100:
        return "", None
    if date := _DATE.fullmatch(words):
        return "", int(date["year"])
    if not is_venue(words):
        return "", None
    year = next((int(y) for y in _ANY_YEAR.findall(words)), None)
    if year is None and (short := _SHORT_YEAR.search(words)):
        digits = int(short[1] or short[2])
        year = digits + (2000 if digits < 50 else 1900)
    venue = re.sub(r"\s*['’`]\s*(?=\d)", " ", words).strip(" ,")
    return venue, year


_CITED = re.compile(
    r"[\[(]?(?:[^\W\d_][\w'’-]+(?:,? (?:and|&|et) [^\W\d_][\w'’-]+| et\.? al\.?)?,?\s*)\(?(?:19|20)\d\d[a-z]?\)?[\])]?"
    r"|[^\W\d_][\w'’-]+ et\.? al\.?"
)


def is_citation(text: str) -> bool:
    """Whether linked words only cite: `Byron et al., 2020`, `(Byron and Weber 2019)`."""
    return len(text) <= 80 and _CITED.fullmatch(text.strip()) is not None


def is_titular(text: str) -> bool:
    """Whether words may be a title at all: no label, address, state, section, venue or citation."""
    bare = clean_title(text).strip(" .,:;|()[]")
    if not bare or len(bare) > 400 or not re.search(r"[^\W\d_]", bare):
        return False
    if is_label(bare) or state_of(bare) or is_venue(bare) or is_citation(bare):
        return False
    return not (is_section_word(bare) and len(bare.split()) <= 3)


_NAME_WORD = r"(?:[A-ZÀ-ÞŁŠŽĐĆČĞİŞА-Я][\w'’.-]*|van|von|der|den|de|del|della|di|da|la|le|el|al|bin|ibn|ten|ter|dos|du|zu)"
_FULL_NAME = re.compile(rf"{_NAME_WORD}(?: {_NAME_WORD}){{1,4}}")
_REVERSED = re.compile(r"[A-ZÀ-ÞŁŠŽĐĆČА-Я][\w'’ -]+, (?:[A-ZÀ-ÞА-Я][\w'’-]*\.? ?){1,3}")
_CJK_NAME = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff·]{2,8}|[\uac00-\ud7a3]{2,4}")
_ET_AL = re.compile(r"\s*,?\s*(?:\bet\.?\s+al\b\.?|\band others\b|等人?|ら$|외$|и др\.?|u\. ?a\.)", re.IGNORECASE)


def authors_of(text: str, *, is_set_apart: bool = False, is_before: bool = False) -> tuple[str, ...]:
    """The names in a text that holds nothing else; none where it may as well be a title.

    Set apart, in italics, two names suffice; else it takes `et al.`, initials, `by …`, or three names. Before a title names
    may stand as `Byron, Ada, et al.`
    """
    bare = text.strip().strip("*_`()[]").strip(" .,;:")
    if not bare or len(bare) > 1500:
        return ()
    said = re.match(r"(?:by|von|par|por|authors?|作者|著者|저자|авторы?)\s*[:：]?\s+(?=\S)", bare, re.IGNORECASE)
    if said:
        bare = bare[said.end() :]
    bare = re.sub(r"\s*[,(]?\s*\(?(?:19|20)\d\d\)?\.?$", "", bare)
    cut = _ET_AL.search(bare)
    has_others = cut is not None
    if cut is not None:
        if cut.end() < len(bare.rstrip(" .,")) and not re.fullmatch(r"[\s,.]*(?:\(?(?:19|20)\d\d\)?)?[\s.,]*", bare[cut.end() :]):
            return ()
        bare = bare[: cut.start()].rstrip(" ,")
    if not bare:
        return ()
    short = [re.fullmatch(r"([A-ZÀ-Þ][\w'’-]+) ([A-Z]{1,3})", name) for name in re.split(r",\s*", bare)]
    if is_before and all(short):  # Byron A, Weber CD
        return tuple(f"{'. '.join(m[2])}. {m[1]}" for m in short if m)
    if _REVERSED.fullmatch(bare) and (is_before or has_others):
        family, _, given = bare.partition(", ")
        return (f"{given.strip()} {family}",) if len(given.split()) <= 3 else ()
    pairs = re.split(r"\s*;\s*|\s+and\s+|\s+&\s+|(?<=\.),\s+", bare)
    if len(pairs) > 1 and all(_REVERSED.fullmatch(p.strip(" ,")) for p in pairs):
        return tuple(" ".join(reversed(p.strip(" ,").split(", ", 1))) for p in pairs)
    if is_before and "," in bare and re.search(r"[,&]\s*(?:and\s+|&\s*)?[A-Z]\.", bare):  # Byron, A., Weber, C.
        found = re.findall(r"([A-ZÀ-ÞА-Я][\w'’-]+(?: [A-ZÀ-ÞА-Я][\w'’-]+)?), ((?:[A-ZÀ-ÞА-Я]\.[ -]?)+)", bare)
        if found:
            return tuple(f"{given.strip()} {family}" for family, given in found)
    if is_before and (first := re.match(r"([A-ZÀ-Þ][\w'’-]+), ([A-Z][\w'’.-]*)(?=,? (?:and|&) |, [A-Z][\w.]+ [A-Z])", bare)):
        bare, has_others = f"{first[2]} {first[1]}{bare[first.end() :]}", True  # Weber, Carl, and Eva Sun
    names = [
        name.strip(" *_")
        for name in re.split(r"\s*[,;、，]\s*(?:and\s+|&\s*)?|\s+and\s+|\s+&\s+|\s+und\s+|\s+et\s+|\s+y\s+|\s+и\s+", bare)
    ]
    names = [name for name in names if name]
    initialled = sum(bool(_INITIALS.fullmatch(name)) for name in names)
    if not all(
        _FULL_NAME.fullmatch(n) or _INITIALS.fullmatch(n) or _CJK_NAME.fullmatch(n) or (has_others and n.istitle()) for n in names
    ):
        return ()
    if any(_is_known(n) or is_label(n) for n in names):
        return ()
    enough = (
        has_others
        or said
        or initialled
        or len(names) >= (1 if is_set_apart and len(names[0].split()) == 2 else 2 if is_set_apart else 3)
    )
    return tuple(names) if enough else ()


def _is_organisation(text: str) -> bool:
    """Whether a part consists of names of organisations: one of a list joined by `and` must be known."""
    names = _names(text)
    return bool(names) and all(_is_name(name) for name in names) and any(_is_known(name) for name in names)


def _names(text: str) -> list[str]:
    return [name for name in re.split(r" and | & |/", text) if name]


def _ends_a_list(text: str, before: str) -> bool:
    """Whether `and Xi’an Jiaotong` ends a list of organisations."""
    return _is_name(text.removeprefix("and ")) and (_is_organisation(before.strip()) or is_venue(before.strip()))


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
    """Split names at commas and the word and: `Ada Byron, Carl Weiss and Eva Sun`; `et al.` is left out."""
    text = re.sub(r"[,.]?\s*\bet\.?\s+al\b\.?|\s*\band others\b", "", text.strip().removesuffix("."), flags=re.IGNORECASE)
    names = (" ".join(name.split()) for name in re.split(r"\s*[,;]\s*(?:and\s+)?|\s+and\s+|\s+&\s+", text))
    return tuple(name.rstrip(".") if len(name.rstrip(".").split()[-1]) > 1 else name for name in names if name.strip("."))


def split_authors(text: str) -> tuple[str, ...]:
    """The names in the value of a label, whatever parts them; `Byron, Ada` is turned round."""
    bare = re.sub(r"\(.*?\)|\d+(?=[,;\s]|$)|[†‡§¶*∗]", "", text[:3000]).strip(" *_")
    bare = re.sub(r"[\[\]]{2}|[()]", "", bare)
    if not bare:
        return ()
    if ";" in bare or (" and " in bare and bare.count(",") <= bare.count(" and ") + 1 and re.match(r"[^,]+, [^,]+ and ", bare)):
        names = [name.strip(" ,") for name in re.split(r"\s*;\s*|\s+and\s+", bare)]
        return tuple(_in_reading_order(name) for name in names if name and not re.fullmatch(r"et al\.?", name))
    if "、" in bare or "，" in bare:
        return tuple(name.strip(" *_") for name in re.split(r"[、，,]\s*|\s+and\s+", bare) if name.strip(" *_等"))
    return tuple(name.strip(" *_") for name in split_people(bare) if name.strip(" *_"))


def _in_reading_order(name: str) -> str:
    family, _, given = name.partition(", ")
    return f"{given} {family}" if given and "," not in given else name


def split_tags(text: str) -> list[str]:
    """The tags in a value: parted by commas, semicolons, bars, or as `#words` by blanks."""
    text = re.sub(r"[\[\]]{1,2}", "", text.strip())
    parts = re.split(r"[,;，；、|/]" if re.search(r"[,;，；、|]", text) else r"\s+(?=#)", text)
    if len(parts) == 1 and "#" not in text and "/" in text:
        parts = text.split("/")
    return [tag for part in parts if (tag := part.strip().lstrip("#").strip(" `*_\"'")) and len(tag) <= 80]


_KIND_OF_NOTE = re.compile(
    r"^\W*(?:paper|article|review|notes?|paper (?:review|notes?|summary)"
    r"|论文|论文笔记|论文阅读|论文解读|論文|論文メモ|논문|논문 리뷰|статья)"
    r"\s*[:：]\s*",
    re.IGNORECASE,
)


def without_kind(words: str) -> str:
    """A title without what the note is, as in `Paper review: Attention Is All You Need`."""
    return _KIND_OF_NOTE.sub("", words)
