"""arXiv's Atom API: complete or a clear error, polite over all processes, and never silently short."""

from __future__ import annotations

import itertools
import os
import random
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from arxiv_server import ATOM_FAULTS, ArxivServer, Record, Text, arxiv_server, as_atom_paper, generate

import ingest.arxiv.api
import ingest.arxiv.harvest_api
import ingest.arxiv.harvest_run
import ingest.arxiv.http
from ingest.arxiv.api import ArxivApi, category_query
from ingest.arxiv.gaps import find_gaps
from ingest.arxiv.harvest_api import fetch_ids, fetch_missing, fill_gaps, harvest_query, refresh
from ingest.arxiv.harvest_run import open_ledger
from ingest.report import Report
from kb.errors import QueryError, SourceError
from kb.identifiers import ArxivId
from kb.papers import Note, Paper
from kb.progress import NoProgress
from kb.store import Filters, Home, Run

Kb = Callable[..., subprocess.CompletedProcess[str]]
RECORDS = generate(400, days=60)
QUERY = "cat:cs.CL"
PAUSE = 0.002
# All 144 pairs take minutes: KB_TEST_PAIRS=144 runs them, and KB_TEST_KILLS=50 as many kills.
PAIRS = random.Random(3).sample(list(itertools.product(ATOM_FAULTS, ATOM_FAULTS)), int(os.environ.get("KB_TEST_PAIRS", "8")))
KILLS = int(os.environ.get("KB_TEST_KILLS", "2"))


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ArxivServer]:
    monkeypatch.setenv("KB_ARXIV_DELAY", str(PAUSE))
    monkeypatch.setenv("KB_STATE_DIR", str(tmp_path / "state"))
    with arxiv_server(RECORDS, stall=2.0) as state:
        for name, value in state.environment().items():
            monkeypatch.setenv(name, value)
        yield state


def api(page: int = 40) -> ArxivApi:
    return ArxivApi(page, timeout=1.5)


def harvest(home: Home, since: date | None = None, page: int = 40) -> Report:
    return harvest_query(home, api(page), QUERY, "cs.CL", since, NoProgress())


def stored(home: Home) -> dict[str, Paper]:
    generation = home.open()
    keys = generation.catalogue.select(Filters(source="arxiv"))
    assert keys is not None
    papers = {paper.id: paper for paper in generation.catalogue.papers(keys.tolist()).values()}
    generation.close()
    return papers


def runs(home: Home) -> list[Run]:
    generation = home.open()
    found = generation.catalogue.runs()
    generation.close()
    return found


def expected(records: list[Record] = RECORDS, category: str = "cs.CL") -> dict[str, Paper]:
    return {f"arxiv:{r.id}": as_atom_paper(r) for r in records if category in r.categories}


# What comes ----------------------------------------------------------------------------------------------------------------


def test_a_category_comes_paper_by_paper_as_the_server_has_it(home: Home, server: ArxivServer) -> None:
    report = harvest(home)
    assert stored(home) == expected()
    assert report.complete
    assert report.counts == {"new": len(expected()), "changed": 0, "unchanged": 0}
    assert (report.requests, report.retries) == (len(server.requests), 0)


@pytest.mark.usefixtures("server")
def test_what_arxiv_really_has_among_its_records(home: Home) -> None:
    """Old identifiers that differ in the archive alone, MSC and ACM classes, and titles with markup and mathematics."""
    harvest(home)
    papers = stored(home)
    old = [r.id for r in RECORDS if "/" in r.id]
    pairs = [(a, b) for a in old for b in old if a < b and a.split("/")[1] == b.split("/")[1]]
    assert pairs
    assert all(f"arxiv:{name}" in papers for pair in pairs for name in pair)
    classified = next(r for r in RECORDS if r.classes and "cs.CL" in r.categories)
    assert papers[f"arxiv:{classified.id}"].categories == classified.categories
    titles = [p.title for p in papers.values()]
    assert any(t.startswith("<script>alert(") and "$\\alpha$" in t for t in titles)


