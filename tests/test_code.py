"""Code links: which repository is the paper's own, the archive's rows, and what is shown of all of it."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
import zstandard
from conftest import record

from app.widgets.cards import found_in
from ingest.code import papers_with_code
from ingest.code.evidence import Judgement, judge_listed, judge_mention
from ingest.code.extract import SOURCES
from ingest.code.papers_with_code import SOURCE as ARCHIVE
from ingest.code.papers_with_code import read_archive
from ingest.jobs.run import run_code, run_code_archive, run_snapshot
from kb.errors import SourceError
from kb.identifiers import repositories_in
from kb.papers import Author, CodeLink
from kb.store import CodeCatalogue, Filters, Home, RepositoryState

LABELS = Path(__file__).parent / "labels" / "code_links.tsv"
AUTHORS = (Author("Vaswani", "Ashish"), Author("Li", "Xiang"))
URL = "https://github.com/lab/repo"


@pytest.mark.parametrize(
    ("text", "confidence"),
    [
        ("Our code is available at https://github.com/lab/repo.", 0.95),
        ("Code: https://github.com/lab/repo", 0.95),
        ("We release models and data under \\url{https://github.com/lab/repo}.", 0.95),
        ("The dataset can be downloaded from github.com/lab/repo/tree/main", 0.95),
        ("Accepted at ICML. https://github.com/lab/repo", 0.7),
        ("This holds for existing approaches. https://github.com/lab/repo", 0.7),
        ("Models were trained using Detectron2 (https://github.com/lab/repo).", 0.3),
        ("The system is based on https://github.com/lab/repo and scales.", 0.3),
        ("It outperforms the baseline https://github.com/lab/repo by far.", 0.3),
        ("It ranks first on the leaderboard https://github.com/lab/repo.", 0.3),
        ("Code is available at https://github.com/xxx/xxx.", 0.05),
    ],
)
def test_the_words_around_an_address(text: str, confidence: float) -> None:
    (url,) = repositories_in(text)
    assert judge_mention(url, "A study of nothing at all", AUTHORS, text).confidence == confidence


@pytest.mark.parametrize(
    ("text", "confidence"),
    [
        ("Code and data are available at https://lab.github.io/own.", 0.7),
        ("All data and code are available on our project page (https://lab.github.io/own/).", 0.7),
        ("Project page: https://lab.github.io/own", 0.4),
        ("Videos can be found at https://lab.github.io/own", 0.4),
        ("Code: https://github.com/lab/other, website: https://lab.github.io/own", 0.4),
        ("Code: https://github.com/Lab/Own. Project page: https://lab.github.io/own", 0.95),
    ],
)
def test_a_project_page_counts_as_code_where_the_text_says_so(text: str, confidence: float) -> None:
    url = repositories_in(text)[-1]
    assert url.lower() == "https://github.com/lab/own"
    assert judge_mention(url, "A study of nothing at all", AUTHORS, text).confidence == confidence


@pytest.mark.parametrize(
    ("url", "title", "evidence"),
    [
        ("https://github.com/lab/BERT-pytorch", "BERT: Pre-training", "named like the paper"),
        ("https://github.com/lab/stereo-depth", "Depth from Stereo by Learning", "named like the paper"),
        ("https://github.com/lab/gan4sp", "GAN4SP: x", "named like the paper"),
        ("https://github.com/avaswani/code1", "Nothing", "owned by an author"),
        ("https://github.com/xiangli/code1", "Nothing", "owned by an author"),
        ("https://github.com/lab/code1", "Nothing", "the text names it"),
        ("https://github.com/lab/li", "Nothing", "the text names it"),
    ],
)
def test_names_of_repository_and_owner(url: str, title: str, evidence: str) -> None:
    assert judge_mention(url, title, AUTHORS, f"Accepted. {url}").evidence == evidence


@pytest.mark.parametrize(
    ("url", "title", "official", "mentioned", "alone", "confidence", "evidence"),
    [
        (URL, "T", True, None, False, 0.95, "official by the archive"),
        (URL, "T", None, True, False, 0.9, "listed by the archive, named in the paper"),
        (URL, "T", None, False, False, 0.45, "listed by the archive"),
        (URL, "T", False, False, True, 0.65, "the only one listed by the archive"),
        (URL, "Repo: A", False, False, False, 0.75, "listed by the archive, named like the paper"),
        ("https://github.com/vaswani/x", "T", None, False, False, 0.75, "listed by the archive, owned by an author"),
        ("https://github.com/xxx/xxx", "T", True, True, True, 0.05, "a placeholder"),
    ],
)
def test_a_listed_repository(
    url: str, title: str, official: bool | None, mentioned: bool | None, alone: bool, confidence: float, evidence: str
) -> None:
    judged = judge_listed(url, title, AUTHORS, official=official, mentioned=mentioned, alone=alone)
    assert judged == Judgement(confidence, evidence)


# The labelled sample ---------------------------------------------------------------------------------------------------


def labels() -> list[tuple[str, str, str, str]]:
    rows = [line.split("\t") for line in LABELS.read_text().splitlines() if not line.startswith("#")]
    return [(a, b, c, d) for a, b, c, d in rows]


def test_labelled_papers(shared: Path) -> None:
    wanted = {row[0] for row in labels()}
    records: dict[str, dict[str, Any]] = {}
    for name in ("arxiv-2025-26", "arxiv-cs-to-2019"):
        with (shared / "data" / f"{name}.jsonl.zst").open("rb") as file:
            for line in io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file), encoding="utf-8"):
                if any(f'"{i}"' in line[:60] for i in (line[8:18], line[8:17])) and (found := json.loads(line))["id"] in wanted:
                    records[found["id"]] = found
    assert records.keys() == wanted
    shown: set[tuple[str, str]] = set()
    for identifier, found in records.items():
        authors = [Author(*parts[:3]) for parts in found["authors_parsed"] or []]
        for text in (" ".join((found["abstract"] or "").split()), " ".join((found["comments"] or "").split())):
            for url in repositories_in(text):
                if judge_mention(url, found["title"], authors, text).confidence >= 0.5:
                    shown.add((identifier, url))
    figures: dict[str, tuple[float, float]] = {}
    for sample in ("random", "doubtful", "strata", "strata-again"):
        rows = [row for row in labels() if row[3] == sample]
        own = {(i, url) for i, url, label, _ in rows if label == "own"}
        listed = {(i, url) for i, url in shown if any(i == row[0] and url == row[1] for row in rows)}
        listed |= {(i, url) for i, url in shown if any(i == row[0] and row[2] == "none" for row in rows)}
        figures[sample] = (len(listed & own) / len(listed), len(listed & own) / len(own))
    assert all(precision >= 0.95 and recall >= 0.95 for precision, recall in figures.values()), figures


# The archive -------------------------------------------------------------------------------------------------------------


def row(url: str, title: str = "", arxiv: str | None = None, **more: object) -> dict[str, Any]:
    return {"paper_title": title, "paper_arxiv_id": arxiv, "repo_url": url, "is_official": None, "framework": "none"} | more


@pytest.fixture
def stocked(home: Home, write_snapshot: Callable[..., Path]) -> Home:
    twins = [record(n, comments=None, title="One and the same long title", authors=f"Twin {n}") for n in (6, 7)]
    run_snapshot(home, [write_snapshot([*(record(n, comments=None) for n in range(5)), *twins])])
    return home


ROWS = [
    row("http://github.com/Lab/First.git", "whatever", record(0)["id"], is_official=True, framework="pytorch"),
    row("github.com/lab/first/tree/main", "whatever", record(0)["id"] + "v2", mentioned_in_paper=True),
    row("https://gitlab.com/lab/speech-recognition", record(1)["title"].upper() + "!"),
    row("https://github.com/lab/third", "One and the same long title"),
    row("https://github.com/lab/fourth", "A title that nobody here has"),
    row("https://github.com/lab/fifth", "", "2001.99999"),
    row("https://github.com/owner-only/", record(2)["title"]),
    row("https://example.org/code", record(2)["title"]),
    row("https://github.com/lab/sixth", "x", "1711.0093"),
    {"repo_url": None},
]


def parquet() -> bytes:
    file = io.BytesIO()
    fields = ("paper_title", "paper_arxiv_id", "repo_url", "is_official", "framework", "mentioned_in_paper")
    pyarrow.parquet.write_table(pa.Table.from_pylist([{f: r.get(f) for f in fields} for r in ROWS]), file)
    return file.getvalue()


def wide_parquet(title: str, rows: int) -> bytes:
    """The same long title in every row, which a dictionary makes a small file of."""
    file = io.BytesIO()
    pyarrow.parquet.write_table(pa.table({"paper_title": [title] * rows, "repo_url": ["https://github.com/a/b"] * rows}), file)
    return file.getvalue()


@pytest.mark.parametrize("form", ["json", "gz", "zst", "parquet"])
def test_the_archive(stocked: Home, tmp_path: Path, form: str) -> None:
    file = tmp_path / "archive"
    text = json.dumps(ROWS).encode()
    packed = {"json": text, "gz": gzip.compress(text), "zst": zstandard.compress(text), "parquet": parquet()}
    file.write_bytes(packed[form])
    for _ in range(2):  # read again, it changes nothing
        report = run_code_archive(stocked, file)
        assert report.counts == {
            "rows": 10,
            "skipped": 5,
            "by arXiv id": 2,
            "by title": 1,
            "ambiguous": 1,
            "of papers not in the catalogue": 2,
            "said twice": 1,
            "code links": 2,
        }
    assert [(s.line, s.reason) for s in sorted(report.skipped, key=lambda s: s.line)] == [
        (4, f"'One and the same long title' is the title of {_ids(6, 7)}: which is meant cannot be told"),
        (7, "'https://github.com/owner-only/' names an owner, not a repository"),
        (8, "'https://example.org/code' is no address of a repository"),
        (9, "'1711.0093' has the form of an arXiv identifier but cannot exist: check its digits"),
        (10, "the row has no repo_url"),
    ]
    generation = stocked.open()
    try:
        links = generation.catalogue.code_of([f"arxiv:{record(n)['id']}" for n in range(8)])
        keys = generation.catalogue.select(Filters(has_code=True))
        assert keys is not None
        with_code = {paper.id for paper in generation.catalogue.papers(keys.tolist()).values()}
    finally:
        generation.close()
    assert with_code == links.keys() == {f"arxiv:{record(0)['id']}", f"arxiv:{record(1)['id']}"}
    (first,) = links[f"arxiv:{record(0)['id']}"]
    assert (first.url.lower(), first.source, first.official) == ("https://github.com/lab/first", "paperswithcode", True)
    assert (first.framework, first.confidence) == ("pytorch", 0.95)
    assert first.evidence == "official by the archive, named in the paper"


def _ids(*numbers: int) -> str:
    return ", ".join(sorted(f"arxiv:{record(n)['id']}" for n in numbers))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is no JSON"),
        (b"[{", "is no JSON"),
        (b'{"a": 1}', "holds no list of links"),
        (b'[{"a": 1}]', "holds no list of links"),
        (gzip.compress(b"[]")[:-4], "cut short"),
        (gzip.compress(b"[" + b" " * (2 << 20)), "holds more than 1 MiB, unpacked"),
        (zstandard.compress(b"[" + b" " * (2 << 20)), "holds more than 1 MiB, unpacked"),
        (b"[" + b" " * (2 << 20), "holds more than 1 MiB, unpacked"),
        (wide_parquet("x" * 200_000, 3), "a paper_title of 200,000 bytes"),
        (wide_parquet("x" * 60_000, 30), "holds more than 1 MiB, unpacked"),
        (b"\x1f\x8b\x08\x00garbage", "is damaged|cut short"),
        (b"PAR1garbage", "Parquet"),
    ],
)
def test_what_is_no_archive_is_refused(
    stocked: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, message: str
) -> None:
    monkeypatch.setattr(papers_with_code, "_MAX_BYTES", 1 << 20)
    file = tmp_path / "archive"
    file.write_bytes(data)
    before = stocked.current_name()
    with pytest.raises(SourceError, match=message):
        run_code_archive(stocked, file)
    assert stocked.current_name() == before


@pytest.mark.parametrize("form", ["plain", "gzip", "zstd", "parquet"])
def test_an_archive_unpacks_to_so_much_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    rows = json.dumps([row("https://github.com/a/b", "x" * 100_000)] * 20).encode()
    file = tmp_path / "archive"
    if form == "parquet":
        pyarrow.parquet.write_table(pa.Table.from_pylist(json.loads(rows)), file)
    else:
        pack = {"plain": bytes, "gzip": gzip.compress, "zstd": zstandard.compress}[form]
        file.write_bytes(pack(rows))
    assert len(read_archive(file)) == 20
    monkeypatch.setattr("ingest.code.papers_with_code._MAX_BYTES", 1 << 20)
    with pytest.raises(SourceError, match="holds more than 1 MiB"):
        read_archive(file)


# What is shown ---------------------------------------------------------------------------------------------------------


def test_doubtful_links_are_kept_but_not_shown_as_the_code(home: Home, write_snapshot: Callable[..., Path]) -> None:
    abstract = "We train it using https://github.com/big/toolkit on graphs. Our code is at https://github.com/lab/own."
    run_snapshot(
        home,
        [
            write_snapshot(
                [record(0, abstract=abstract, comments=None), record(1, abstract=abstract.split(" Our")[0], comments=None)]
            )
        ],
    )
    run_code(home)
    first, second = (f"arxiv:{record(n)['id']}" for n in range(2))
    generation = home.open()
    try:
        shown = generation.catalogue.code_of([first, second])
        mentioned = CodeCatalogue(generation.catalogue).mentioned([first, second])
        keys = generation.catalogue.select(Filters(has_code=True))
    finally:
        generation.close()
    assert {i: [x.url for x in links] for i, links in shown.items()} == {first: ["https://github.com/lab/own"]}
    assert {i: [x.url for x in links] for i, links in mentioned.items()} == {
        first: ["https://github.com/big/toolkit"],
        second: ["https://github.com/big/toolkit"],
    }
    assert keys is not None
    assert len(keys) == 1


def test_what_the_forge_says_of_a_repository(stocked: Home) -> None:
    paper = f"arxiv:{record(0)['id']}"
    checked = datetime(2025, 10, 1, 12)
    with stocked.draft() as draft:
        catalogue = draft.catalogue
        catalogue.add_code_links(
            [
                (paper, CodeLink("https://github.com/Old/Name", "abstract")),
                (paper, CodeLink("https://github.com/new/name", "notes", stars=3)),
                (paper, CodeLink("https://github.com/lab/gone", "notes")),
            ]
        )
        code = CodeCatalogue(catalogue)
        assert [url for url, _ in code.repositories_to_check("github.com", 2)] == [
            "https://github.com/lab/gone",
            "https://github.com/new/name",
        ]
        code.record_states(
            [
                RepositoryState(
                    "https://github.com/old/name", checked, 17, archived=True, moved_to="https://github.com/new/name"
                ),
                RepositoryState("https://github.com/lab/gone", checked, gone=True),
            ]
        )
        (link,) = catalogue.code_of([paper])[paper]
        assert (link.url, link.source, link.stars, link.archived) == ("https://github.com/new/name", "abstract", 17, True)
        assert link.facts == [
            "not known to be official", "90% sure to be the paper's own", "source: abstract", "17 stars", "checked 2025-10-01",
            "archived",
        ]  # fmt: skip
        assert link.checked == checked
        assert [url for url, _ in code.repositories_to_check("github.com", 1)] == ["https://github.com/new/name"]


def test_show_tells_all_that_is_known_of_a_link(stocked: Home, kb: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    identifier = record(0)["id"]
    paper = f"arxiv:{identifier}"
    checked = datetime(2025, 10, 1, 12)
    stars = CodeLink("https://github.com/hf/page", "huggingface", None, 5, 0.9, "its page on Hugging Face names it")
    with stocked.draft() as draft:
        draft.catalogue.add_code_links(
            [
                (paper, CodeLink("https://github.com/lab/own", "paperswithcode", True, None, 0.95, "official", "pytorch")),
                (paper, CodeLink("https://github.com/big/toolkit", "abstract", None, None, 0.3, "the text speaks of use")),
            ]
        )
        code = CodeCatalogue(draft.catalogue)
        code.record_states([RepositoryState("https://github.com/lab/own", checked, 1234, archived=True)])
        code.record_paper(paper, checked, "https://page.example.org", stars)
        draft.publish()
    lines = kb("show", identifier).stdout.splitlines()
    start = lines.index("code: https://github.com/lab/own")
    assert lines[start:] == [
        "code: https://github.com/lab/own",
        "    official; 95% sure to be the paper's own: official; source: paperswithcode; pytorch; 1,234 stars; "
        "checked 2025-10-01; archived",
        "code: https://github.com/hf/page",
        "    not known to be official; 90% sure to be the paper's own: its page on Hugging Face names it; source: huggingface; "
        "5 stars; checked 2025-10-01",
        "mentioned: https://github.com/big/toolkit",
        "    not known to be official; 30% sure to be the paper's own: the text speaks of use; source: abstract; never checked",
        "project page: https://page.example.org",
    ]
    shown = json.loads(kb("show", identifier, "--json").stdout)
    own = {
        "url": "https://github.com/lab/own",
        "source": "paperswithcode",
        "official": True,
        "stars": 1234,
        "confidence": 0.95,
        "evidence": "official",
        "framework": "pytorch",
        "checked": "2025-10-01T12:00:00",
        "archived": True,
    }
    assert shown["code"][0] == own
    assert [link["url"] for link in shown["code"]] == [own["url"], "https://github.com/hf/page"]
    assert [link["url"] for link in shown["mentioned"]] == ["https://github.com/big/toolkit"]
    assert shown["project_page"] == "https://page.example.org"


def test_the_app_says_of_every_source_what_it_is() -> None:
    assert [found_in(CodeLink(URL, source)) for source in (*SOURCES, "notes", "huggingface", ARCHIVE)] == [
        "named in the abstract",
        "named in the authors' comments",
        "named in your notes",
        "named by Hugging Face Papers",
        "known from the Papers-with-Code archive",
    ]
