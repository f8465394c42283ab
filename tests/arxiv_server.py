"""A local arXiv: a few thousand made-up records behind the real Atom API and the real OAI-PMH, misbehaving on demand."""

from __future__ import annotations

import random
import socket
import struct
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qs, parse_qsl, quote, unquote, urlencode, urlsplit
from xml.sax.saxutils import escape

from kb.papers import Author, Paper, Version

COMMON_FAULTS = ("406", "429", "429-retry-after", "503", "reset", "stall", "cut", "html")
ATOM_FAULTS = (*COMMON_FAULTS, "empty", "short", "zero", "no-published", "no-title", "repeat", "error-entry")
OAI_FAULTS = (*COMMON_FAULTS, "empty", "short", "repeat", "expired-token", "error-entry")


@dataclass(frozen=True)
class Text:
    """What one version says."""

    title: str
    abstract: str
    comments: str = ""


@dataclass(frozen=True)
class Record:
    """A record as the server holds it."""

    id: str
    texts: tuple[Text, ...]
    """One a version."""
    dates: tuple[datetime, ...]
    """One a version, UTC."""
    authors: tuple[tuple[str, str], ...]
    """Each as the Atom API writes it, and as arXivRaw does."""
    categories: tuple[str, ...]
    classes: tuple[str, ...]
    """MSC and ACM classes, which the Atom API gives among the categories."""
    datestamp: date
    doi: str = ""
    journal_ref: str = ""
    licence: str = "http://creativecommons.org/licenses/by/4.0/"
    withdrawn: bool = False
    kilobytes: int = 12
    """Of the first version's source, rounded down."""
    deleted: bool = False

    @property
    def sets(self) -> list[str]:
        specs = []
        for category in self.categories:
            archive, _, subject = category.partition(".")
            group = "physics" if archive in {"hep-th", "astro-ph", "quant-ph"} else archive
            specs += [group, f"{group}:{archive}", f"{group}:{archive}:{subject}" if subject else f"{group}:{archive}"]
        return list(dict.fromkeys(specs))


_TOPICS = ("parsing", "speech", "retrieval", "dialogue", "translation", "graphs", "planning", "vision", "pruning", "quotation")
_AUTHORS = (("Ada Lovelace", "Ada Lovelace"), ("Émile Noël", r"\'Emile No\"el"), ("Ludwig van der Berg", "Ludwig van der Berg"))


