"""Every reader, fed with damaged input: it reads, reports or refuses, in time, and leaves nothing half done.

The inputs are sound ones, changed as they are in the wild: cut short, pieces repeated, swapped, lost or put in from elsewhere,
brackets and quotes and numbers turned into others, values of another type where the form is known. KB_TEST_INPUTS is their
number for each reader.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet
import pytest
from arxiv_server import arxiv_server, generate
from conftest import record
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.arxiv.api import ArxivApi
from ingest.arxiv.oai import ArxivOai
from ingest.arxiv.snapshot import ingest_snapshot
from ingest.code.papers_with_code import ingest_archive
from ingest.jobs.configuration import Configuration
from ingest.notes.ingest import ingest_notes
from kb.cli import main
from kb.errors import KnowledgeBaseError
from kb.formats.read import read_bibliography
from kb.identifiers import ArxivId
from kb.papers import Paper
from kb.progress import NoProgress
from kb.search.qrels import read_judgements
from kb.store import Catalogue, Home, StagedPapers, catalogue_problems

INPUTS = int(os.environ.get("KB_TEST_INPUTS", "15"))
SECONDS = 5.0  # of computing: a longer one counts as a hang
LONGEST = 200_000  # bytes: enough for anything that grows with the square of the input to take minutes
HERE = Path(__file__).parent
many = settings(
    max_examples=INPUTS, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck), print_blob=True
)

# Inputs -------------------------------------------------------------------------------------------------------------------

ANYWHERE = [
    b"", b" ", b"\n", b"\r\n", b"\t", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80",
    "é\u202e\u200b\U0001f600".encode(), b"-1", b"0", b"9" * 40, b"1e999", b"NaN", b"null", b"true",
    b"\"", b"'", b"\\", b"{", b"}", b"[", b"]", b"(", b")", b"<", b">", b"&", b"%",
    b"1711.0093", b"arXiv:hep-th/9901001v3", b"https://arxiv.org/abs/1706.03762v9", b"javascript:alert(1)", b"../../etc/passwd",
]  # fmt: skip
MARKDOWN = [
    b"# ", b"#### ", b"- [ ] ", b"* ", b"1. ", b"> ", b"```", b"~~~", b"| --- | --- |", b"|", b"<!--", b"-->",
    b"---\n", b"[a]: http://b.c",
    b"[x](", b"![](", b"](https://arxiv.org/abs/2001.00001)", b"**", b"__", b"tl;dr:", b"<br/>",
    b"{: .x}", b"title: x\n", b"&a *a",
]  # fmt: skip
JSON_PIECES = [b'"id": ', b"{}", b"[]", b'"\\ud800"', b'{"a": ' * 500, b"[" * 3000, b",", b":", b'\n{"id": 1}\n']
XML_PIECES = [
    b"<entry>",
    b"</entry>",
    b"<record>",
    b"<![CDATA[",
    b"]]>",
    b"<!DOCTYPE a [<!ENTITY b 'c'>]>",
    b"&b;",
    b"<?x?>",
    b"xmlns=''",
]
TEX_PIECES = [
    b"@article{",
    b"@string{a=",
    b"@comment{",
    b"author = {",
    b" and ",
    b"{\\'e}",
    b"$\\alpha$",
    b"#",
    b"TY  - JOUR\n",
    b"ER  - \n",
    b"AU  - ",
]
TOML_PIECES = [
    b"[[job]]\n",
    b"[job]\n",
    b"at = ",
    b'"""',
    b"2020-01-01",
    b"= ",
    b"categories = []\n",
    b'days = "sun-mon"\n',
    b"[a.b]\n",
]

_WORDS = re.compile(rb"\w+|\s+|[^\w\s]")


