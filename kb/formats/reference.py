"""Format-independent reference: one paper with all fields that any writer needs, and its citation key."""

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
# Words that no person's name has, as they are written in the names of groups.
_GROUP_WORDS = frozenset(
    "AI Team Teams Collaboration Collaborations Consortium Group Project Lab Labs Laboratory Laboratories Workshop Institute "
    "University Initiative Community Committee Foundation Network Inc Inc. Ltd Corporation Organization Organisation Society "
    "Association Center Centre Department Council Agency".split()
)
# Letters without a Unicode decomposition to ASCII.
_LETTERS = str.maketrans(
    {"ß": "ss", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "ð": "d",
     "Ð": "D", "þ": "th", "Þ": "Th", "ı": "i"}
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reference:
    """One bibliographic reference."""

    key: str
    """Citation key: ASCII, unique in the library, the same in every export."""
    paper_id: str
    title: str
    """As in the source, with its LaTeX."""
    authors: tuple[Author, ...]
    """In Unicode, without LaTeX."""
    year: int | None
    """Year of publication at the venue; else of the preprint."""
    venue: Venue | None
    arxiv: str
    """arXiv identifier with version; empty if there is none."""
    primary_class: str
    doi: str
    url: str
    code: tuple[str, ...]
    """Repository addresses, the surest first."""
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
        """The abstract in Unicode."""
        return to_unicode(self.abstract)


def is_organisation(author: Author) -> bool:
    """True for a name without family and given parts: `NVIDIA`, `ATLAS Collaboration`, `Team Heron`."""
    return not author.given or not _GROUP_WORDS.isdisjoint(author.name.split())


def is_others(author: Author) -> bool:
    """True for BibTeX's name for authors who are not listed: `and others`."""
    return author.family == "others" and not author.given


def particle_and_family(author: Author) -> tuple[str, str]:
    """Split a family name into particle and rest: `van der`, `Maaten`."""
    words = author.family.split()
    count = 0
    while count < len(words) - 1 and words[count].islower() and words[count] in PARTICLES:
        count += 1
    return " ".join(words[:count]), " ".join(words[count:])


def default_key(authors: Sequence[Author], year: int | None, title: str) -> str:
    """Default citation key: first author's family name, year, first title word that is no stop word."""
    family = "".join(particle_and_family(authors[0])[1].split()) if authors else ""
    words = (_ascii(word) for word in re.split(r"[\s\-–—:/,.]+", to_unicode(title)))
    word = next((w for w in words if w and w not in _SMALL_WORDS), "")
    return f"{_ascii(family)}{year or ''}{word}" or "untitled"


def _ascii(text: str) -> str:
    letters = unicodedata.normalize("NFKD", text.translate(_LETTERS)).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]", "", letters.casefold())


def clean_authors(authors: Sequence[Author]) -> tuple[Author, ...]:
    """Names in Unicode; entries without letters, as in `NVIDIA, :, …`, are dropped."""
    named = (Author(*(to_unicode(_without_controls(part)) for part in (a.family, a.given, a.suffix))) for a in authors)
    return tuple(_with_its_particle(Author.of_parts(a.family, a.given, a.suffix)) for a in named if re.search(r"\w", a.family))


def _with_its_particle(author: Author) -> Author:
    """Move particles from the given to the family name; arXiv's data has `van der` among the given names."""
    words = author.given.split()
    start = len(words)
    while start > 1 and words[start - 1] in PARTICLES:
        start -= 1
    return Author(" ".join([*words[start:], author.family]), " ".join(words[:start]), author.suffix)


def _without_controls(text: str) -> str:
    """Remove control characters except tab and newline."""
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in {"Cc", "Cs"})


def make_reference(entry: Entry, paper: Paper | None, code: Sequence[CodeLink], key: str = "") -> Reference:
    """Build the reference for a list entry; `paper` is the catalogue's record, `None` if it has none."""
    known = paper or Paper(entry.paper_id, entry.title, authors=entry.authors, year=entry.year, origin="notes")
    venue = published_venue(known.journal_ref, known.comments) or published_venue(entry.venue, "")
    arxiv = ""
    if known.id.startswith("arxiv:"):
        version = max((v.number for v in known.versions), default=None)
        arxiv = known.id.removeprefix("arxiv:") + (f"v{version}" if version else "")
    doi = next(iter(known.doi.split()), "") or (known.id.removeprefix("doi:") if known.id.startswith("doi:") else "")
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


def default_keys(references: Sequence[Reference]) -> list[tuple[str, str]]:
    """Pairs of canonical id and default citation key."""
    return [(r.paper_id, default_key(r.authors, r.year, r.title)) for r in references]


def with_keys(references: Sequence[Reference], keys: Mapping[str, str]) -> list[Reference]:
    """Set the citation keys, given by canonical id."""
    return [replace(r, key=keys[r.paper_id]) for r in references]
