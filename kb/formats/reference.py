"""One paper as a bibliography needs it, whatever the format."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime

from kb.formats.venue import Venue, published_venue
from kb.identifiers import paper_url
from kb.library import Entry
from kb.papers import PARTICLES, Author, CodeLink, Paper
from kb.text.latex import to_unicode

_SMALL_WORDS = frozenset(
    "a an and are as at by can do does for from how in is it of on or the to towards via what when why with".split()
)
_GROUPS = frozenset("team collaboration consortium group project".split())
# Letters that no decomposition turns into ASCII.
_LETTERS = str.maketrans(
    {"ß": "ss", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "ð": "d",
     "Ð": "D", "þ": "th", "Þ": "Th", "ı": "i"}
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reference:
    """A paper with all that any of the formats writes of it."""

    key: str
    """Citation key: ASCII, unique in the library, the same in every export."""
    paper_id: str
    title: str
    """As the source has it, with LaTeX where it has LaTeX."""
    authors: tuple[Author, ...]
    """In Unicode, without LaTeX."""
    year: int | None
    """Of the venue where the paper was published, else of the preprint."""
    venue: Venue | None
    arxiv: str
    """arXiv identifier with its version; empty where there is none."""
    primary_class: str
    doi: str
    url: str
    code: tuple[str, ...]
    """Repositories, the best first."""
    abstract: str
    remark: str
    tags: tuple[str, ...]
    added: datetime | None
    read: datetime | None
    published: date | None
    updated: date | None

    @property
    def plain_title(self) -> str:
        """The title in Unicode."""
        return to_unicode(self.title)

    @property
    def plain_abstract(self) -> str:
        return to_unicode(self.abstract)


def is_organisation(author: Author) -> bool:
    """Whether a name is not to be taken apart: `NVIDIA`, `ATLAS Collaboration`."""
    return not author.given or author.family.casefold() in _GROUPS


def particle_and_family(author: Author) -> tuple[str, str]:
    """`van der` and `Maaten`."""
    words = author.family.split()
    count = 0
    while count < len(words) - 1 and words[count].islower() and words[count] in PARTICLES:
        count += 1
    return " ".join(words[:count]), " ".join(words[count:])


def wished_key(authors: Sequence[Author], year: int | None, title: str) -> str:
    """The citation key by rule: first family name, year, first word of the title that says something."""
    family = "".join(particle_and_family(authors[0])[1].split()) if authors else ""
    words = (_ascii(word) for word in re.split(r"[\s\-–—:/,.]+", to_unicode(title)))
    word = next((w for w in words if w and w not in _SMALL_WORDS), "")
    return f"{_ascii(family)}{year or ''}{word}" or "untitled"


def _ascii(text: str) -> str:
    letters = unicodedata.normalize("NFKD", text.translate(_LETTERS)).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]", "", letters.casefold())


def clean_authors(authors: Sequence[Author]) -> tuple[Author, ...]:
    """The names in Unicode; what stands between an organisation and its members (`NVIDIA, :, …`) is no author."""
    named = (Author(*(to_unicode(_without_controls(part)) for part in (a.family, a.given, a.suffix))) for a in authors)
    return tuple(_with_its_particle(a) for a in named if re.search(r"\w", a.family))


def _with_its_particle(author: Author) -> Author:
    """arXiv takes `van der` for given names; in a bibliography it goes with the family name."""
    words = author.given.split()
    start = len(words)
    while start > 1 and words[start - 1] in PARTICLES:
        start -= 1
    return Author(" ".join([*words[start:], author.family]), " ".join(words[:start]), author.suffix)


def _without_controls(text: str) -> str:
    """The text without characters that no format has a place for, line breaks excepted."""
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in {"Cc", "Cs"})


def make_reference(entry: Entry, paper: Paper | None, code: Sequence[CodeLink], key: str = "") -> Reference:
    """The reference for an entry of a list; `paper` is what the catalogue knows, `None` where it does not know it."""
    known = paper or Paper(entry.paper_id, entry.title, authors=entry.authors, year=entry.year, origin="notes")
    venue = published_venue(known.journal_ref, known.comments) or published_venue(entry.venue, "")
    arxiv = ""
    if known.id.startswith("arxiv:"):
        version = max((v.number for v in known.versions), default=None)
        arxiv = known.id.removeprefix("arxiv:") + (f"v{version}" if version else "")
    doi = known.doi or (known.id.removeprefix("doi:") if known.id.startswith("doi:") else "")
    return Reference(
        key=key,
        paper_id=known.id,
        title=_without_controls(known.title),
        authors=clean_authors(known.authors or entry.authors),
        year=(venue.year if venue and venue.year else None) or known.year or entry.year,
        venue=venue,
        arxiv=arxiv,
        primary_class=known.categories[0] if known.categories else "",
        doi="" if doi.startswith("10.48550/arxiv.") else doi,
        url=known.url or paper_url(known.id),
        code=tuple(link.url for link in code),
        abstract=_without_controls(known.abstract),
        remark=_without_controls(entry.remark),
        tags=entry.tags,
        added=entry.added,
        read=entry.read,
        published=known.published,
        updated=known.updated,
    )


def wished_keys(references: Sequence[Reference]) -> list[tuple[str, str]]:
    """Canonical id and wished key of each, as the library wants them."""
    return [(r.paper_id, wished_key(r.authors, r.year, r.title)) for r in references]


def with_keys(references: Sequence[Reference], keys: Mapping[str, str]) -> list[Reference]:
    """The references under the keys that the library gave."""
    return [replace(r, key=keys[r.paper_id]) for r in references]
