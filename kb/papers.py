"""Data classes: papers, authors, versions, notes, mentions, code links, cards; and the text that is embedded."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

Origin = Literal["arxiv", "notes"]
MentionKind = Literal["paper", "repository", "project", "web"]
#: Where a title comes from, the best source first; '' where nothing is known of it.
TitleSource = Literal["arxiv", "bibliography", "metadata", "heading", "item", "link", "file", ""]
#: Version of `embedding_text`; part of the key of every stored vector, so a new recipe embeds anew.
TEXT_RECIPE = "title. body/1"


@dataclass(frozen=True, slots=True)
class Author:
    """One author, in the parts that a bibliography needs."""

    family: str
    given: str = ""
    suffix: str = ""

    @property
    def name(self) -> str:
        """The name in reading order; Chinese, Japanese and Korean names have the family first and no blank."""
        if _CJK.fullmatch(self.family) and _CJK.fullmatch(self.given):
            return self.family + self.given
        return " ".join(part for part in (self.given, self.family, self.suffix) if part)

    @classmethod
    def of_parts(cls, family: str, given: str = "", suffix: str = "") -> Author:
        """A name with its suffix apart, wherever it stood: `Smit Jr.`, `Jon`; `III`, `Hal Dome`; `Dome`, `Hal, Sr.`."""
        if suffix:
            return cls(family, given, suffix)
        if given and _SUFFIX.fullmatch(given):
            found = cls.from_name(family)
            return cls(found.family, found.given, given)
        if given and _SUFFIX.fullmatch(family):
            found = cls.from_name(given)
            return cls(found.family, found.given, family)
        before, _, last = family.rpartition(" ")
        if before and _SUFFIX.fullmatch(last):
            return cls(before.rstrip(" ,"), given, last)
        before, _, last = given.rpartition(" ")
        if before and _SUFFIX.fullmatch(last):
            return cls(family, before.rstrip(" ,"), last)
        return cls(family, given)

    @classmethod
    def from_name(cls, name: str) -> Author:
        """Split a name in reading order; particles belong to the family name, `Jr.` and `III` to neither name."""
        words = name.split()
        suffix = words.pop() if len(words) > 2 and _SUFFIX.fullmatch(words[-1]) else ""
        if suffix:
            words[-1] = words[-1].rstrip(",")
        if len(words) < 2:
            return cls(name.strip())
        if len(words) == 2 and all(map(_CJK.fullmatch, words)):
            return cls(words[0], words[1])
        start = len(words) - 1
        while start > 1 and words[start - 1].lower() in PARTICLES:
            start -= 1
        return cls(" ".join(words[start:]), " ".join(words[:start]), suffix)


#: Words of family names, in small letters.
PARTICLES = frozenset("van von der den de da del della di dos du la le ten ter zu zur bin al el ibn 't ’t".split())
# No V: `Smith V` is an initial far more often than the fifth of his name.
_SUFFIX = re.compile(r"(?:Jr|Sr|JR|SR|jr|sr|Junior|Senior)\.?|I{2,3}|IV|VI{1,3}|2nd|3rd|4th")
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af・·]+")


@dataclass(frozen=True, slots=True)
class Version:
    """One version of an arXiv paper."""

    number: int
    created: datetime | None = None


@dataclass(frozen=True, slots=True)
class Paper:
    """A paper of the catalogue; `abstract` is empty if it is known by notes alone."""

    id: str
    title: str
    abstract: str = ""
    authors: tuple[Author, ...] = ()
    categories: tuple[str, ...] = ()
    comments: str = ""
    journal_ref: str = ""
    doi: str = ""
    licence: str = ""
    url: str = ""
    published: date | None = None
    updated: date | None = None
    year: int | None = None
    versions: tuple[Version, ...] = ()
    withdrawn: bool = False
    origin: Origin = "arxiv"


@dataclass(frozen=True, slots=True)
class CodeLink:
    """A repository of a paper, with its source."""

    url: str
    source: str
    official: bool | None = None
    stars: int | None = None
    confidence: float = 0.9
    """Confidence, from 0 to 1, that this is the paper's own code, data or model."""
    evidence: str = ""
    framework: str = ""
    checked: datetime | None = None
    """Time of the last query to its forge or Hugging Face, UTC; `stars` are of that time."""
    archived: bool = False

    @property
    def facts(self) -> list[str]:
        """Phrases to show beside its address."""
        official = {True: "official", False: "not official", None: "not known to be official"}[self.official]
        because = f": {self.evidence}" if self.evidence else ""
        stars = "" if self.stars is None else f"{self.stars:,} stars"
        checked = f"checked {self.checked:%Y-%m-%d}" if self.checked else "never checked"
        sure = f"{self.confidence:.0%} sure to be the paper's own{because}"
        found = [official, sure, f"source: {self.source}", self.framework, stars, checked]
        return [fact for fact in [*found, "archived" if self.archived else ""] if fact]


