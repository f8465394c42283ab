"""The arXiv snapshot: what goes in, what is reported, and that nothing is lost on the way."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path

import pytest
import zstandard
from conftest import record

from ingest.arxiv import line_reader
from ingest.arxiv.line_reader import read_lines
from ingest.jobs.run import run_code, run_snapshot
from kb.errors import SourceError
from kb.papers import Author, Paper, Version
from kb.store import Home

Write = Callable[..., Path]


def stored(home: Home) -> dict[str, Paper]:
    generation = home.open()
    keys = generation.catalogue.documents().keys.tolist()
    return {p.id: p for p in generation.catalogue.papers(keys).values()}


def test_every_field_of_a_record(home: Home, write_snapshot: Write) -> None:
    full = record(
        0,
        id="math.GT/0309136",
        title="Knots\n  and  links",
        abstract="  On knots.\n  They tangle. ",
        comments="12 pages",
        categories="math.GT cs.CG",
        **{"journal-ref": "J. Knots 3 (2004)", "doi": "10.1000/ABC", "license": "http://creativecommons.org/licenses/by/4.0/"},
        versions=[
            {"version": "v1", "created": "Mon, 8 Sep 2003 10:11:12 GMT"},
            {"version": "v2", "created": "Tue, 9 Sep 2003 00:00:00 GMT"},
        ],
        update_date="2009-11-10",
        authors_parsed=[["Knot", "Ann B.", "Jr."], ["Collaboration", "", ""]],
    )
    report = run_snapshot(home, [write_snapshot([full])])
    assert report.counts == {"new": 1, "changed": 0, "unchanged": 0}
    assert stored(home) == {
        "arxiv:math/0309136": Paper(
            id="arxiv:math/0309136",
            title="Knots and links",
            abstract="On knots. They tangle.",
            authors=(Author("Knot", "Ann B.", "Jr."), Author("Collaboration")),
            categories=("math.GT", "cs.CG"),
            comments="12 pages",
            journal_ref="J. Knots 3 (2004)",
            doi="10.1000/abc",
            licence="http://creativecommons.org/licenses/by/4.0/",
            published=date(2003, 9, 8),
            updated=date(2009, 11, 10),
            year=2003,
            versions=(Version(1, datetime(2003, 9, 8, 10, 11, 12)), Version(2, datetime(2003, 9, 9))),
        )
    }


def test_authors_without_parts_are_split(home: Home, write_snapshot: Write) -> None:
    run_snapshot(home, [write_snapshot([record(1, authors_parsed=None, authors="Ann B. Knot, Bo Li and Plato")])])
    (paper,) = stored(home).values()
    assert paper.authors == (Author("Knot", "Ann B."), Author("Li", "Bo"), Author("Plato"))


@pytest.mark.parametrize(
    ("field", "text", "withdrawn"),
    [
        ("comments", "This paper has been withdrawn by the author due to an error in Lemma 2", True),
        ("comments", "Withdrawn. See 1801.00001 instead", True),
        ("abstract", "This submission was withdrawn by its authors.", True),
        ("abstract", "We study how consent is withdrawn from data sets.", False),
        ("comments", "9 pages", False),
    ],
)
def test_withdrawn_papers_are_marked(home: Home, write_snapshot: Write, field: str, text: str, withdrawn: bool) -> None:
    run_snapshot(home, [write_snapshot([record(1, **{field: text})])])
    (paper,) = stored(home).values()
    assert paper.withdrawn is withdrawn


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst", ".zst of two frames"])
def test_compressed_by_what_is_in_the_file(home: Home, write_snapshot: Write, suffix: str) -> None:
    path = write_snapshot([record(i) for i in range(50)])
    data = path.read_bytes()
    if suffix == ".gz":
        data = gzip.compress(data)
    elif suffix == ".zst":
        data = zstandard.compress(data)
    elif suffix:
        data = zstandard.compress(data[:5000]) + zstandard.compress(data[5000:])
    path.write_bytes(data)  # under a name that says nothing
    assert run_snapshot(home, [path]).counts["new"] == 50


def test_categories_and_limit(home: Home, write_snapshot: Write) -> None:
    path = write_snapshot([record(i) for i in range(20)])
    report = run_snapshot(home, [path], categories=["stat"], limit=7)
    assert report.counts["new"] == 7
    assert {p.categories for p in stored(home).values()} == {("cs.LG", "stat.ML")}
    assert next(iter(stored(home))) == "arxiv:1502.00002"  # in the file's order
    report = run_snapshot(home, [path], categories=["cs.CL"])
    assert report.counts == {"of other categories": 10, "new": 10, "changed": 0, "unchanged": 0, "code links": 4}


def test_the_limit_counts_over_all_files(home: Home, write_snapshot: Write) -> None:
    files = [write_snapshot([record(i) for i in range(start, start + 5)], f"{start}.jsonl") for start in (0, 5, 10)]
    report = run_snapshot(home, files, limit=7)
    assert report.counts == {"new": 7, "over the limit": 3, "changed": 0, "unchanged": 0, "code links": 3}
    assert set(stored(home)) == {f"arxiv:{record(i)['id']}" for i in range(7)}


def test_again_and_edited(home: Home, write_snapshot: Write) -> None:
    path = write_snapshot([record(i) for i in range(10)])
    run_snapshot(home, [path])
    assert run_snapshot(home, [path]).counts == {"new": 0, "changed": 0, "unchanged": 10}
    edited = record(3, title="A new title", comments="Code moved to https://github.com/example/other")
    write_snapshot([record(2), edited, record(11)])
    report = run_snapshot(home, [path])
    assert report.counts == {"new": 1, "changed": 1, "unchanged": 1, "code links": 1}
    generation = home.open()
    (link,) = generation.catalogue.code_of(["arxiv:1504.00004"])["arxiv:1504.00004"]
    assert (link.url, link.source) == ("https://github.com/example/other", "comments")


def test_code_links_made_anew_are_the_same(home: Home, write_snapshot: Write) -> None:
    run_snapshot(home, [write_snapshot([record(i) for i in range(30)])])
    before = home.open().catalogue.counts()["code_links"]
    assert before == 10
    assert run_code(home).counts == {"code links": 10}
    assert home.open().catalogue.counts()["code_links"] == 10


def test_bad_records_are_reported_and_the_rest_goes_in(home: Home, write_snapshot: Write) -> None:
    path = write_snapshot(
        [
            record(0),
            "",
            json.dumps(record(1))[:-40],  # cut short
            record(2, title=None),
            record(3, title="  "),
            record(4, id="1711.0093"),
            record(5, id=None),
            record(6, title=17),  # a number
            record(7, versions="v1"),
            '"a string"',
            "[" * 100_000,
            record(8, title="\ud800 alone"),
            record(10, id="", versions=None),
            record(11, id="x", versions=None, update_date=None),
            record(9, authors_parsed=None, authors=None, categories=None, abstract=None, versions=None, update_date="soon"),
        ]
    )
    report = run_snapshot(home, [path])
    reasons = {s.line: s.reason for s in report.skipped}
    assert sorted(reasons) == [3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]
    assert "JSONDecodeError" in reasons[3]
    assert reasons[4] == "the record 1503.00003 has no title"
    assert reasons[6] == "1711.0093 is no arXiv id that can exist"
    assert reasons[7] == "the record has no id"
    assert "type" in reasons[8]
    assert report.counts["skipped"] == 12
    assert set(stored(home)) == {"arxiv:1501.00001", "arxiv:1510.00010"}
    assert home.open().catalogue.runs()[0].outcome == "partial"


def test_reports_are_in_the_order_of_the_lines_whichever_step_finds_them(
    home: Home, write_snapshot: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A block is read in a thread while the one before is staged."""
    monkeypatch.setattr(line_reader, "_BLOCK_BYTES", 1 << 16)  # some hundred records
    kinds = ('{"id": ', record(1, title=" "), "[]", record(2, id="2613.00001"))
    path = write_snapshot([kinds[i // 200 % 4] if i % 200 == 100 else record(i) for i in range(2000)])
    report = run_snapshot(home, [path])
    assert [skipped.line for skipped in report.skipped] == list(range(101, 2000, 200))
    assert report.counts == {"skipped": 10, "new": 1990, "changed": 0, "unchanged": 0, "code links": 664}


@pytest.mark.parametrize("first", ["null", " \r null", "\ufeffnull", "null{}", "\ufeff"])
def test_a_first_line_that_arrow_dies_over_is_reported(home: Home, write_snapshot: Write, first: str) -> None:
    report = run_snapshot(home, [write_snapshot([first, record(0), "null"])])
    assert report.counts["new"] == 1
    assert [skipped.line for skipped in report.skipped] == [1, 3]


@pytest.mark.parametrize("bad", [b"\xff", b"\xed\xa0\x80", b"\xc3", b"\\ud800"])
def test_text_that_is_no_unicode_is_reported(home: Home, write_snapshot: Write, bad: bytes) -> None:
    path = write_snapshot([record(0), record(1, title="On ## graphs"), record(2)])
    path.write_bytes(path.read_bytes().replace(b"##", bad))
    report = run_snapshot(home, [path])
    assert [skipped.line for skipped in report.skipped] == [2]
    assert set(stored(home)) == {f"arxiv:{record(n)['id']}" for n in (0, 2)}


def test_a_line_of_five_megabytes_is_a_record_like_any_other(home: Home, write_snapshot: Write) -> None:
    path = write_snapshot([record(0), record(1, abstract="long " * 1_000_000), "x" * 5_000_000, record(2)])
    report = run_snapshot(home, [path])
    assert [s.line for s in report.skipped] == [3]
    assert report.counts["new"] == 3


def test_a_line_without_end_does_not_fill_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "long.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b'{"a": 1}\n')
        for _ in range(60):
            file.write(b"x" * (1 << 20))
        file.write(b'\n{"b": 2}\n')
    problems: list[tuple[int, str]] = []
    lines = [line for block in read_lines(path, lambda _: None, lambda *p: problems.append(p)) for line in block.lines]
    assert [line for line in lines if line] == [b'{"a": 1}', b'{"b": 2}']
    assert [line for line, _ in problems] == [2]


@pytest.mark.parametrize("how", ["gz", "zst"])
def test_a_file_cut_short_gives_what_came_before(home: Home, write_snapshot: Write, how: str) -> None:
    path = write_snapshot([record(i, abstract=f"{i * 7919 % 1009} " * 50) for i in range(2000)])
    data = path.read_bytes()
    data = gzip.compress(data) if how == "gz" else zstandard.compress(data)
    path.write_bytes(data[: len(data) // 2])
    report = run_snapshot(home, [path])
    assert any("ends early" in s.reason for s in report.skipped)
    assert report.counts["new"] == len(stored(home))
    if how == "gz":  # Zstandard may give nothing of an unfinished block
        assert 500 < report.counts["new"] < 2000


def test_compressed_data_with_a_damaged_byte(home: Home, write_snapshot: Write) -> None:
    path = write_snapshot([record(i) for i in range(500)])
    data = bytearray(gzip.compress(path.read_bytes()))
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(bytes(data))
    report = run_snapshot(home, [path])
    assert report.counts["skipped"] >= 1
    assert not report.complete


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "is empty"), (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "binary"), (b'[{"id": "1"}]', "one JSON array")],
)
def test_files_that_are_no_snapshot(home: Home, tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=message):
        run_snapshot(home, [path])
    assert not home.exists()


def test_a_missing_file_is_named(home: Home, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"nowhere\.jsonl cannot be read: No such file"):
        run_snapshot(home, [tmp_path / "nowhere.jsonl"])
    with pytest.raises(SourceError, match="Is a directory"):
        run_snapshot(home, [tmp_path])