def generate(count: int, first: date = date(2024, 1, 1), days: int = 120, seed: int = 7) -> list[Record]:
    """Made-up records, the same for the same arguments, submitted on `days` days: every day some, and many in one minute.

    Each has its second.
    """
    chance = random.Random(seed)
    records: list[Record] = []
    numbers: dict[str, int] = {}
    for n in range(count):
        day = first + timedelta(days=n * days // count)
        submitted = datetime(day.year, day.month, day.day, 9 + n % 3, 15 * (n % 2), 7 * n % 60)
        month = f"{day:%y%m}"
        numbers[month] = numbers.get(month, 0) + 1
        name = f"{month}.{numbers[month]:05d}"
        topic = _TOPICS[n % len(_TOPICS)]
        title, categories, classes = f"On {topic}, study {n}", ("cs.CL", "cs.LG") if n % 2 else ("cs.LG",), ()
        if n % 97 == 5:
            title = f"<script>alert({n})</script> & $\\alpha$-{topic} for $x < y$"
        if n % 61 == 3:
            classes = ("68T50", "I.2.7", "Primary 68T50; Secondary 94A17")
        if n % 53 == 7:
            name, categories = f"hep-th/{99 if n % 2 else '01'}{n % 12 + 1:02d}{n // 53 + 1:03d}", ("hep-th", "cs.CL")
        elif n % 53 == 8:  # the same number in another archive is another paper
            name, categories = f"hep-ph/{99 if (n - 1) % 2 else '01'}{(n - 1) % 12 + 1:02d}{n // 53 + 1:03d}", ("cs.CL",)
        versions = 1 + (n % 7 == 0) + (n % 35 == 0)
        texts = tuple(
            Text(title if v < 2 else f"{title}, revised", f"We study {topic} {n}. This is version {v + 1} of it.", "12 pages")
            for v in range(versions)
        )
        dates = tuple(submitted + timedelta(days=9 * v, seconds=v) for v in range(versions))
        withdrawn = n % 83 == 11
        if withdrawn:
            texts = (*texts, Text(title, texts[-1].abstract, f"Withdrawn by the authors: lemma {n} is wrong"))
            dates = (*dates, dates[-1] + timedelta(days=3))
        stamp = dates[-1].date() + timedelta(days=1)
        records.append(
            Record(
                name, texts, dates, tuple(_AUTHORS[: 1 + n % 3]), categories, classes, stamp,
                doi=f"10.1000/{n}" if n % 11 == 0 else "", withdrawn=withdrawn,
            )
        )  # fmt: skip
    chance.shuffle(records)
    return records


def as_oai_paper(record: Record) -> Paper:
    """The paper that the catalogue should hold after a harvest of arXivRaw."""
    return replace(
        as_atom_paper(record),
        licence=record.licence,
        updated=record.datestamp,
        versions=tuple(Version(n + 1, moment) for n, moment in enumerate(record.dates)),
    )


def as_atom_paper(record: Record) -> Paper:
    """The paper that the catalogue should hold after the Atom API: no licence, and only the ends of the history."""
    text, last = record.texts[-1], len(record.dates)
    return Paper(
        id=f"arxiv:{record.id}",
        title=text.title,
        abstract=text.abstract,
        authors=tuple(
            {
                "Ada Lovelace": Author("Lovelace", "Ada"),
                "Émile Noël": Author("Noël", "Émile"),
                "Ludwig van der Berg": Author("van der Berg", "Ludwig"),
            }[name]
            for name, _ in record.authors
        ),
        categories=record.categories,
        comments=text.comments,
        doi=record.doi,
        published=record.dates[0].date(),
        updated=record.dates[-1].date(),
        year=record.dates[0].year,
        versions=tuple(Version(n, record.dates[n - 1] if n in {1, last} else None) for n in range(1, last + 1)),
        withdrawn=record.withdrawn,  # which the comments tell
    )


@dataclass
class Request:
    """A request as it arrived."""

    at: float
    """Seconds, monotonic."""
    path: str
    query: dict[str, str]
    agent: str = ""
    answered: float = 0.0


@dataclass
class ArxivServer:
    """The server's state; tests change it while it runs."""

    records: list[Record]
    oai_page: int = 100
    faults: dict[int, str] = field(default_factory=dict)
    """What goes wrong with the n-th request, counted from 1; each once."""
    always: str = ""
    """What goes wrong with every request."""
    stall: float = 2.0
    """Seconds that a stalled body stalls."""
    broken: set[str] = field(default_factory=set)
    """Ids of records that the server cannot render: every page that holds one is answered with 500."""
    withheld: set[str] = field(default_factory=set)
    """Ids of records that OAI-PMH lists and does not give."""
    untitled: set[str] = field(default_factory=set)
    """Ids of records that come without their title."""
    list_sizes: bool = False
    """Whether tokens tell cursor and completeListSize, which arXiv's do not."""
    requests: list[Request] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    epoch: int = 0
    """Tokens of an earlier epoch are expired."""
    url: str = ""

    def environment(self, **more: str) -> dict[str, str]:
        return {"KB_ARXIV_API_URL": f"{self.url}/api/query", "KB_ARXIV_OAI_URL": f"{self.url}/oai"} | more

    def pauses(self) -> list[float]:
        """Seconds between the arrivals of consecutive requests."""
        times = sorted(request.at for request in self.requests)
        return [later - earlier for earlier, later in pairwise(times)]

    # The Atom API ------------------------------------------------------------------------------------------------------

    def atom(self, query: dict[str, str], fault: str) -> tuple[int, str]:
        start, size = int(query.get("start", 0)), int(query.get("max_results", 10))
        if query.get("id_list"):
            names = query["id_list"].split(",")
            bad = [n for n in names if not n.replace("-", "").replace("/", "").replace(".", "").isalnum()]
            if bad:
                return 400, _atom_feed(1, 0, 1, [_error_entry(f"incorrect id format for {bad[0]}")])
            known = {r.id: r for r in self.records if not r.deleted}
            found = [known[n] for n in names if n in known]
        else:
            try:
                found = self._search(query.get("search_query", ""))
            except ValueError as error:
                return 400, _atom_feed(1, 0, 1, [_error_entry(str(error))])
            found.sort(key=lambda r: (r.dates[0], r.id), reverse=query.get("sortOrder") == "descending")
        if start + size > 10_000 and start >= 10_000:
            return 500, "too deep"
        page = found[start : start + size]
        if any(r.id in self.broken for r in page):
            return 500, "Internal Server Error"
        match fault:
            case "zero":
                return 200, _atom_feed(0, start, size, [])
            case "empty":
                page = []
            case "short":
                page = page[: max(0, len(page) - 2)]
            case "repeat" if start and page:
                page = [found[start - 1], *page[1:]]
            case "error-entry":
                return 200, _atom_feed(1, 0, 1, [_error_entry("an internal error occurred")])
        entries = [
            _entry(r, fault == "no-published" and n == 0, r.id in self.untitled or (fault == "no-title" and n == 0))
            for n, r in enumerate(page)
        ]
        return 200, _atom_feed(len(found), start, size, entries)

    def _search(self, query: str) -> list[Record]:
        """Papers of `(cat:a OR cat:b.*) AND submittedDate:[from TO to]`, or of the period alone, compared to the second."""
        terms, _, window = query.partition(" AND submittedDate:")
        if query.startswith("submittedDate:"):
            terms, window = "cat:*", query.removeprefix("submittedDate:")
        names = [part.strip("() ").removeprefix("cat:") for part in terms.split(" OR ")]

        def fits(category: str) -> bool:
            return any(n in {category, "*"} or (n.endswith(".*") and category.startswith(n[:-1])) for n in names)

        if not all(part.strip("() ").startswith("cat:") for part in terms.split(" OR ")):
            raise ValueError(f"cannot parse {query}")
        found = [r for r in self.records if not r.deleted and any(map(fits, r.categories))]
        if window:
            first, last = (datetime.strptime(t, "%Y%m%d%H%M") for t in window.strip("[]").split(" TO "))
            found = [r for r in found if first <= r.dates[0] <= last]
        return found

    # OAI-PMH -----------------------------------------------------------------------------------------------------------

    def oai(self, query: dict[str, str], fault: str) -> tuple[int, str]:
        """Status and body."""
        text = self._oai(query, fault)
        return (200, text) if text else (500, "Internal Server Error")

    def _oai(self, query: dict[str, str], fault: str) -> str:
        """Body; empty if a record cannot be rendered."""
        verb = query.get("verb", "")
        if verb == "GetRecord" and query.get("metadataPrefix") == "arXivRaw":
            name = query.get("identifier", "").removeprefix("oai:arXiv.org:")
            known = [r for r in self.records if r.id == name and name not in self.withheld]
            if not known:
                return _oai_error("idDoesNotExist", f"oai:arXiv.org:{name} has no record")
            if name in self.broken:
                return ""
            return _OAI.format(body=f"<GetRecord>{_oai_record(known[0], name in self.untitled)}</GetRecord>")
        if verb not in {"ListRecords", "ListIdentifiers"}:
            return _oai_error("badVerb", "Value of the verb argument is not a legal OAI-PMH verb")
        if fault == "error-entry":
            return _oai_error("badArgument", "The request includes illegal arguments")
        asked, skip = dict(query), 0
        if token := query.get("resumptionToken"):
            asked = dict(parse_qsl(unquote(token)))
            if set(query) != {"verb", "resumptionToken"}:
                return _oai_error("badArgument", "No other parameters allowed with resumptionToken")
            if fault == "expired-token" or "skip" not in asked or int(asked.pop("epoch")) != self.epoch:
                return _oai_error("badResumptionToken", "The value of the resumptionToken argument is invalid or expired.")
            skip = int(asked.pop("skip"))
        if asked.get("metadataPrefix") != "arXivRaw":
            return _oai_error("cannotDisseminateFormat", "The metadata format is not supported")
        first = date.fromisoformat(asked.get("from", "2005-09-16"))
        last = date.fromisoformat(asked.get("until", "9999-12-31"))
        found = sorted(
            (r for r in self.records if first <= r.datestamp <= last and ("set" not in asked or asked["set"] in r.sets)),
            key=lambda r: (r.datestamp, r.id),
        )
        if not found[skip:]:
            return _oai_error("noRecordsMatch", "The combination of the arguments results in an empty list.")
        size = self.oai_page * (5 if verb == "ListIdentifiers" else 1)
        page = found[skip : skip + size]
        token = ""
        if self.list_sizes:  # as the protocol has it, the last page too bears a token, an empty one
            token = f"<resumptionToken completeListSize='{len(found)}' cursor='{skip}'/>"
        if len(found) > skip + size:
            # As arXiv's server does it: from the day of the last record on, without those of that day that were given.
            day = page[-1].datestamp
            if day == page[0].datestamp:
                given = skip + size
                resumed = asked
            else:
                given = sum(1 for r in page if r.datestamp == day)
                resumed = asked | {"from": day.isoformat()}
            text = quote(urlencode(resumed | {"skip": str(given), "epoch": str(self.epoch)}))
            midnight = (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%dT00:00:00Z")
            sizes = f" completeListSize='{len(found)}' cursor='{skip}'" if self.list_sizes else ""
            token = f"<resumptionToken expires='{midnight}'{sizes}>{escape(text)}</resumptionToken>"
        match fault:
            case "empty":
                page = []
            case "short":
                page = page[: max(1, len(page) - 3)]
            case "repeat":
                page = [*page, page[0]]
        if verb == "ListRecords":
            if any(r.id in self.broken for r in page):
                return ""
            page = [r for r in page if r.id not in self.withheld]
        items = "".join(_header(r) if verb == "ListIdentifiers" else _oai_record(r, r.id in self.untitled) for r in page)
        return _OAI.format(body=f"<{verb}>{items}{token}</{verb}>")


# Documents -----------------------------------------------------------------------------------------------------------------

_OAI = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<OAI-PMH xmlns="http://www.openarchives.org/OAI/2.0/" '
    'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="http://www.openarchives.org/OAI/2.0/ '
    'http://www.openarchives.org/OAI/2.0/OAI-PMH.xsd"><responseDate>2024-06-01T00:00:00Z</responseDate>'
    "<request>http://oaipmh.arxiv.org/oai</request>{body}</OAI-PMH>"
)


def _oai_error(code: str, text: str) -> str:
    return _OAI.format(body=f"<error code='{code}'>{escape(text)}</error>")


def _header(record: Record) -> str:
    deleted = ' status="deleted"' if record.deleted else ""
    sets = "".join(f"<setSpec>{s}</setSpec>" for s in record.sets)
    return (
        f"<header{deleted}><identifier>oai:arXiv.org:{record.id}</identifier>"
        f"<datestamp>{record.datestamp}</datestamp>{sets}</header>"
    )


def _oai_record(record: Record, untitled: bool = False) -> str:
    if record.deleted:
        return f"<record>{_header(record)}</record>"
    text, last = record.texts[-1], len(record.dates)
    versions = "".join(
        f'<version version="v{n}"><date>{moment:%a, %d %b %Y %H:%M:%S} GMT</date>'
        f"<size>{0 if record.withdrawn and n == last else record.kilobytes * n}kb</size>"
        f"<source_type>{'I' if record.withdrawn and n == last else 'D'}</source_type></version>"
        for n, moment in enumerate(record.dates, 1)
    )
    names = [raw for _, raw in record.authors]
    authors = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]} (University of Examples)"
    optional = {"comments": text.comments, "journal-ref": record.journal_ref, "doi": record.doi, "license": record.licence}
    more = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in optional.items() if value)
    return (
        f"<record>{_header(record)}<metadata>"
        '<arXivRaw xmlns="http://arxiv.org/OAI/arXivRaw/" xsi:schemaLocation="http://arxiv.org/OAI/arXivRaw/ '
        f'http://arxiv.org/OAI/arXivRaw.xsd"><id>{record.id}</id><submitter>A. Submitter</submitter>{versions}'
        f"<title>{'' if untitled else escape(text.title)}</title><authors>{escape(authors)}</authors>"
        f"<categories>{' '.join(record.categories)}</categories>{more}<abstract>  {escape(text.abstract)}\n</abstract>"
        "</arXivRaw></metadata></record>"
    )