def test_the_second_run_asks_for_what_is_new(home: Home, server: ArxivServer) -> None:
    harvest(home)
    before = len(server.requests)
    yesterday = datetime.now().replace(hour=9, minute=0, second=0, microsecond=0) - timedelta(days=1)
    record = replace(RECORDS[0], id="2501.00001", categories=("cs.CL",), dates=(yesterday,), texts=RECORDS[0].texts[:1])
    server.records.append(record)
    report = harvest(home)
    assert report.counts == {"new": 1, "changed": 0, "unchanged": 0}
    assert len(server.requests) == before + 2  # how many there are, and these
    assert stored(home)["arxiv:2501.00001"] == as_atom_paper(record)


def test_a_clock_that_was_ahead_leaves_no_gap(home: Home, server: ArxivServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as ahead:
        ahead.setattr(ingest.arxiv.harvest_api, "utc_now", lambda: ingest.arxiv.harvest_run.utc_now() + timedelta(days=400))
        harvest(home)
    then = datetime.now().replace(hour=9, minute=0, second=0, microsecond=0) - timedelta(days=60)
    record = replace(RECORDS[0], id="2501.00001", categories=("cs.CL",), dates=(then,), texts=RECORDS[0].texts[:1])
    server.records.append(record)
    assert harvest(home).counts["new"] == 1
    before = len(server.requests)
    assert not harvest(home).counts.get("new")  # reached by the right clock now
    assert len(server.requests) == before + 2


@pytest.mark.usefixtures("server")
def test_windows_are_split_before_paging_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest.arxiv.api, "_MAX_WINDOW_PAPERS", 60)
    windows = list(api().windows(QUERY, datetime(2024, 1, 1), datetime(2024, 4, 1)))
    assert [(a.last, b.first) for a, b in itertools.pairwise(windows)] == [(a.last, a.last) for a in windows[:-1]]
    assert (windows[0].first, windows[-1].last) == (datetime(2024, 1, 1), datetime(2024, 4, 1))
    assert max(len(window.papers) for window in windows) <= 60
    assert {paper.id for window in windows for paper in window.papers} == expected().keys()


