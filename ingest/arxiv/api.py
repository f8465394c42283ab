"""Client of arXiv's Atom API: queries by submission window, and papers by id.

The `arxiv` package builds the requests and reads the entries. Every feed is validated before it gets there, and the
number of papers is compared with the server's `opensearch:totalResults`.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import islice
from urllib.parse import parse_qs, urlsplit

import arxiv
from lxml import etree

from ingest.arxiv.http import API_URL, ArxivSession, InvalidResponseError, ServiceError, parse_xml
from kb.errors import IdentifierError, QueryError, SourceError
from kb.identifiers import ArxivId
from kb.papers import Author, Paper, Version
from kb.progress import Progress

_PAGE_SIZE = 1000  # papers to a request; the server allows 2,000 and is slow with them
_IDS_PER_REQUEST = 100  # ids to a request: what an address can hold
_MAX_WINDOW_PAPERS = 5000  # papers; paging ends at about 10,000, and is surer before
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


class ArxivApi:
    """Client of the API at KB_ARXIV_API_URL. `page` is in papers a request, `timeout` in seconds.

    `progress` is told of the pauses before retries.
    """

    def __init__(self, page: int = _PAGE_SIZE, timeout: float = 60.0, progress: Progress | None = None) -> None:
        self._validator = FeedValidator()
        self.session = ArxivSession(self._validator, timeout, progress)
        self._page = page

    def windows(self, query: str, first: datetime, last: datetime) -> Iterator[tuple[datetime, list[Paper], list[str]]]:
        """Papers of a query submitted from `first` until before `last` (UTC, to the minute), window by window.

        Yields the end of each window, its papers, and the ids of entries that cannot be read. Windows follow one another
        without gaps. Raises SourceError if a window stays short of the server's total.
        """
        pending = [(first, last)]
        while pending:
            start, end = pending.pop()
            whole = _within(query, start, end)
            papers, unreadable = self._read_page(whole, 0, self._page)
            if self._validator.total > _MAX_WINDOW_PAPERS and end - start > timedelta(minutes=2):
                middle = start + timedelta(minutes=int((end - start) / timedelta(minutes=2)))
                pending += [(middle, end), (start, middle)]
                continue
            yield end, *self._whole_window(whole, papers, unreadable)

    def by_id(self, identifiers: Sequence[ArxivId]) -> Iterator[tuple[list[Paper], list[ArxivId]]]:
        """Papers of these ids, a hundred at a time, with the ids that the server has no paper for after two requests.

        Raises SourceError if the server cannot be read.
        """
        for start in range(0, len(identifiers), _IDS_PER_REQUEST):
            batch = identifiers[start : start + _IDS_PER_REQUEST]
            found = self._ask_for(batch)
            left = [i for i in batch if i.paper_id not in found]
            if left:
                found |= self._ask_for(left)
            yield list(found.values()), [i for i in left if i.paper_id not in found]

    def _whole_window(self, query: str, papers: dict[str, Paper], unreadable: set[str]) -> tuple[list[Paper], list[str]]:
        """Read all pages after the first, again with other page edges while papers are missing.

        Returns papers and ids of unreadable entries. Raises SourceError if papers are still missing then.
        """
        total = self._validator.total
        start = self._validator.entries
        for attempt in range(_MAX_READS):
            # The server sorts by date alone: papers of one date can come twice at the edge of a page, or not at all.
            page = max(1, self._page - attempt * self._page // (2 * _MAX_READS))
            # A wrong total must not be followed for ever: pages in a row without a new id end this read.
            seen = {*papers, *unreadable} if start else set()
            idle = 0
            while start < total and idle < _MAX_READS:
                more, unread = self._read_page(query, start, page)
                idle = 0 if (more.keys() | unread) - seen else idle + 1
                seen |= more.keys() | unread
                papers |= more
                unreadable |= unread
                total = self._validator.total
                start += self._validator.entries
            unreadable -= papers.keys()
            if len(papers) + len(unreadable) >= total:
                mended = [p for batch, _ in self.by_id(_askable(unreadable)) for p in batch]
                return [*papers.values(), *mended], sorted(unreadable - {p.id for p in mended})
            self.session.counts.retries += 1
            start = 0
        raise SourceError(f"arXiv says that {query} has {total:,} papers, and gave {len(papers):,} in {_MAX_READS} rounds.")

    def _read_page(self, query: str, start: int, size: int) -> tuple[dict[str, Paper], set[str]]:
        search = arxiv.Search(
            query=query,
            max_results=start + size,
            sort_by=arxiv.SortCriterion.SubmittedDate,
            sort_order=arxiv.SortOrder.Ascending,
        )
        return self._read(search, start, size)

    def _ask_for(self, identifiers: Sequence[ArxivId]) -> dict[str, Paper]:
        """Papers by canonical id, in their latest versions; a batch that the server rejects is halved."""
        names = [i.identifier for i in identifiers]
        try:
            papers, _ = self._read(arxiv.Search(id_list=names, max_results=len(names)), 0, len(names))
        except ServiceError:
            if len(identifiers) == 1:
                return {}
            middle = len(identifiers) // 2
            return self._ask_for(identifiers[:middle]) | self._ask_for(identifiers[middle:])
        asked = {i.paper_id for i in identifiers}
        return {name: paper for name, paper in papers.items() if name in asked}

    def _read(self, search: arxiv.Search, start: int, size: int) -> tuple[dict[str, Paper], set[str]]:
        """Fetch one page: papers by canonical id, and the ids of entries that cannot be read. Raises SourceError."""
        client = arxiv.Client(page_size=size, delay_seconds=0, num_retries=0)
        client.query_url_format = os.environ.get("KB_ARXIV_API_URL", API_URL) + "?{}"
        client._session = self.session
        results = client.results(search, offset=start)
        page = list(islice(results, 1))  # sends the request; the check then knows how many there are
        # No further than this page: the package would go on by itself, and wrongly where it left an entry out.
        page += islice(results, max(0, self._validator.entries - len(self._validator.unreadable) - len(page)))
        papers: dict[str, Paper] = {}
        unreadable: set[str] = set()
        for result in page:
            try:
                paper = _paper(result)
            except IdentifierError:
                unreadable.add(f"arxiv:{result.get_short_id()}")
                continue
            papers[paper.id] = paper
        for address in self._validator.unreadable:
            unreadable.add(_name(address))
        return papers, unreadable


def category_query(category: str) -> str:
    """Query for a category (`cs.CL`) or an archive (`cs`). Raises QueryError for anything else."""
    if not _CATEGORY.fullmatch(category):
        raise QueryError(f"{category!r} is no arXiv category, such as cs.CL, or archive, such as cs.")
    return f"cat:{category}" if "." in category else f"cat:{category} OR cat:{category}.*"


def _within(query: str, first: datetime, last: datetime) -> str:
    """Restrict a query to papers submitted from `first` until before `last`."""
    end = last - timedelta(minutes=1)
    return f"({query}) AND submittedDate:[{first:%Y%m%d%H%M} TO {end:%Y%m%d%H%M}]"


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


def _askable(names: set[str]) -> list[ArxivId]:
    """Parse the names that are identifiers, sorted."""
    found: list[ArxivId] = []
    for name in sorted(names):
        with suppress(IdentifierError):  # the caller reports what does not come
            found.append(ArxivId.parse(name))
    return found


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
