"""Client of arXiv's OAI-PMH: arXivRaw records with their version history, in the order of their datestamps.

The existing client libraries are not used: they parse leniently, so that a cut response passes for a short one, and do not
give the resumption token away, which has to be stored.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from urllib.parse import urlencode

from lxml import etree

from ingest.arxiv.http import OAI_URL, ArxivSession, BadRequestError, InvalidResponseError, ServiceError, parse_xml
from kb.errors import IdentifierError, QueryError
from kb.identifiers import ArxivId
from kb.papers import Author, Paper, Skipped, Version
from kb.progress import Progress
from kb.text.latex import to_unicode

_OAI = "{http://www.openarchives.org/OAI/2.0/}"
_RAW = "{http://arxiv.org/OAI/arXivRaw/}"
_PREFIX = "oai:arXiv.org:"
FIRST_DAY = date(2005, 9, 16)  # the earliest datestamp; older records bear it too
_PHYSICS = frozenset("astro-ph cond-mat gr-qc hep-ex hep-lat hep-ph hep-th math-ph nlin nucl-ex nucl-th physics quant-ph".split())
_SET = re.compile(r"[a-z-]+(?::[A-Za-z-]+){0,2}")
_CATEGORY = re.compile(r"[a-z-]+\.[A-Za-z-]+")
_MAX_VERSION_DIGITS = 4  # digits
_SUFFIXES = re.compile(r"(?:jr|sr|i{2,3}|iv)\.?", re.IGNORECASE)


_LISTS = ("ListRecords", "ListIdentifiers", "GetRecord")


class TokenExpiredError(ServiceError):
    """The resumption token is no longer valid; the list has to be requested anew."""

    retryable = False


class NoRecordError(ServiceError):
    """The service has no record of this identifier."""

    retryable = False


@dataclass(frozen=True, slots=True)
class Header:
    """Header of a record."""

    paper_id: str
    datestamp: date
    deleted: bool


@dataclass(frozen=True, slots=True)
class Page:
    """Response to a list request."""

    headers: tuple[Header, ...] = ()
    papers: tuple[Paper, ...] = ()
    """One for each header that is not deleted; empty for ListIdentifiers."""
    unreadable: tuple[tuple[str, str], ...] = ()
    """Id and fault of each record whose content cannot be read; it has no header here."""
    skipped: tuple[Skipped, ...] = ()
    """Records whose header cannot be read."""
    token: str = ""
    """Resumption token for the next page; empty on the last."""
    expires: datetime | None = None
    """UTC, without zone."""


def validate_response(_address: str, content: bytes) -> None:
    """Check a response to a list request.

    Raises InvalidResponseError if it is cut or short, ServiceError for an error of the protocol.
    """
    root = parse_xml(content)
    if root.tag != f"{_OAI}OAI-PMH":
        raise InvalidResponseError(f"it answered with no OAI-PMH, but with {str(root.tag)[:60]!r}")
    for error in root.findall(f"{_OAI}error"):
        code = error.get("code", "")
        if code == "noRecordsMatch":
            return
        kinds = {"badResumptionToken": TokenExpiredError, "idDoesNotExist": NoRecordError}
        kind = kinds.get(code, BadRequestError)
        raise kind(f"it says {code}: {' '.join((error.text or '').split())}")
    lists = [found for verb in _LISTS if (found := root.find(f"{_OAI}{verb}")) is not None]
    if not lists:
        raise InvalidResponseError("it answered without the list that was asked for")
    items = [child for child in lists[0] if child.tag in {f"{_OAI}record", f"{_OAI}header"}]
    token = lists[0].find(f"{_OAI}resumptionToken")
    if not items:
        raise InvalidResponseError("the page is empty, though an empty list is told otherwise")
    if token is not None and (size := token.get("completeListSize", "")).isdecimal():
        cursor = int(text) if (text := token.get("cursor", "")).isdecimal() else 0
        if not (token.text or "").strip() and cursor + len(items) < int(size):
            raise InvalidResponseError(f"the list came short: {cursor + len(items)} of {size} records")


class ArxivOai:
    """Client of the service at KB_ARXIV_OAI_URL. `timeout` is in seconds; `progress` is told of pauses before retries.

    `contact` is sent along with each request.
    """

    def __init__(self, timeout: float = 60.0, progress: Progress | None = None, contact: str = "") -> None:
        """Open a session. Raises SourceError if KB_ARXIV_DELAY or the state folder cannot be used."""
        self.session = ArxivSession(validate_response, timeout, progress, contact)

    def records(self, set_name: str, first: date | None, last: date | None = None) -> Page:
        """First page of ListRecords for these days, both included, by datestamp. Raises SourceError."""
        return self._list("ListRecords", set_name, first, last)

    def identifiers(self, set_name: str, first: date | None, last: date | None = None) -> Page:
        """First page of ListIdentifiers for these days, both included. Raises SourceError."""
        return self._list("ListIdentifiers", set_name, first, last)

    def record(self, paper_id: str) -> Page:
        """Record of a canonical id. Raises NoRecordError if there is none, else SourceError."""
        name = _PREFIX + paper_id.removeprefix("arxiv:")
        return self._ask({"verb": "GetRecord", "metadataPrefix": "arXivRaw", "identifier": name})

    def more(self, verb: str, token: str) -> Page:
        """Next page of a list. Raises TokenExpiredError if the token is no longer valid, else SourceError."""
        return self._ask({"verb": verb, "resumptionToken": token})

    def _list(self, verb: str, set_name: str, first: date | None, last: date | None) -> Page:
        query = {"verb": verb, "metadataPrefix": "arXivRaw"}
        if set_name:
            query["set"] = set_name
        if first:
            query["from"] = first.isoformat()
        if last:
            query["until"] = last.isoformat()
        return self._ask(query)

    def _ask(self, query: dict[str, str]) -> Page:
        address = f"{os.environ.get('KB_ARXIV_OAI_URL', OAI_URL)}?{urlencode(query)}"
        return _page(parse_xml(self.session.get(address).content), query)


def set_of(name: str) -> str:
    """OAI-PMH set of a category (`cs.CL`), an archive (`hep-th`) or a set itself (`cs:cs:CL`).

    Raises QueryError for anything else.
    """
    if _CATEGORY.fullmatch(name):
        archive, _, subject = name.partition(".")
        return f"{'physics' if archive in _PHYSICS else archive}:{archive}:{subject}"
    if not _SET.fullmatch(name):
        raise QueryError(f"{name!r} is no set of arXiv's OAI-PMH, such as cs or cs:cs:CL, and no category, such as cs.CL.")
    return f"physics:{name}" if name in _PHYSICS - {"physics"} else name


def category_of(set_name: str) -> str:
    """Category or archive of a set; empty for the set `physics` and for no set."""
    group, *rest = set_name.split(":")
    if not rest:
        return "" if group == "physics" else group
    return ".".join(rest)


def covers(set_name: str, category: str) -> bool:
    """True if a set includes every paper of a category or archive."""
    archive = category.partition(".")[0]
    return category_of(set_name) in {category, archive} or set_name == "" or (set_name == "physics" and archive in _PHYSICS)


def _page(root: etree._Element, query: dict[str, str]) -> Page:
    headers: list[Header] = []
    papers: list[Paper] = []
    unreadable: list[tuple[str, str]] = []
    skipped: list[Skipped] = []
    found = root.find(f"{_OAI}{query['verb']}")
    if found is None:  # noRecordsMatch
        return Page()
    for at, item in enumerate(child for child in found if child.tag in {f"{_OAI}record", f"{_OAI}header"}):
        head = item if item.tag == f"{_OAI}header" else item.find(f"{_OAI}header")
        name = "" if head is None else head.findtext(f"{_OAI}identifier", "")
        try:
            header = _header(head)
        except (ValueError, IdentifierError) as error:
            skipped.append(Skipped("arXiv", 0, f"record {name or at}: {error}"))
            continue
        try:
            if not header.deleted and query["verb"] != "ListIdentifiers":
                papers.append(_paper(item.find(f"{_OAI}metadata/{_RAW}arXivRaw"), header))
        except ValueError as error:
            unreadable.append((header.paper_id, f"record {name}: {error}"))
            continue
        headers.append(header)
    token = found.find(f"{_OAI}resumptionToken")
    if token is None:
        return Page(tuple(headers), tuple(papers), tuple(unreadable), tuple(skipped))
    # The protocol calls it expirationDate; arXiv's server writes expires.
    expires = _moment(token.get("expirationDate") or token.get("expires") or "")
    return Page(tuple(headers), tuple(papers), tuple(unreadable), tuple(skipped), (token.text or "").strip(), expires)


def _header(head: etree._Element | None) -> Header:
    if head is None:
        raise ValueError("it has no header")
    identifier = ArxivId.parse(head.findtext(f"{_OAI}identifier", "").strip().removeprefix(_PREFIX))
    datestamp = date.fromisoformat(head.findtext(f"{_OAI}datestamp", "").strip()[:10])
    return Header(identifier.paper_id, datestamp, head.get("status") == "deleted")


def _paper(raw: etree._Element | None, header: Header) -> Paper:
    """Convert an arXivRaw record. Raises ValueError naming what it lacks."""
    if raw is None:
        raise ValueError("it has no arXivRaw content")

    def text(name: str) -> str:
        return " ".join(raw.findtext(f"{_RAW}{name}", "").split())

    if not text("title"):
        raise ValueError("it has no title")
    versions: list[Version] = []
    withdrawn = False
    for element in raw.findall(f"{_RAW}version"):
        number = element.get("version", "").removeprefix("v")
        if not number.isdecimal() or len(number) > _MAX_VERSION_DIGITS:
            raise ValueError(f"it has a version {number!r}")
        created = datetime.strptime(element.findtext(f"{_RAW}date", "").strip(), "%a, %d %b %Y %H:%M:%S GMT")
        versions.append(Version(int(number), created))
        # Of the last version: 'I' stands for a source that is to be ignored. Its size says nothing, which is rounded down.
        withdrawn = "I" in element.findtext(f"{_RAW}source_type", "")
    if not versions:
        raise ValueError("it has no versions")
    submitted = versions[0].created
    assert submitted is not None
    return Paper(
        id=header.paper_id,
        title=text("title"),
        abstract=text("abstract"),
        authors=read_authors(text("authors")),
        categories=tuple(text("categories").split()),
        comments=text("comments"),
        journal_ref=text("journal-ref"),
        doi=text("doi").lower(),
        licence=text("license"),
        published=submitted.date(),
        updated=header.datestamp,
        year=submitted.year,
        versions=tuple(versions),
        withdrawn=withdrawn,
    )


def read_authors(line: str) -> tuple[Author, ...]:
    r"""Split a line of names in LaTeX, `A. B. C\"oe, D. Eff (MIT) and G. Hah, Jr.`, dropping affiliations."""
    text = line
    while (bare := re.sub(r"\([^()]*\)", " ", text)) != text:
        text = bare
    names = [" ".join(to_unicode(n).split()) for n in re.split(r"\s*[,;]\s*(?:and\s+)?|\s+(?:and|&)\s+", text)]
    authors: list[Author] = []
    for name in names:
        if _SUFFIXES.fullmatch(name) and authors:
            last = authors[-1]
            authors[-1] = Author(last.family, last.given, name)
        elif name:
            authors.append(Author.from_name(name))
    return tuple(authors)


def _moment(text: str) -> datetime | None:
    """Parse a time of the protocol to UTC without zone; `None` if it is none."""
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
        return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment
    except (ValueError, OverflowError):
        return None
