"""Client of arXiv's Atom API: queries by submission window, and papers by id.

The `arxiv` package builds the requests and reads the entries. Every feed is validated before it gets there, and the
number of papers is compared with the server's `opensearch:totalResults`.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from urllib.parse import parse_qs, urlsplit

import arxiv
from lxml import etree

from ingest.arxiv.http import API_URL, ArxivSession, InvalidResponseError, PageError, ServiceError, parse_xml
from kb.errors import IdentifierError, QueryError, SourceError
from kb.identifiers import ArxivId
from kb.papers import Author, Paper, Version
from kb.progress import Progress

_PAGE_SIZE = 1000  # papers to a request; the server allows 2,000 and is slow with them
_IDS_PER_REQUEST = 100  # ids to a request: what an address can hold
_MAX_WINDOW_PAPERS = 5000  # papers; paging ends at about 10,000, and is surer before
_MAX_LOST = 3  # entries of a page that the server cannot give; with more of them it is unwell
_NARROWING_ATTEMPTS = 3  # at a request that looks for an entry at fault
_MAX_READS = 4  # times that a window is read before it counts as short
FIRST_DAY = datetime(1991, 8, 1)  # arXiv has nothing older
_NAMESPACES = {
    "atom": "http://www.w3.org/2005/Atom",
    "opensearch": "http://a9.com/-/spec/opensearch/1.1/",
}
_FEED = "{http://www.w3.org/2005/Atom}feed"
_CATEGORY = re.compile(r"[a-z]+(?:-[a-z]+)*(?:\.[A-Za-z]+(?:-[A-Za-z]+)*)?")
_MAX_COUNT_DIGITS = 9  # digits: there are fewer papers
_STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:Z|[+-]\d\d:\d\d)")


# The package warns of entries that it leaves out; here they are counted and requested again.
logging.getLogger(arxiv.__name__).addHandler(logging.NullHandler())


class FeedValidator:
    """Validator of Atom feeds; keeps what the `arxiv` package does not tell of the last one."""

    def __init__(self) -> None:
        self.total = 0
        """Number of results on all pages, as the server says."""
        self.entries = 0
        """Number of entries on this page."""
        self.unreadable: list[str] = []
        """Ids of entries without a date, which the package leaves out."""

    def __call__(self, address: str, content: bytes) -> None:
        """Check a feed.

        Raises InvalidResponseError if it is not the whole page that was requested, ServiceError for an error entry.
        """
        feed = parse_xml(content)
        if feed.tag != _FEED:
            raise InvalidResponseError(f"it answered with no feed, but with {str(feed.tag)[:60]!r}")
        entries = feed.findall("atom:entry", _NAMESPACES)
        for entry in entries:
            if "/api/errors" in (entry.findtext("atom:id", "", _NAMESPACES)):
                raise ServiceError(f"it says: {' '.join(entry.findtext('atom:summary', '', _NAMESPACES).split())}")
        self.total = _opensearch_count(feed, "totalResults")
        self.entries = len(entries)
        self.unreadable = []
        for entry in entries:
            stamps = [entry.findtext(f"atom:{name}", "", _NAMESPACES) for name in ("published", "updated")]
            if wrong := next((text for text in stamps if text and not _is_stamp(text.strip())), ""):
                raise InvalidResponseError(f"it answered with an entry of the date {wrong[:40]!r}")  # the package fails over it
            if not all(stamps):
                self.unreadable.append(entry.findtext("atom:id", "", _NAMESPACES))
        requested = parse_qs(urlsplit(address).query)
        if "id_list" not in requested:  # whether all ids came is seen when they are matched
            page = min(int(requested["max_results"][0]), _opensearch_count(feed, "itemsPerPage") or _PAGE_SIZE)
            expected = min(page, self.total - int(requested["start"][0]))
            if self.entries < expected:
                raise InvalidResponseError(f"the page came short: {self.entries} of {expected} papers")


@dataclass(frozen=True, slots=True)
class LostEntry:
    """Entry that the server counts and cannot give; its neighbours tell when it was submitted (UTC, without zone)."""

    position: int
    """In the results of the window, from 0."""
    first: datetime
    last: datetime


@dataclass(frozen=True, slots=True)
class Window:
    """All papers of a query submitted in a period (UTC, to the minute, both ends included)."""

    first: datetime
    last: datetime
    papers: list[Paper]
    unreadable: list[str]
    """Ids of entries without a date or a title, or with an id that cannot exist, which no request by id mended."""
    lost: list[LostEntry]


@dataclass(slots=True)
class _Page:
    """Results from one position on."""

    papers: dict[str, Paper] = field(default_factory=dict)
    """By canonical id."""
    unreadable: set[str] = field(default_factory=set)
    lost: list[LostEntry] = field(default_factory=list)
    entries: int = 0
    """Number of positions that are covered, those of `lost` included."""
    total: int = 0
    """Number of results on all pages."""


class ArxivApi:
    """Client of the API at KB_ARXIV_API_URL. `page` is in papers a request, `timeout` in seconds.

    `progress` is told of the pauses before retries; `contact` is sent along with each request.
    """

    def __init__(
        self, page: int = _PAGE_SIZE, timeout: float = 60.0, progress: Progress | None = None, contact: str = ""
    ) -> None:
        """Open a session. Raises SourceError if KB_ARXIV_DELAY or the state folder cannot be used."""
        self._validator = FeedValidator()
        self.session = ArxivSession(self._validator, timeout, progress, contact)
        self._page = page

    def windows(self, query: str, first: datetime, last: datetime, required: int = 0) -> Generator[Window, None, int]:
        """Papers of a query submitted from `first` to `last` (UTC, to the minute, both included), window by window.

        Neighbouring windows share the minute at their edge: the server compares to the second, and did to the minute. The
        number of results is asked for by itself first; what comes has to reach it, and over all windows `required`.
        Returns the number of papers, those at an edge counted twice. Raises SourceError if a window stays short.
        """
        window = _within(query, first, last)
        total = max(self.count(window), required)
        if total > _MAX_WINDOW_PAPERS and last - first > timedelta(minutes=1):
            middle = first + timedelta(minutes=int((last - first) / timedelta(minutes=2)))
            found = yield from self.windows(query, first, middle)
            return found + (yield from self.windows(query, middle, last, total - found))
        result = self._read_window(window, first, last, total)
        yield result
        return len(result.papers) + len(result.unreadable) + len(result.lost)

    def count(self, query: str) -> int:
        """Number of results of a query, as the server says; 0 if the one entry that it sends with it cannot be read.

        Asks for the newest result, so that no cache answers with what it has of the pages. Raises SourceError.
        """
        newest = arxiv.Search(
            query=query, max_results=1, sort_by=arxiv.SortCriterion.SubmittedDate, sort_order=arxiv.SortOrder.Descending
        )
        with suppress(PageError):
            return self._read(newest, 0, 1).total
        return 0

    def count_of_days(self, first: datetime, last: datetime) -> int:
        """Number of papers of all arXiv submitted in a period (UTC, to the minute). Raises SourceError."""
        return self.count(_submitted(first, last))

    def by_id(self, identifiers: Sequence[ArxivId]) -> Iterator[tuple[list[Paper], list[ArxivId]]]:
        """Papers of these ids, a hundred at a time, with the ids that the server gives no readable paper for.

        Raises SourceError if the server cannot be read.
        """
        for start in range(0, len(identifiers), _IDS_PER_REQUEST):
            batch = identifiers[start : start + _IDS_PER_REQUEST]
            found = self._ask_for(batch)
            left = [i for i in batch if i.paper_id not in found]
            if left:
                found |= self._ask_for(left)
            yield list(found.values()), [i for i in left if i.paper_id not in found]

    def _read_window(self, query: str, first: datetime, last: datetime, total: int) -> Window:
        """Read all pages, again with other page edges while papers are missing.

        Raises SourceError if there are fewer papers than `total`, or than any page said, even then.
        """
        papers: dict[str, Paper] = {}
        unreadable: set[str] = set()
        for attempt in range(_MAX_READS):
            # The server sorts by date alone: papers of one date can come twice at the edge of a page, or not at all.
            size = max(1, self._page - attempt * self._page // (2 * _MAX_READS))
            # A wrong total must not be followed for ever: pages in a row without a new id end this read.
            seen: set[str] = set()
            lost: list[LostEntry] = []
            start = idle = 0
            while (start < total or not start) and idle < _MAX_READS:
                page = self._read_page(query, first, last, start, size)
                idle = 0 if (page.papers.keys() | page.unreadable) - seen or page.lost else idle + 1
                seen |= page.papers.keys() | page.unreadable
                papers |= page.papers
                unreadable |= page.unreadable
                lost += page.lost
                # A smaller number later, above all none, is disbelieved: it comes when the service is unwell.
                total = max(total, page.total)
                start += page.entries
                if not total:
                    break
            unreadable -= papers.keys()
            if len(papers) + len(unreadable) + len(lost) >= total:
                again = [ArxivId.parse(name) for name in sorted(unreadable) if is_identifier(name)]
                mended = [paper for batch, _ in self.by_id(again) for paper in batch]
                return Window(first, last, [*papers.values(), *mended], sorted(unreadable - {p.id for p in mended}), lost)
            self.session.counts.retries += 1
        raise SourceError(f"arXiv says that {query} has {total:,} papers, and gave {len(papers):,} in {_MAX_READS} rounds.")

    def _read_page(self, query: str, first: datetime, last: datetime, start: int, size: int) -> _Page:
        """Fetch the results from `start` on; those that the server cannot give are found by halving the page.

        Raises SourceError if the server does not answer, or cannot give more than a few.
        """

        def read(at: int, number: int) -> _Page:
            search = arxiv.Search(
                query=query,
                max_results=at + number,
                sort_by=arxiv.SortCriterion.SubmittedDate,
                sort_order=arxiv.SortOrder.Ascending,
            )
            return self._read(search, at, number)

        try:
            return read(start, size)
        except PageError as failure:
            with self.session.attempts(_NARROWING_ATTEMPTS):
                return _narrow(read, start, size, (first, last), failure)

    def _ask_for(self, identifiers: Sequence[ArxivId]) -> dict[str, Paper]:
        """Papers by canonical id, in their latest versions; a batch that the server cannot give is halved.

        Raises SourceError if the server does not answer, or cannot give more than a few.
        """
        asked = {i.paper_id for i in identifiers}
        found: dict[str, Paper] = {}
        batches = [[i.identifier for i in identifiers]]
        failures = 0
        while batches:
            names = batches.pop()
            try:
                found |= self._read(arxiv.Search(id_list=names, max_results=len(names)), 0, len(names)).papers
            except (ServiceError, PageError) as error:
                if len(names) > 1:
                    middle = len(names) // 2
                    batches += [names[middle:], names[:middle]]
                elif isinstance(error, PageError) and (failures := failures + 1) > _MAX_LOST:
                    raise
        return {name: paper for name, paper in found.items() if name in asked}

    def _read(self, search: arxiv.Search, start: int, size: int) -> _Page:
        """Fetch one page. Raises SourceError."""
        client = arxiv.Client(page_size=size, delay_seconds=0, num_retries=0)
        client.query_url_format = os.environ.get("KB_ARXIV_API_URL", API_URL) + "?{}"
        client._session = self.session
        results = client.results(search, offset=start)
        page = list(islice(results, 1))  # sends the request; the validator then knows how many there are
        # No further than this page: the package would go on by itself, and wrongly where it left an entry out.
        page += islice(results, max(0, self._validator.entries - len(self._validator.unreadable) - len(page)))
        read = _Page(entries=self._validator.entries, total=self._validator.total)
        for result in page:
            try:
                paper = _paper(result)
            except IdentifierError:
                read.unreadable.add(f"arxiv:{result.get_short_id()}")
                continue
            if paper.title:
                read.papers[paper.id] = paper
            else:
                read.unreadable.add(paper.id)
        read.unreadable |= {_name(address) for address in self._validator.unreadable}
        return read


def _narrow(
    read: Callable[[int, int], _Page], start: int, size: int, period: tuple[datetime, datetime], failure: PageError
) -> _Page:
    """Read a page that failed in halves, down to the entries that cannot be given.

    Raises `failure` if more than a few cannot: the fault is then the service's.
    """
    whole = _Page()
    at_fault: list[int] = []
    times: list[tuple[int, datetime]] = []  # position and time of submission
    parts = [(start, size)]
    while parts:
        at, number = parts.pop()
        if whole.total and at >= whole.total:
            continue
        try:
            part = read(at, number)
        except PageError:
            if number > 1:
                parts += [(at + number // 2, number - number // 2), (at, number // 2)]
                continue
            at_fault.append(at)
            whole.entries += 1
            if len(at_fault) > _MAX_LOST:
                raise failure from None
            continue
        times += [(at, paper.versions[0].created) for paper in part.papers.values() if paper.versions[0].created]
        whole.papers |= part.papers
        whole.unreadable |= part.unreadable
        whole.entries += part.entries
        whole.total = max(whole.total, part.total)
    for at in at_fault:
        before = max((moment for place, moment in times if place < at), default=period[0])
        after = min((moment for place, moment in times if place > at), default=period[1])
        whole.lost.append(LostEntry(at, min(before, after), after))
    return whole


def category_query(category: str) -> str:
    """Query for a category (`cs.CL`) or an archive (`cs`). Raises QueryError for anything else."""
    if not _CATEGORY.fullmatch(category):
        raise QueryError(f"{category!r} is no arXiv category, such as cs.CL, or archive, such as cs.")
    return f"cat:{category}" if "." in category else f"cat:{category} OR cat:{category}.*"


def _within(query: str, first: datetime, last: datetime) -> str:
    """Restrict a query to papers submitted from `first` to `last`."""
    return f"({query}) AND {_submitted(first, last)}"


def _submitted(first: datetime, last: datetime) -> str:
    """Query for the papers of a period, both ends included."""
    return f"submittedDate:[{first:%Y%m%d%H%M} TO {last:%Y%m%d%H%M}]"


def _paper(result: arxiv.Result) -> Paper:
    """Convert an API result: no licence, and dates of the first and the last version only. Raises IdentifierError."""
    name = ArxivId.parse(result.get_short_id())
    last = name.version or 1
    first_at, last_at = (moment.replace(tzinfo=None) for moment in (result.published, result.updated))
    dates = {last: last_at} | {1: first_at}
    named = [c for c in (result.primary_category, *result.categories) if _CATEGORY.fullmatch(c)]
    return Paper(
        id=name.paper_id,
        title=_one_line(result.title),
        abstract=_one_line(result.summary),
        authors=tuple(Author.from_name(_one_line(a.name)) for a in result.authors if a.name.strip()),
        categories=tuple(dict.fromkeys(named)),  # MSC and ACM classes come among them, and are none
        comments=_one_line(result.comment or ""),
        journal_ref=_one_line(result.journal_ref or ""),
        doi=(result.doi or "").strip().lower(),
        published=first_at.date(),
        updated=last_at.date(),
        year=first_at.year,
        versions=tuple(Version(n, dates.get(n)) for n in range(1, last + 1)),
    )


def is_identifier(name: str) -> bool:
    """True if an arXiv identifier of this form can exist."""
    try:
        ArxivId.parse(name)
    except IdentifierError:
        return False
    return True


def _name(address: str) -> str:
    """The canonical id of an entry that cannot be read otherwise; what it says of itself where it has none."""
    try:
        return ArxivId.parse(address.rpartition("/abs/")[2]).paper_id
    except IdentifierError:
        return f"arxiv:{address}"


def _opensearch_count(feed: etree._Element, name: str) -> int:
    text = feed.findtext(f"opensearch:{name}", "", _NAMESPACES).strip()
    if not text.isdecimal() or len(text) > _MAX_COUNT_DIGITS:
        raise InvalidResponseError(f"it answered with a feed without {name}")
    return int(text)


def _is_stamp(text: str) -> bool:
    """True if a text is a valid time stamp."""
    try:
        return bool(_STAMP.fullmatch(text)) and datetime.fromisoformat(text).year > 1
    except ValueError:
        return False


def _one_line(text: str) -> str:
    return " ".join(text.split())