@st.composite
def changed(draw: st.DrawFn, samples: Sequence[bytes], pieces: Sequence[bytes]) -> bytes:
    """A sample after one to six changes, each of whole words or signs."""
    data = draw(st.sampled_from(samples))
    others = [*ANYWHERE, *pieces]
    for _ in range(draw(st.integers(1, 6))):
        spans = [match.span() for match in _WORDS.finditer(data[:LONGEST])] or [(0, 0)]
        first = draw(st.integers(0, len(spans) - 1))
        last = min(first + draw(st.integers(0, 12)), len(spans) - 1)
        start, end = spans[first][0], spans[last][1]
        match draw(st.sampled_from(["lose", "put in", "put in place", "repeat", "cut", "copy", "byte"])):
            case "lose":
                data = data[:start] + data[end:]
            case "put in":
                data = data[:start] + draw(st.sampled_from(others)) + data[start:]
            case "put in place":
                data = data[:start] + draw(st.sampled_from(others)) + data[end:]
            case "repeat":
                times = min(draw(st.sampled_from([2, 3, 40, 3000])), LONGEST // (end - start + 1))
                data = data[:start] + data[start:end] * times + data[end:]
            case "cut":
                data = data[:start]
            case "copy":
                other = draw(st.integers(0, len(spans) - 1))
                data = data[: spans[other][0]] + data[start:end] + data[spans[other][0] :]
            case "byte":
                data = data[:start] + bytes([draw(st.integers(0, 255))]) + data[start + 1 :]
    return data[:LONGEST]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30)
    | st.sampled_from(["1711.0093", "10.1/x", "2019", "\x00", "https://github.com/a/b"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@st.composite
def retyped(draw: st.DrawFn, samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A record with one to three fields of any value, or none."""
    row = dict(draw(st.sampled_from(samples)))
    for _ in range(draw(st.integers(1, 3))):
        name = draw(st.sampled_from(sorted(row) or ["id"]))
        if draw(st.booleans()):
            row[name] = draw(VALUES)
        else:
            row.pop(name, None)
    return row


def lines(rows: Sequence[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


# The limits ---------------------------------------------------------------------------------------------------------------


@contextmanager
def in_time() -> Iterator[None]:
    """Fail where the block computes for longer than it may; an error of the library is an outcome like any other."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise AssertionError(f"took longer than {SECONDS} s")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        with suppress(KnowledgeBaseError):
            yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalogue]:
    """A draft's catalogue, into which all readers write; it is never published, and has to hold together at the end."""
    home = Home(tmp_path_factory.mktemp("bad input") / "kb")
    with home.draft() as draft:
        ingest_some(draft.catalogue, home.path / "sound.jsonl")
        yield draft.catalogue
        assert catalogue_problems(draft.catalogue) == []
    assert not home.exists()


def ingest_some(catalogue: Catalogue, path: Path) -> None:
    path.write_bytes(lines([record(n) for n in range(20)]))
    ingest_snapshot(catalogue, [path], NoProgress())


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("inputs")


# Readers ------------------------------------------------------------------------------------------------------------------

NOTES = [path.read_bytes() for path in sorted((HERE / "notes").iterdir())] + [
    (HERE / "golden" / "export" / name).read_bytes() for name in ("list.md", "list.obsidian.md")
]


@many
@given(data=changed(NOTES, MARKDOWN))
def test_markdown_notes(catalogue: Catalogue, place: Path, data: bytes) -> None:
    path = place / "notes.md"
    path.write_bytes(data)
    with in_time():
        ingest_notes(catalogue, [path], NoProgress())
        notes = catalogue.notes.on(list(catalogue.identifiers().values()))
        assert all(note.line >= 1 for said in notes.values() for note in said)


SNAPSHOT = [record(n) for n in range(4)] + [record(5, versions=None, authors_parsed=None)]


@many
@given(data=changed([lines(SNAPSHOT)], JSON_PIECES) | st.lists(retyped(SNAPSHOT), min_size=1, max_size=4).map(lines))
def test_the_snapshot(catalogue: Catalogue, place: Path, data: bytes) -> None:
    path = place / "snapshot.jsonl"
    path.write_bytes(data)
    with in_time():
        report = ingest_snapshot(catalogue, [path], NoProgress())
        told = sum(report.counts.get(name, 0) for name in ("new", "changed", "unchanged", "skipped"))
        assert told >= sum(bool(line.strip()) for line in data.split(b"\n")) - (b"\0" in data)


@many
@given(data=changed([gzip.compress(lines(SNAPSHOT))], [b"\x1f\x8b\x08\0", b"\x28\xb5\x2f\xfd"]))
def test_a_compressed_snapshot(catalogue: Catalogue, place: Path, data: bytes) -> None:
    path = place / "snapshot.jsonl.gz"
    path.write_bytes(data)
    with in_time():
        ingest_snapshot(catalogue, [path], NoProgress())


LINKS = [
    {
        "paper_title": record(n)["title"], "paper_arxiv_id": record(n)["id"] if n % 2 else None,
        "repo_url": f"https://github.com/example/repo{n}", "is_official": bool(n % 3),
        "mentioned_in_paper": True, "framework": "none",
    }
    for n in range(6)
]  # fmt: skip
LINK_FILES = [json.dumps(LINKS).encode(), gzip.compress(json.dumps(LINKS).encode())]


@many
@given(data=changed(LINK_FILES, JSON_PIECES) | st.lists(retyped(LINKS), max_size=4).map(lambda rows: json.dumps(rows).encode()))
def test_the_archive_of_links(catalogue: Catalogue, place: Path, data: bytes) -> None:
    path = place / "links.json"
    path.write_bytes(data)
    with in_time():
        ingest_archive(catalogue, path, NoProgress())


@pytest.fixture(scope="module")
def parquet(place: Path) -> bytes:
    path = place / "sound.parquet"
    pa.parquet.write_table(pa.Table.from_pylist(LINKS), path)
    return path.read_bytes()


@many
@given(choose=st.data())
def test_the_archive_of_links_in_parquet(catalogue: Catalogue, place: Path, parquet: bytes, choose: st.DataObject) -> None:
    path = place / "links.parquet"
    data = choose.draw(changed([parquet], [b"PAR1"]))
    path.write_bytes(data if data.startswith(b"PAR1") else b"PAR1" + data)
    with in_time():
        ingest_archive(catalogue, path, NoProgress())


REFERENCES = [(HERE / "golden" / "export" / name).read_bytes() for name in ("list.bib", "list.ris")]
ITEMS: list[dict[str, Any]] = json.loads((HERE / "golden" / "export" / "list.json").read_text())


@many
@given(
    data=changed([*REFERENCES, json.dumps(ITEMS).encode()], [*TEX_PIECES, *JSON_PIECES])
    | st.lists(retyped(ITEMS), max_size=3).map(lambda rows: json.dumps(rows).encode())
    | VALUES.map(lambda value: json.dumps(value).encode())
)
def test_bibliographies(place: Path, data: bytes) -> None:
    path = place / "list.bib"
    path.write_bytes(data)
    with in_time():
        found = read_bibliography(path)
        assert all(entry.title and entry.paper_id for entry in found.entries)


CORPUS = [{"_id": f"d{n}", "title": f"Title {n}", "text": f"Text of number {n}."} for n in range(3)]
QUERIES = [{"_id": f"q{n}", "text": f"Which one is number {n}?"} for n in range(3)]
QRELS = b"query-id\tcorpus-id\tscore\nq0\td0\t1\nq1\td1\t2\nq2\td2\t0\n"


@many
@given(
    corpus=st.just(lines(CORPUS)) | changed([lines(CORPUS)], JSON_PIECES) | st.lists(retyped(CORPUS), max_size=4).map(lines),
    queries=st.just(lines(QUERIES)) | changed([lines(QUERIES)], JSON_PIECES) | st.lists(retyped(QUERIES), max_size=4).map(lines),
    qrels=st.just(QRELS) | changed([QRELS], [b"\t", b"q0", b"d0"]),
    packed=st.booleans(),
)
def test_folders_of_judgements(place: Path, corpus: bytes, queries: bytes, qrels: bytes, packed: bool) -> None:
    (place / "qrels").mkdir(exist_ok=True)
    for left in place.glob("*.jsonl*"):
        left.unlink()
    (place / f"corpus.jsonl{'.gz' if packed else ''}").write_bytes(gzip.compress(corpus) if packed else corpus)
    (place / "queries.jsonl").write_bytes(queries)
    (place / "qrels" / "test.tsv").write_bytes(qrels)
    with in_time():
        found = read_judgements(place)
        assert found.queries.keys() == found.qrels.keys()
        found.source_documents()


CONFIGURATION = b"""categories = ["cs.CL", "math"]   # followed

[[job]]
run = "ingest oai --set 'cs'"
at = "06:30"
days = "mon-fri"

[[job]]
run = "index"
at = "7:05"
"""


@many
@given(data=changed([CONFIGURATION], TOML_PIECES))
def test_the_configuration(place: Path, data: bytes) -> None:
    home = Home(place)
    home.configuration.write_bytes(data)
    with in_time():
        for job in Configuration.of(home).jobs:
            assert job.next_time(datetime(2026, 1, 1).astimezone()).year >= 2026
            assert job.arguments


# Far sides ----------------------------------------------------------------------------------------------------------------


class Answer(BaseHTTPRequestHandler):
    """Gives one answer to every request."""

    body: ClassVar[bytes] = b""
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # the body is not to wait until the client has confirmed the head

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def far_side(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, bytes]]:
    """A server that answers with `Answer.body`, and sound answers of arXiv's two services to begin with."""
    import requests

    patch = pytest.MonkeyPatch()
    sound: dict[str, bytes] = {}
    records = generate(6, days=1)
    with arxiv_server(records, oai_page=4) as state:
        names = ",".join(record.id for record in records[:4])
        sound["atom"] = requests.get(f"{state.url}/api/query?id_list={names}&max_results=4", timeout=30).content
        sound["oai"] = requests.get(f"{state.url}/oai?verb=ListRecords&metadataPrefix=arXivRaw&set=cs", timeout=30).content
        assert b"<entry>" in sound["atom"]
        assert b"resumptionToken" in sound["oai"]
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_address[1]}/"
    patch.setenv("KB_ARXIV_API_URL", address)
    patch.setenv("KB_ARXIV_OAI_URL", address)
    patch.setenv("KB_ARXIV_DELAY", "0")
    patch.setenv("KB_STATE_DIR", str(tmp_path_factory.mktemp("state")))
    yield sound
    patch.undo()
    server.shutdown()
    server.server_close()
    thread.join()