def _atom_feed(total: int, start: int, size: int, entries: Sequence[str]) -> str:
    return (
        "<?xml version='1.0' encoding='UTF-8'?>\n"
        '<feed xmlns:opensearch="http://a9.com/-/spec/opensearch/1.1/" xmlns:arxiv="http://arxiv.org/schemas/atom" '
        'xmlns="http://www.w3.org/2005/Atom"><id>https://arxiv.org/api/x</id><title>arXiv Query</title>'
        "<updated>2024-06-01T00:00:00Z</updated>"
        f"<opensearch:itemsPerPage>{size}</opensearch:itemsPerPage><opensearch:totalResults>{total}</opensearch:totalResults>"
        f"<opensearch:startIndex>{start}</opensearch:startIndex>{''.join(entries)}</feed>"
    )


def _error_entry(text: str) -> str:
    return (
        f"<entry><id>https://arxiv.org/api/errors#{quote(text)}</id><title>Error</title><summary>{escape(text)}</summary>"
        "<updated>2024-06-01T00:00:00Z</updated></entry>"
    )


def _entry(record: Record, bare: bool = False, untitled: bool = False) -> str:
    text, last = record.texts[-1], len(record.dates)
    title = "" if untitled else f"<title>{escape(text.title)}</title>"
    published = "" if bare else f"<published>{record.dates[0]:%Y-%m-%dT%H:%M:%S}Z</published>"
    authors = "".join(f"<author><name>{escape(name)}</name></author>" for name, _ in record.authors)
    terms = "".join(
        f'<category term="{escape(c)}" scheme="http://arxiv.org/schemas/atom"/>' for c in (*record.categories, *record.classes)
    )
    optional = {"comment": text.comments, "journal_ref": record.journal_ref, "doi": record.doi}
    more = "".join(f"<arxiv:{name}>{escape(value)}</arxiv:{name}>" for name, value in optional.items() if value)
    address = f"http://arxiv.org/abs/{record.id}v{last}"
    return (
        f"<entry><id>{address}</id>{title}<updated>{record.dates[-1]:%Y-%m-%dT%H:%M:%S}Z</updated>"
        f'<link href="{address}" rel="alternate" type="text/html"/>'
        f"<summary>  {escape(text.abstract)}\n</summary>{terms}{published}{more}"
        f'<arxiv:primary_category term="{record.categories[0]}"/>{authors}</entry>'
    )


