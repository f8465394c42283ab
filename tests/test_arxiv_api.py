"""arXiv's Atom API: complete or a clear error, polite over all processes, and never silently short."""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest
from arxiv_server import ATOM_FAULTS, ArxivServer, Record, arxiv_server, as_atom_paper, generate

import ingest.arxiv.api
import ingest.arxiv.harvest_api
import ingest.arxiv.harvest_run
import ingest.arxiv.http
from ingest.arxiv.api import ArxivApi, category_query
from ingest.arxiv.gaps import find_gaps
from ingest.arxiv.harvest_api import fetch_ids, fetch_missing, fill_gaps, harvest_query
from ingest.arxiv.harvest_run import open_ledger
from ingest.report import Report
from kb.errors import QueryError, SourceError
from kb.identifiers import ArxivId
from kb.papers import Note, Paper
from kb.progress import NoProgress
from kb.store import Filters, Home, Run

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
    with arxiv_server(RECORDS, stall=0.6) as state:
        for name, value in state.environment().items():
            monkeypatch.setenv(name, value)
        yield state


def api(page: int = 40) -> ArxivApi:
    return ArxivApi(page, timeout=0.3)


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
    assert len(server.requests) == before + 1
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
    assert len(server.requests) == before + 1


@pytest.mark.usefixtures("server")
def test_windows_are_split_before_paging_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest.arxiv.api, "_MAX_WINDOW_PAPERS", 60)
    windows = list(api().windows(QUERY, datetime(2024, 1, 1), datetime(2024, 4, 1)))
    ends = [end for end, _, _ in windows]
    assert ends == sorted(ends)
    assert ends[-1] == datetime(2024, 4, 1)
    assert max(len(papers) for _, papers, _ in windows) <= 60
    found = [paper.id for _, papers, _ in windows for paper in papers]
    assert len(found) == len(set(found))
    assert set(found) == expected().keys()


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
    server.faults = {2: fault}
    report = harvest(home)
    assert server.faults == {}
    assert report.complete
    assert stored(home) == expected()
    assert report.retries == (0 if fault == "no-published" else 1)


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_after_any_two_misbehaviours_all_is_there_in_the_end(home: Home, server: ArxivServer, first: str, second: str) -> None:
    server.faults = {2: first, 3: second}
    report = harvest(home)
    if not report.complete:
        assert report.failure.endswith("Run the same command again: it goes on from what is published.")
        report = harvest(home)
    assert report.complete
    assert stored(home) == expected()


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("429", "after 8 attempts: it answered 429 Too Many Requests"),
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
        f"the entry for arxiv:{first.id} lacks a date or has no identifier that can exist"
    ]
    assert not report.complete
    assert stored(home) == {name: paper for name, paper in expected().items() if name != f"arxiv:{first.id}"}


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
    assert (report.requests, report.retries, report.complete) == (2, 0, True)
    assert min(server.pauses()) >= 0.1


def test_an_identifier_that_cannot_exist_is_reported_and_the_rest_goes_in(home: Home, server: ArxivServer) -> None:
    broken = next(r for r in RECORDS if "cs.CL" in r.categories)
    server.records = [replace(r, id="1711.0093") if r is broken else r for r in RECORDS]
    report = harvest(home)
    assert [s.reason for s in report.skipped] == [
        "the entry for arxiv:1711.0093v1 lacks a date or has no identifier that can exist"
    ]
    assert stored(home) == {name: paper for name, paper in expected().items() if name != f"arxiv:{broken.id}"}


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


def test_a_request_that_was_killed_counts_as_sent_last(tmp_path: Path) -> None:
    (tmp_path / "arxiv.last").write_text("started 5.0 0.0\n")
    turn = ingest.arxiv.http.RequestLock(tmp_path, 0.3)
    began = time.monotonic()
    with turn:
        assert time.monotonic() - began >= 0.3
    assert (tmp_path / "arxiv.last").read_text().startswith("ended ")


def test_a_clock_set_back_does_not_stop_the_queue(tmp_path: Path) -> None:
    (tmp_path / "arxiv.last").write_text(f"ended {time.time() + 1e6} 0.0\n")
    began = time.monotonic()
    with ingest.arxiv.http.RequestLock(tmp_path, 0.05):
        assert time.monotonic() - began >= 0.05


# Killed, and resumed -------------------------------------------------------------------------------------------------------


@pytest.mark.timeout(1800)
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
    # One of the days is really empty; the others come.
    server.records = [r for r in generate(1200, days=60) if r.dates[0].date() != date(2024, 2, 6)]
    report = fill_gaps(home, api(page=100), "cs.CL", None, NoProgress())
    assert report.counts["days filled"] == 2
    assert report.counts["days without papers at arXiv"] == 1
    assert stored(home) == {name: p for name, p in whole.items() if p.published != date(2024, 2, 6)}
    with open_ledger(home) as ledger:
        assert find_gaps(ledger, "cs.CL", date(2024, 3, 5)) == []