def kept(catalogue: Catalogue, papers: Sequence[Paper]) -> None:
    """Put papers into the catalogue as a harvest does."""
    staged = StagedPapers(catalogue)
    staged.begin()
    staged.stage(papers)
    staged.merge()


@many
@given(choose=st.data())
def test_the_atom_api(catalogue: Catalogue, far_side: dict[str, bytes], choose: st.DataObject) -> None:
    Answer.body = choose.draw(changed([far_side["atom"]], XML_PIECES))
    api = ArxivApi(page=4)
    first = datetime(2024, 1, 1)
    with in_time():
        for window in api.windows("cat:cs.LG", first, first + timedelta(minutes=2)):
            kept(catalogue, window.papers)
    with in_time():
        for papers, _ in api.by_id([ArxivId.parse("2401.00001")]):
            kept(catalogue, papers)


@many
@given(choose=st.data())
def test_oai_pmh(catalogue: Catalogue, far_side: dict[str, bytes], choose: st.DataObject) -> None:
    Answer.body = choose.draw(changed([far_side["oai"]], XML_PIECES))
    oai = ArxivOai()
    ask: list[Callable[[], Any]] = [lambda: oai.records("cs", None), lambda: oai.more("ListRecords", "token")]
    for request in ask:
        with in_time():
            page = request()
            kept(catalogue, page.papers)
            assert len(page.papers) <= len(page.headers)


# The command line ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments", [["list", "new", "\udcff"], ["ingest", "notes", "/tmp/\udce9.md"], ["--home", "/tmp/\udcff", "lists"]]
)
def test_an_argument_of_other_bytes_is_one_error(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Python hands on bytes that are no UTF-8 as halves of characters, which nothing can store or print."""
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "\\x" in said
    assert "is no UTF-8" in said


def test_a_note_whose_name_is_no_utf_8_is_reported_and_the_rest_goes_in(home: Home, tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "good.md").write_text("- [One](https://arxiv.org/abs/1706.03762)\n")
    (folder / os.fsdecode(b"caf\xe9.md")).write_text("- [Two](https://arxiv.org/abs/1810.04805)\n")
    with home.draft() as draft:
        report = ingest_notes(draft.catalogue, [folder], NoProgress())
        assert draft.catalogue.counts()["notes"] == 1
    assert [(Path(s.source).name, s.reason) for s in report.skipped] == [("caf?.md", "the name is no UTF-8; rename the file")]