# The server ----------------------------------------------------------------------------------------------------------------


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # the body is not to wait until the client has confirmed the head
    state: ArxivServer

    def do_GET(self) -> None:
        state = self.state
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        with state.lock:
            request = Request(time.monotonic(), parts.path, query, self.headers.get("User-Agent", ""))
            state.requests.append(request)
            fault = state.always or state.faults.pop(len(state.requests), "")
        try:
            self._answer(parts.path, query, fault)
        finally:
            request.answered = time.monotonic()

    def _answer(self, path: str, query: dict[str, str], fault: str) -> None:
        match fault:
            case "403" | "406" | "429" | "503":
                return self._send(int(fault), "Slow down")
            case "ban":
                return self._send(429, "Slow down", {"Retry-After": "7200"})
            case "gzip-bomb":
                return self._send_packed(300 << 20)
            case "429-retry-after":
                return self._send(429, "Slow down", {"Retry-After": "1"})
            case "html":
                return self._send(200, "<!DOCTYPE html><html><body>Down for maintenance</body></html>", kind="text/html")
            case "redirect":
                return self._send(301, "", {"Location": self.path})
            case "reset":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
                self.close_connection = True
                return None
        status, text = self.state.atom(query, fault) if path == "/api/query" else self.state.oai(query, fault)
        if fault == "cut":
            text = text[: len(text) * 2 // 3]
        if fault == "stall":
            return self._stall(text)
        return self._send(status, text)

    def _send(self, status: int, text: str, headers: dict[str, str] | None = None, kind: str = "application/xml") -> None:
        body = text.encode()
        self.send_response(status)
        for name, value in ({"Content-Type": kind, "Content-Length": str(len(body))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _send_packed(self, size: int) -> None:
        """So many blanks, in a thousandth of the bytes."""
        packer = zlib.compressobj(wbits=31)
        body = b"".join(packer.compress(b" " * (1 << 20)) for _ in range(size >> 20)) + packer.flush()
        self.send_response(200)
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stall(self, text: str) -> None:
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2])
        self.wfile.flush()
        time.sleep(self.state.stall)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A client that was killed or gave up is part of the tests."""


@contextmanager
def arxiv_server(records: Sequence[Record], **settings: Any) -> Iterator[ArxivServer]:  # noqa: ANN401
    """Serve these records on a free port of this machine."""
    state = ArxivServer(list(records), **settings)
    handler = type("Handler", (_Handler,), {"state": state})
    server = _Server(("127.0.0.1", 0), handler)
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