@dataclass(frozen=True, slots=True)
class Mention:
    """A link in a note, or in a document outside its notes."""

    kind: MentionKind
    target: str
    """Canonical paper id, repository URL or cleaned URL, depending on `kind`."""
    text: str
    """The words that were linked."""
    line: int
    stars: int | None = None
    remark: str = ""
    confidence: float = 0.0
    """Of a repository in a note: how sure it is that it is the paper's own, from 0 to 1."""
    evidence: str = ""


@dataclass(frozen=True, slots=True)
class Note:
    """What a document says about one paper.

    `paper_id` is canonical. A note that gives neither link nor title is known by its authors and text:
    its `paper_id` is then `url:note:` and a digest of these.
    """

    source: str
    line: int
    paper_id: str
    title: str
    body: str = ""
    authors: tuple[str, ...] = ()
    venue: str = ""
    year: int | None = None
    url: str = ""
    section: str = ""
    tags: tuple[str, ...] = ()
    mentions: tuple[Mention, ...] = ()
    title_source: TitleSource = ""


@dataclass(frozen=True, slots=True)
class Card:
    """A paper with its code and notes, as hits show it."""

    paper: Paper
    code: tuple[CodeLink, ...] = ()
    """Repositories by falling confidence."""
    notes: tuple[Note, ...] = ()
    """Notes on it, by document and line."""

    @property
    def body(self) -> str:
        """The abstract, or else the plain text of the notes, as it is embedded."""
        return self.paper.abstract or " ".join(plain_text(note.body) for note in self.notes)


@dataclass(frozen=True, slots=True)
class Skipped:
    """A record, or part of one, that could not be read."""

    source: str
    line: int
    reason: str


def embedding_text(title: str, body: str) -> str:
    """The text that is embedded for a paper: title, then `body`, which is its abstract or else the notes on it."""
    title = title.strip()
    if not body.strip():
        return title
    return f"{title}{'' if title.endswith(('.', '?', '!')) or not title else '.'} {body.strip()}".strip()


_MARKUP = re.compile(
    r"<!--.*?-->|<[A-Za-z/][^>]*>|\{%.*?%\}|\{:.*?\}|!\[[^\]]*\]\([^)]*\)|^\s*[-=|:\s]{4,}$", re.DOTALL | re.MULTILINE
)
_LINK = re.compile(r"\[([^\]]*)\]\((?:[^()\s]|\([^()]*\))*\)")


def plain_text(markdown: str) -> str:
    """Plain text of Markdown: without images, HTML, Jekyll attributes, link targets and emphasis."""
    text = _LINK.sub(r"\1", _MARKUP.sub(" ", markdown))
    text = re.sub(r"^\s{0,6}(?:#{1,6}|>|[-*+•]|\d+[.)])\s+", "", text, flags=re.MULTILINE)
    return " ".join(re.sub(r"(\*\*|__|`+|\*(?=\w)|(?<=\w)\*)", "", text).split())