def test_no_second_between_two_windows_is_lost(home: Home, server: ArxivServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server compares to the second: a window up to 10:29 and one from 10:30 would lose 59 of them."""
    monkeypatch.setattr(ingest.arxiv.api, "_MAX_WINDOW_PAPERS", 20)
    began = datetime(2024, 3, 4, 23, 55)
    server.records = [
        replace(
            RECORDS[0],
            id=f"2403.{n:05d}",
            categories=("cs.CL",),
            dates=(began + timedelta(seconds=n),),
            texts=RECORDS[0].texts[:1],
        )
        for n in range(1, 600, 7)
    ]
    harvest(home, page=5)
    assert stored(home) == expected(server.records)
    # Nor between two runs, nor between the days of a gap.
    monkeypatch.setattr(ingest.arxiv.harvest_api, "utc_now", lambda: began + timedelta(minutes=5))
    place = Home(home.path.with_name("other"))
    harvest(place, since=date(2024, 3, 1))
    monkeypatch.setattr(ingest.arxiv.harvest_api, "_OVERLAP", timedelta())
    monkeypatch.setattr(ingest.arxiv.harvest_api, "utc_now", lambda: began + timedelta(minutes=15))
    harvest(place)
    assert stored(place) == expected(server.records)


@pytest.mark.usefixtures("server")
def test_a_day_to_begin_with(home: Home) -> None:
    harvest(home, since=date(2024, 2, 1))
    assert stored(home) == {name: p for name, p in expected().items() if p.published and p.published >= date(2024, 2, 1)}
    # An earlier day goes back; a later one leaves no gap.
    harvest(home, since=date(2024, 1, 15))
    assert stored(home) == {name: p for name, p in expected().items() if p.published and p.published >= date(2024, 1, 15)}


def test_an_archive_is_all_its_categories() -> None:
    assert category_query("cs.CL") == "cat:cs.CL"
    assert category_query("cs") == "cat:cs OR cat:cs.*"
    with pytest.raises(QueryError, match=r"'cs\.CL OR all' is no arXiv category"):
        category_query("cs.CL OR all")


def test_papers_by_id_in_batches(home: Home, server: ArxivServer) -> None:
    names = [r.id for r in RECORDS[:250]]
    report = fetch_ids(home, api(), [ArxivId.parse(n) for n in [*names, "2401.09999"]], NoProgress())
    assert stored(home) == {f"arxiv:{r.id}": as_atom_paper(r) for r in RECORDS[:250]}
    assert [s.reason for s in report.skipped] == ["arXiv gives no paper for 2401.09999"]
    assert not report.complete
    assert len(server.requests) == 4  # three batches, and once more for the one that was not there


def test_papers_that_only_notes_know_get_their_metadata(home: Home, server: ArxivServer) -> None:
    names = [f"arxiv:{r.id}" for r in RECORDS[:3]]
    with home.draft() as draft:
        draft.catalogue.notes.replace("/notes.md", [Note("/notes.md", n, name, f"Note {n}") for n, name in enumerate(names)], [])
        draft.catalogue.notes.settle()
        draft.publish()
    assert stored(home) == {}
    report = fetch_missing(home, api(), NoProgress())
    assert report.counts["changed"] == 3
    assert stored(home) == {f"arxiv:{r.id}": as_atom_paper(r) for r in RECORDS[:3]}
    asked = len(server.requests)
    fetch_missing(home, api(), NoProgress())
    assert len(server.requests) == asked


# What goes wrong -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ATOM_FAULTS)
def test_after_any_misbehaviour_all_is_there(home: Home, server: ArxivServer, fault: str) -> None:
    server.faults = {3: fault}  # the second page
    report = harvest(home)
    assert server.faults == {}
    assert report.complete
    assert stored(home) == expected()
    assert report.retries == (0 if fault in {"zero", "no-published", "no-title"} else 1)


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_after_any_two_misbehaviours_all_is_there_in_the_end(home: Home, server: ArxivServer, first: str, second: str) -> None:
    server.faults = {3: first, 4: second}
    report = harvest(home)
    if not report.complete:
        assert report.failure.endswith("Run the same command again: it goes on from what is published.")
        report = harvest(home)
    assert report.complete
    assert stored(home) == expected()


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("429", "after 8 attempts: it answered 429 Too Many Requests, as arXiv does when it throttles"),
        ("406", "after 8 attempts: it answered 406 Not Acceptable, as arXiv does when it throttles"),
        ("403", "after 8 attempts: it answered 403 Forbidden, as arXiv does when it throttles"),
        ("503", "after 8 attempts: it answered 503 Service Unavailable"),
        ("reset", "after 8 attempts: the connection failed"),
        ("stall", "after 8 attempts: the answer stalled"),
        ("cut", "after 8 attempts: it answered with no whole document"),
        ("html", "after 8 attempts: it answered with a web page"),
        ("empty", "after 8 attempts: the page came short: 0 of 40 papers"),
        ("short", "after 8 attempts: the page came short: 38 of 40 papers"),
        ("error-entry", "cannot be read: it says: an internal error occurred"),
    ],
)
def test_a_misbehaviour_that_lasts_is_a_clear_error_and_the_next_run_completes(
    home: Home, server: ArxivServer, fault: str, reason: str
) -> None:
    server.always = fault
    report = harvest(home)
    assert reason in report.failure
    assert report.failure.endswith("Run the same command again: it goes on from what is published.")
    assert not report.complete
    (run,) = runs(home)
    assert (run.outcome, run.message) == ("failed", report.failure)
    assert run.requests == len(server.requests)
    server.always = ""
    assert harvest(home).complete
    assert stored(home) == expected()


def test_an_entry_that_never_has_a_date_is_reported(home: Home, server: ArxivServer) -> None:
    server.always = "no-published"
    report = harvest(home, page=1000)
    first = min((r for r in RECORDS if "cs.CL" in r.categories), key=lambda r: (r.dates[0], r.id))
    assert [s.reason for s in report.skipped] == [
        f"the entry for arxiv:{first.id} lacks a date or a title; the next run asks for it again"
    ]
    assert not report.complete
    assert stored(home) == {name: paper for name, paper in expected().items() if name != f"arxiv:{first.id}"}


def test_none_after_many_is_disbelieved(home: Home, server: ArxivServer) -> None:
    server.faults = dict.fromkeys(range(4, 60), "zero")
    report = harvest(home)
    assert report.failure.startswith("arXiv says that (cat:cs.CL) AND submittedDate:[199108010000 TO ")
    assert f"has {len(expected())} papers, and gave 80 in 4 rounds" in report.failure
    server.faults.clear()
    assert harvest(home).complete
    assert stored(home) == expected()


@pytest.mark.parametrize("empty", [{1: "zero"}, {2: "zero"}])
def test_a_first_empty_answer_is_asked_again(home: Home, server: ArxivServer, empty: dict[int, str]) -> None:
    server.faults = empty
    assert harvest(home).complete
    assert stored(home) == expected()


def test_halves_of_a_window_must_have_what_the_whole_has(
    home: Home, server: ArxivServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where both requests for a half say that there is nothing."""
    monkeypatch.setattr(ingest.arxiv.api, "_MAX_WINDOW_PAPERS", 180)
    real = server.atom

    def atom(query: dict[str, str], fault: str) -> tuple[int, str]:
        return real(query, "zero" if "TO 2024021" in query.get("search_query", "") else fault)

    monkeypatch.setattr(server, "atom", atom)
    monkeypatch.setattr(ingest.arxiv.harvest_api, "utc_now", lambda: datetime(2024, 3, 15))
    report = harvest(home, since=date(2024, 1, 1))
    assert "papers, and gave" in report.failure or stored(home) == expected()
    monkeypatch.setattr(server, "atom", real)
    assert harvest(home).complete
    assert stored(home) == expected()


def test_an_empty_window_of_days_whose_papers_are_here_is_an_error(
    home: Home, server: ArxivServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("harvest_api", "harvest_run"):
        monkeypatch.setattr(f"ingest.arxiv.{module}.utc_now", lambda: datetime(2024, 2, 28, 12))
    harvest(home)
    server.always = "zero"
    report = harvest(home)
    assert report.failure.startswith("arXiv says that cs.CL has no papers submitted from 2024-02-14 to 2024-02-28, though ")
    assert "papers of these days are here. It is unwell." in report.failure
    server.always = ""
    assert harvest(home).complete


def test_a_lost_holiday_is_found_and_is_no_quiet_day_without_a_second_source(
    home: Home, server: ArxivServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On 1 January papers are submitted as on any other day off."""
    monkeypatch.setattr("ingest.arxiv.harvest_api.utc_now", lambda: datetime(2024, 2, 13, 12))
    server.records = whole = generate(1400, first=date(2023, 12, 1), days=70)
    server.records = [r for r in whole if r.dates[0].date() != date(2024, 1, 1)]
    harvest(home, since=date(2023, 12, 1))
    with open_ledger(home) as ledger:
        assert [(g.first, g.last, g.usual) for g in find_gaps(ledger, "cs.CL", date(2024, 2, 13))] == [
            (date(2024, 1, 1), date(2024, 1, 1), 10.0)
        ]
    report = fill_gaps(home, api(), "cs.CL", None, NoProgress())
    assert [s.reason for s in report.skipped] == ["arXiv has no papers at all of 2024-01-01, which cannot be; ask again later"]
    server.records = whole
    report = fill_gaps(home, api(), "cs.CL", None, NoProgress())
    assert report.complete
    assert stored(home) == expected(whole)


# One bad record --------------------------------------------------------------------------------------------------------


def in_category(n: int) -> Record:
    """The n-th record of the category in the order of submission."""
    return sorted((r for r in RECORDS if "cs.CL" in r.categories), key=lambda r: (r.dates[0], r.id))[n]


@pytest.mark.parametrize("written", ["\f", "\x00", "\x1b", "\ufffe"])
def test_a_character_that_xml_forbids_costs_no_record(home: Home, server: ArxivServer, written: str) -> None:
    odd = in_category(33)
    titled = [replace(odd, texts=(*odd.texts[:-1], replace(odd.texts[-1], title=title))) for title in (f"A{written}B", "A B")]
    server.records = [titled[0] if r is odd else r for r in RECORDS]
    assert harvest(home).complete
    assert stored(home) == expected([titled[1] if r is odd else r for r in RECORDS])


@pytest.mark.parametrize("places", [[0], [77], [207], [40, 41, 42]])
def test_a_record_that_the_server_cannot_render_is_reported_and_the_rest_comes(
    home: Home, server: ArxivServer, places: list[int]
) -> None:
    broken = [in_category(n) for n in places]
    server.broken = {r.id for r in broken}
    report = harvest(home, page=100)
    assert not report.complete
    assert not report.failure
    assert stored(home) == {name: p for name, p in expected().items() if name not in {f"arxiv:{r.id}" for r in broken}}
    if len(places) == 1 and 0 < places[0] < 207:
        before, after = in_category(places[0] - 1).dates[0], in_category(places[0] + 1).dates[0]
        assert [s.reason for s in report.skipped] == [
            f"an entry submitted between {before:%Y-%m-%d %H:%M} and {after:%Y-%m-%d %H:%M} cannot be given; "
            "the next run asks for it again"
        ]
    # Asked for again, though it lies far behind what the next run begins with: still not there, and then there.
    assert not harvest(home).complete
    server.broken = set()
    report = harvest(home)
    assert report.complete
    assert report.counts["new"] == len(broken)
    assert stored(home) == expected()
    before_requests = len(server.requests)
    assert harvest(home).complete
    assert len(server.requests) == before_requests + 2


def test_a_record_without_title_is_asked_for_by_id_and_never_stored_so(home: Home, server: ArxivServer) -> None:
    record = in_category(50)
    server.untitled = {record.id}
    report = harvest(home)
    assert [s.reason for s in report.skipped] == [
        f"the entry for arxiv:{record.id} lacks a date or a title; the next run asks for it again"
    ]
    assert f"arxiv:{record.id}" not in stored(home)
    assert [r.query["id_list"] for r in server.requests if "id_list" in r.query] == [record.id] * 2
    server.untitled = set()
    assert harvest(home).complete
    assert stored(home) == expected()


def test_ids_that_the_server_cannot_render_keep_no_other_away(home: Home, server: ArxivServer) -> None:
    records = RECORDS[:100]
    server.broken = {records[n].id for n in (3, 64)}
    report = fetch_ids(home, api(), [ArxivId.parse(r.id) for r in records], NoProgress())
    assert sorted(s.reason for s in report.skipped) == sorted(f"arXiv gives no paper for {name}" for name in server.broken)
    assert stored(home) == {f"arxiv:{r.id}": as_atom_paper(r) for r in records if r.id not in server.broken}


# Older papers ------------------------------------------------------------------------------------------------------------


def test_refresh_brings_what_became_of_older_papers(home: Home, server: ArxivServer) -> None:
    assert harvest(home).message.startswith("The API finds papers by their submission: of those older than 14 days, ")
    old, moved = in_category(3), in_category(9)
    revised = replace(old, texts=(*old.texts, Text("Another title", "And text.")), dates=(*old.dates, datetime(2025, 1, 1, 9)))
    elsewhere = replace(moved, categories=("cs.LG",))
    server.records = [revised if r is old else elsewhere if r is moved else r for r in RECORDS]
    report = harvest(home)
    assert report.counts.get("changed", 0) == 0
    report = refresh(home, api(), "cs.CL", None, NoProgress())
    assert report.complete
    assert report.counts["changed"] == 2
    assert stored(home)[f"arxiv:{old.id}"].title == "Another title"
    assert stored(home)[f"arxiv:{moved.id}"].categories == ("cs.LG",)
    assert all(len(r.query["id_list"].split(",")) <= 100 for r in server.requests if "id_list" in r.query)


@pytest.mark.parametrize("stamp", ["soon", "2024-02-30T00:00:00Z", "2024-01-01", " "])
def test_an_entry_of_an_impossible_date_is_no_sound_answer(stamp: str) -> None:
    feed = f"""<feed xmlns="http://www.w3.org/2005/Atom" xmlns:opensearch="http://a9.com/-/spec/opensearch/1.1/">
        <opensearch:totalResults>1</opensearch:totalResults>
        <entry><id>http://arxiv.org/abs/2401.00001v1</id><updated>{stamp}</updated></entry></feed>"""
    with pytest.raises(ingest.arxiv.http.InvalidResponseError, match="an entry of the date"):
        ingest.arxiv.api.FeedValidator()("http://localhost/?id_list=2401.00001", feed.encode())


def test_pages_that_always_repeat_a_paper_are_an_error(home: Home, server: ArxivServer) -> None:
    server.always = "repeat"
    report = harvest(home)
    # Other page edges in each round bring what the last one lost, or the run says how many are missing.
    assert report.complete or "arXiv says that" in report.failure
    assert report.complete == (stored(home) == expected())


def test_a_plain_no_is_not_asked_again(home: Home, server: ArxivServer) -> None:
    report = harvest_query(home, api(), "nonsense", "", None, NoProgress())
    assert "it says: cannot parse (nonsense)" in report.failure
    assert len(server.requests) == 1


def test_a_wait_that_the_server_asks_for_is_kept(home: Home, server: ArxivServer) -> None:
    server.faults = {2: "429-retry-after"}
    harvest(home)
    assert server.pauses()[1] >= 1.0


def test_a_redirect_is_another_request_in_its_turn(home: Home, server: ArxivServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KB_ARXIV_DELAY", "0.1")
    server.faults = {1: "redirect"}
    report = harvest(home, page=1000)
    assert (report.requests, report.retries, report.complete) == (3, 0, True)
    assert min(server.pauses()) >= 0.1


def test_an_identifier_that_cannot_exist_is_reported_and_the_rest_goes_in(home: Home, server: ArxivServer) -> None:
    broken = next(r for r in RECORDS if "cs.CL" in r.categories)
    server.records = [replace(r, id="1711.0093") if r is broken else r for r in RECORDS]
    report = harvest(home)
    assert [s.reason for s in report.skipped] == ["the entry for arxiv:1711.0093v1 has no identifier that can exist"]
    assert stored(home) == {name: paper for name, paper in expected().items() if name != f"arxiv:{broken.id}"}


# What does not pass ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "cause"),
    [
        ("http://", "is no address that can be asked"),
        ("arxiv.example.org/api", "is no address that can be asked"),
        ("ftp://127.0.0.1/api", "is no address that can be asked"),
        ("http://[::1/api", "is no address that can be asked"),
        ("http://.example.org/api", "is no address that can be asked"),
    ],
)
def test_an_address_that_is_none_is_told_at_once(
    home: Home, server: ArxivServer, monkeypatch: pytest.MonkeyPatch, address: str, cause: str
) -> None:
    monkeypatch.setenv("KB_ARXIV_API_URL", address)
    report = harvest(home)
    assert cause in report.failure
    assert "Check KB_ARXIV_API_URL" in report.failure
    assert (report.retries, server.requests) == (0, [])


def test_a_proxy_that_refuses_is_told_at_once(home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KB_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("KB_ARXIV_API_URL", "http://arxiv.example.org/api")
    monkeypatch.setenv("KB_ARXIV_DELAY", "0")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    report = harvest(home)
    assert "the proxy refuses or is not there" in report.failure
    assert report.retries == 0


@pytest.mark.usefixtures("server")
def test_a_certificate_that_is_not_valid_is_told_at_once(home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make a certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-subj",
            "/CN=localhost",
            "-keyout",
            key,
            "-out",
            certificate,
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listener = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with suppress(OSError), context.wrap_socket(connection, server_side=True):
                    pass

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    monkeypatch.setenv("KB_ARXIV_API_URL", f"https://127.0.0.1:{listener.getsockname()[1]}/api")
    report = harvest(home)
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()
    assert "its TLS certificate is not valid" in report.failure
    assert report.retries == 0


def test_a_day_to_come_is_wrong_use(home: Home, server: ArxivServer) -> None:
    with pytest.raises(QueryError, match="lies in the future"):
        harvest(home, since=date(2999, 1, 1))
    harvest(home, since=date(1800, 1, 1))
    assert stored(home) == expected()
    assert (
        server.requests[0]
        .query["search_query"]
        .endswith("submittedDate:[199108010000 TO " + f"{datetime.now(UTC):%Y}" + server.requests[0].query["search_query"][-9:])
    )


def test_an_answer_that_unpacks_to_more_than_anything_is_refused(home: Home, server: ArxivServer) -> None:
    server.faults = {1: "gzip-bomb"}
    tracemalloc.start()
    report = harvest(home)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert report.complete
    assert report.retries == 1
    assert peak < 200 << 20


@pytest.mark.usefixtures("server")
def test_nothing_is_there_to_answer(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KB_ARXIV_API_URL", "http://127.0.0.1:9/api/query")
    assert "the connection failed; is this machine online?" in harvest(home).failure


def test_a_delay_that_is_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KB_ARXIV_DELAY", "soon")
    with pytest.raises(SourceError, match="KB_ARXIV_DELAY is 'soon'"):
        api()


# Politeness ----------------------------------------------------------------------------------------------------------------


def test_two_processes_together_keep_the_pause(server: ArxivServer) -> None:
    """Measured where it counts, at the server: between any two requests of two jobs at once, and one connection at a time."""
    environment = os.environ | {"KB_ARXIV_DELAY": "0.2"}
    code = (
        "import sys; from datetime import datetime; from ingest.arxiv.api import ArxivApi; "
        "list(ArxivApi(20).windows(sys.argv[1], datetime(2024, 1, 1), datetime(2024, 3, 1)))"
    )
    jobs = [subprocess.Popen([sys.executable, "-c", code, query], env=environment) for query in ("cat:cs.CL", "cat:cs.LG")]
    assert [job.wait(timeout=120) for job in jobs] == [0, 0]
    assert len(server.requests) > 20
    assert {r.query["search_query"][1:10] for r in server.requests} == {"cat:cs.CL", "cat:cs.LG"}
    assert min(server.pauses()) >= 0.2
    inside = sorted(server.requests, key=lambda r: r.at)
    assert all(earlier.answered <= later.at for earlier, later in itertools.pairwise(inside))


def test_a_long_pause_that_the_server_asks_for_binds_every_process(home: Home, server: ArxivServer, kb: Kb) -> None:
    server.faults = {2: "ban"}
    report = harvest(home)
    assert (
        "answered 429 and wants to be left alone for 2.0 hours. Nothing is sent to arXiv before they are over." in report.failure
    )
    asked = len(server.requests)
    assert asked == 2
    report = harvest(home)
    until = datetime.fromtimestamp(time.time() + 7200, UTC)
    assert f"arXiv asked to be left alone until {until:%Y-%m-%d %H:}" in report.failure
    other = kb("ingest", "oai", "--set", "cs", "--no-index")
    assert other.returncode == 1
    assert "arXiv asked to be left alone until" in other.stderr
    assert len(server.requests) == asked
    # Over: the same command goes on.
    note = Path(os.environ["KB_STATE_DIR"]) / "arxiv.last"
    state, at, not_before = note.read_text().split()
    note.write_text(f"{state} {float(at) - 7200} {float(not_before) - 7200}\n")
    assert harvest(home).complete
    assert stored(home) == expected()


def test_a_pause_noted_by_a_clock_that_was_ahead_ends(tmp_path: Path) -> None:
    ahead = time.time() + 1e6
    (tmp_path / "arxiv.last").write_text(f"ended {ahead} {ahead + 60}\n")
    assert ingest.arxiv.http.RequestLock(tmp_path, 0.0).wait() <= 60


def test_the_server_is_told_who_asks(home: Home, server: ArxivServer, kb: Kb) -> None:
    home.path.mkdir(parents=True)
    (home.path / "config.toml").write_text('contact = "me@example.org"\n')
    assert kb("ingest", "arxiv", "--category", "cs.CL", "--no-index").returncode == 0
    assert {r.agent for r in server.requests} == {ingest.arxiv.http.user_agent("me@example.org")}
    assert re.fullmatch(r"paper-kb/[\d.]+ \((?:\+https?://\S+; )?me@example\.org\)", server.requests[0].agent)


@pytest.mark.parametrize(
    ("note", "pause"),
    [
        ("ended 990.0 0.0", []),  # longer ago than the delay
        ("ended 999.0 0.0", [2.0]),
        ("started 5.0 0.0", [3.0]),  # a request that was killed counts as sent last
        ("ended 1000000.0 0.0", [3.0]),  # a clock that was set back does not stop the queue
        ("ended 990.0 1040.0", [40.0]),  # deferred
        ("cut", [3.0]),
    ],
)
def test_the_pause_before_a_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, note: str, pause: list[float]) -> None:
    slept: list[float] = []
    monkeypatch.setattr("ingest.arxiv.http.time", SimpleNamespace(time=lambda: 1000.0, sleep=slept.append))
    (tmp_path / "arxiv.last").write_text(f"{note}\n")
    with ingest.arxiv.http.RequestLock(tmp_path, 3.0):
        assert slept == pause
        assert (tmp_path / "arxiv.last").read_text() == "started 1000.000000 0.000000\n"
    assert (tmp_path / "arxiv.last").read_text() == "ended 1000.000000 0.000000\n"


# Killed, and resumed -------------------------------------------------------------------------------------------------------


@pytest.mark.timeout(1800)
@pytest.mark.slow
def test_a_harvest_killed_at_random_points_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    records = generate(900, days=200)
    chance = random.Random(11)
    killed = 0
    with arxiv_server(records) as server:
        environment = os.environ | server.environment(KB_ARXIV_DELAY="0.05", KB_STATE_DIR=str(tmp_path / "state"))
        # Small windows, and so many publications to be interrupted.
        code = (
            "import sys, ingest.arxiv.api as api; api._MAX_WINDOW_PAPERS, api._PAGE = 40, 20; from kb.cli import main; "
            "main(['--home', sys.argv[1], 'ingest', 'arxiv', '--category', 'cs.CL', '--no-index'])"
        )
        round_ = 0
        while killed < KILLS or round_ == 0:
            place = Home(tmp_path / f"kb{round_}")
            round_ += 1
            while True:
                job = subprocess.Popen([sys.executable, "-c", code, str(place.path)], env=environment, stderr=subprocess.DEVNULL)
                try:
                    done = job.wait(timeout=chance.uniform(1.0, 6.0) if killed < KILLS else 120)
                except subprocess.TimeoutExpired:
                    job.send_signal(signal.SIGKILL)
                    job.wait()
                    killed += 1
                    continue
                assert done == 0
                break
            assert stored(place) == expected(records)
            with open_ledger(place) as ledger:
                assert not ledger.harvest("api:cat:cs.CL").in_progress
    assert killed >= KILLS


# Gaps ----------------------------------------------------------------------------------------------------------------------


def test_days_that_are_missing_are_found_and_filled(home: Home, server: ArxivServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.arxiv.harvest_api.utc_now", lambda: datetime(2024, 3, 5, 12))
    server.records = generate(1200, days=60)
    whole = expected(server.records)
    lost = {date(2024, 1, 17), date(2024, 1, 18), date(2024, 2, 6)}
    server.records = [r for r in server.records if r.dates[0].date() not in lost]
    harvest(home, since=date(2024, 1, 1))
    with open_ledger(home) as ledger:
        gaps = find_gaps(ledger, "cs.CL", date(2024, 3, 5))
    assert [(g.first, g.last) for g in gaps] == [(date(2024, 1, 17), date(2024, 1, 18)), (date(2024, 2, 6), date(2024, 2, 6))]
    # One of the days is really empty in the category, though not elsewhere; the others come.
    whole = expected(records := generate(1200, days=60))
    server.records = [r for r in records if r.dates[0].date() != date(2024, 2, 6) or "cs.CL" not in r.categories]
    report = fill_gaps(home, api(page=100), "cs.CL", None, NoProgress())
    assert report.counts["days filled"] == 2
    assert report.counts["days without papers at arXiv"] == 1
    assert stored(home) == {name: p for name, p in whole.items() if p.published != date(2024, 2, 6)}
    with open_ledger(home) as ledger:
        assert find_gaps(ledger, "cs.CL", date(2024, 3, 5)) == []
