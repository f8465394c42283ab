"""arXiv's OAI-PMH: every record, in its last state, through everything that goes wrong; and quiet told from broken."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from arxiv_server import OAI_FAULTS, ArxivServer, Record, Text, arxiv_server, as_oai_paper, generate

from ingest.arxiv.announcements import announcements, is_holiday, is_working_day
from ingest.arxiv.api import ArxivApi
from ingest.arxiv.harvest_api import harvest_query
from ingest.arxiv.harvest_oai import harvest_set, repair_set
from ingest.arxiv.harvest_run import harvest_lock, open_ledger
from ingest.arxiv.oai import ArxivOai, category_of, covers, read_authors, set_of
from ingest.report import Report
from kb.cli import main
from kb.errors import BusyError, QueryError
from kb.papers import Author, Paper
from kb.progress import NoProgress
from kb.store import Filters, Harvest, Home, Run, TextChange, Withdrawal

RECORDS = generate(400, days=60)
# All 144 pairs take minutes: KB_TEST_PAIRS=144 runs them, and KB_TEST_KILLS=50 as many kills.
PAIRS = random.Random(5).sample(list(itertools.product(OAI_FAULTS, OAI_FAULTS)), int(os.environ.get("KB_TEST_PAIRS", "8")))
KILLS = int(os.environ.get("KB_TEST_KILLS", "2"))
RESUME = "Run the same command again: it goes on from what is published."


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ArxivServer]:
    monkeypatch.setenv("KB_ARXIV_DELAY", "0.002")
    monkeypatch.setenv("KB_STATE_DIR", str(tmp_path / "state"))
    with arxiv_server(RECORDS, oai_page=60, stall=2.0) as state:
        for name, value in state.environment().items():
            monkeypatch.setenv(name, value)
        yield state


def harvest(home: Home, set_name: str = "cs", since: date | None = None) -> Report:
    return harvest_set(home, ArxivOai(timeout=1.5), set_name, since, NoProgress())


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


def expected(records: list[Record] = RECORDS, set_name: str = "cs") -> dict[str, Paper]:
    return {f"arxiv:{r.id}": as_oai_paper(r) for r in records if set_name in r.sets and not r.deleted}


# What comes ----------------------------------------------------------------------------------------------------------------


def test_a_set_comes_record_by_record_with_history_licence_and_withdrawal(home: Home, server: ArxivServer) -> None:
    report = harvest(home)
    assert stored(home) == expected()
    assert report.complete
    assert report.counts == {"new": len(expected()), "changed": 0, "unchanged": 0}
    assert {p.withdrawn for p in stored(home).values()} == {False, True}
    assert report.requests == len(server.requests) == 11  # seven pages, and twice two of identifiers to prove that it is all


def test_a_category_is_a_set_of_its_own(home: Home, server: ArxivServer) -> None:
    harvest(home, set_of("hep-th"))
    assert server.requests[0].query["set"] == "physics:hep-th"
    assert stored(home) == expected(set_name="physics:hep-th")


def test_names_of_sets() -> None:
    names = {"cs.CL": "cs:cs:CL", "cs": "cs", "hep-th": "physics:hep-th", "astro-ph.CO": "physics:astro-ph:CO"}
    assert {name: set_of(name) for name in names} == names
    assert set_of("physics") == "physics"
    assert {category_of(s) for s in ("cs", "cs:cs:CL", "physics:hep-th", "physics", "")} == {"cs", "cs.CL", "hep-th", ""}
    assert covers("cs", "cs.CL")
    assert covers("physics", "hep-th")
    assert not covers("cs:cs:CL", "cs.LG")
    with pytest.raises(QueryError, match="is no set"):
        set_of("CS CL")


def test_authors_in_one_line_of_latex() -> None:
    line = r"Ludwig van der Berg (1 and 2), \'Emile No\"el, John Roe, Jr. and A. N. Other ((1) MIT, (2) ETH)"
    assert read_authors(line) == (
        Author("van der Berg", "Ludwig"),
        Author("Noël", "Émile"),
        Author("Roe", "John", "Jr."),
        Author("Other", "A. N."),
    )


def test_a_daily_update_asks_with_a_day_of_overlap_and_takes_what_changed(home: Home, server: ArxivServer) -> None:
    harvest(home)
    last = max(r.datestamp for r in RECORDS if "cs" in r.sets)
    old = next(r for r in RECORDS if "cs.CL" in r.categories and len(r.dates) == 1 and not r.withdrawn)
    moment = datetime(2024, 6, 3, 10)
    revised = replace(
        old,
        texts=(*old.texts, Text("Another title", old.texts[0].abstract, "Withdrawn: see the erratum")),
        dates=(*old.dates, moment),
        datestamp=date(2024, 6, 4),
        withdrawn=True,
    )
    new = replace(RECORDS[1], id="2406.00001", dates=(moment,), texts=old.texts, datestamp=date(2024, 6, 4), withdrawn=False)
    server.records = [r for r in RECORDS if r is not old] + [revised, new]
    before = len(server.requests)
    report = harvest(home)
    # Records with a day of overlap; identifiers, which are short, with fourteen.
    assert [r.query["from"] for r in server.requests[before:]] == [str(last - timedelta(days=n)) for n in (1, 14, 14)]
    assert (report.counts["new"], report.counts["changed"]) == (1, 1)
    assert stored(home) == expected(server.records)
    with open_ledger(home) as ledger:
        history = ledger.history(f"arxiv:{old.id}")
    assert history.changes == (TextChange("title", 1, 2, old.texts[0].title, "Another title"),)
    assert history.withdrawals == (Withdrawal(2, date(2024, 6, 4), "Withdrawn: see the erratum"),)


def test_a_deleted_record_marks_its_paper(home: Home, server: ArxivServer) -> None:
    harvest(home)
    old = next(r for r in RECORDS if "cs" in r.sets and not r.withdrawn)
    server.records = [r for r in RECORDS if r is not old] + [replace(old, deleted=True, datestamp=date(2024, 6, 4))]
    report = harvest(home)
    assert report.counts["deleted"] == 1
    paper = stored(home)[f"arxiv:{old.id}"]
    assert (paper.withdrawn, paper.title) == (True, old.texts[-1].title)


def test_a_record_that_cannot_be_read_is_reported_and_the_rest_goes_in(home: Home, server: ArxivServer) -> None:
    broken = next(r for r in RECORDS if "cs" in r.sets)
    server.records = [replace(r, texts=(Text(" ", "An abstract."),)) if r is broken else r for r in RECORDS]
    report = harvest(home)
    assert [s.reason for s in report.skipped] == [
        f"record oai:arXiv.org:{broken.id}: it has no title; the next run asks for it again"
    ]
    assert not report.complete
    assert not report.failure
    assert stored(home) == {name: p for name, p in expected().items() if name != f"arxiv:{broken.id}"}


def test_a_record_that_appears_days_late_under_an_old_datestamp_is_found(home: Home, server: ArxivServer) -> None:
    last = max(r.datestamp for r in RECORDS if "cs" in r.sets)
    late = next(r for r in RECORDS if "cs" in r.sets and timedelta(days=3) < last - r.datestamp < timedelta(days=14))
    server.records = [r for r in RECORDS if r is not late]
    assert harvest(home).complete
    server.records = RECORDS
    report = harvest(home)
    assert (report.counts["new"], report.complete) == (1, True)
    assert stored(home) == expected()


def test_only_arxivs_mark_makes_a_paper_withdrawn(home: Home, server: ArxivServer) -> None:
    """A source below a kilobyte is listed with `0kb`."""
    tiny = [replace(r, kilobytes=0) for r in RECORDS]
    server.records = tiny
    harvest(home)
    assert stored(home) == expected()


# One bad record --------------------------------------------------------------------------------------------------------


def in_set(n: int) -> Record:
    """The n-th record of the set as it is listed."""
    return sorted((r for r in RECORDS if "cs" in r.sets), key=lambda r: (r.datestamp, r.id))[n]


@pytest.mark.parametrize("written", ["\f", "\x0b", "\uffff"])
def test_a_character_that_xml_forbids_costs_no_record(home: Home, server: ArxivServer, written: str) -> None:
    odd = in_set(133)
    titled = [replace(odd, texts=(*odd.texts[:-1], replace(odd.texts[-1], title=title))) for title in (f"A{written}B", "A B")]
    server.records = [titled[0] if r is odd else r for r in RECORDS]
    assert harvest(home).complete
    assert stored(home) == expected([titled[1] if r is odd else r for r in RECORDS])


@pytest.mark.parametrize("places", [[0], [133], [60, 61, 300], [368]])
def test_a_record_that_the_server_cannot_render_is_reported_and_the_rest_comes(
    home: Home, server: ArxivServer, places: list[int]
) -> None:
    broken = [in_set(n) for n in places]
    server.broken = {r.id for r in broken}
    report = harvest(home)
    assert not report.complete
    assert not report.failure
    assert len(report.skipped) == len(broken)
    for record, skipped in zip(sorted(r.id for r in broken), sorted(s.reason for s in report.skipped), strict=True):
        assert skipped.startswith(f"arXiv lists arxiv:{record}, and does not give it: ")
        assert "it answered 500 Internal Server Error" in skipped
        assert skipped.endswith("; the next run asks for it again")
    assert stored(home) == {name: p for name, p in expected().items() if name not in {f"arxiv:{r.id}" for r in broken}}
    assert not harvest(home).complete
    server.broken = set()
    report = harvest(home)
    assert report.complete
    assert report.counts["new"] == len(broken)
    assert stored(home) == expected()
    assert harvest(home).counts.get("asked for again", 0) == 0


def test_a_record_that_is_listed_and_never_given(home: Home, server: ArxivServer) -> None:
    record = in_set(20)
    server.withheld = {record.id}
    report = harvest(home)
    (skipped,) = report.skipped
    assert skipped.reason.startswith(f"arXiv lists arxiv:{record.id}, and does not give it: ")
    assert "idDoesNotExist" in skipped.reason
    assert stored(home) == {name: p for name, p in expected().items() if name != f"arxiv:{record.id}"}
    assert runs(home)[0].outcome == "partial"
    # Far behind the overlap of the next run, which asks for it by its id.
    before = len(server.requests)
    assert not harvest(home).complete
    assert sum(r.query["verb"] == "GetRecord" for r in server.requests[before:]) == 1
    server.withheld = set()
    assert harvest(home).complete
    assert stored(home) == expected()


def test_a_record_without_title_comes_with_the_next_run(home: Home, server: ArxivServer) -> None:
    record = in_set(20)
    server.untitled = {record.id}
    report = harvest(home)
    assert [s.reason for s in report.skipped] == [
        f"record oai:arXiv.org:{record.id}: it has no title; the next run asks for it again"
    ]
    server.untitled = set()
    assert harvest(home).complete
    assert stored(home) == expected()


def test_a_service_that_gives_half_of_its_records_is_an_error(home: Home, server: ArxivServer) -> None:
    server.withheld = {r.id for n, r in enumerate(RECORDS) if n % 2}
    report = harvest(home)
    assert "that it does not give: more than 20" in report.failure
    server.withheld = set()
    assert harvest(home).complete
    assert stored(home) == expected()


def test_repair_notices_what_left_the_set(home: Home, server: ArxivServer) -> None:
    harvest(home)
    moved, gone = in_set(40), in_set(50)
    elsewhere = replace(moved, categories=("math.CO",), datestamp=date(2024, 6, 4))
    server.records = [elsewhere if r is moved else r for r in RECORDS if r is not gone]
    assert harvest(home).counts.get("changed", 0) == 0
    report = repair_set(home, ArxivOai(timeout=1.5), "cs", None, NoProgress())
    assert report.counts["no longer in the set"] == 2
    assert [s.reason for s in report.skipped] == [f"arXiv has no record of arxiv:{gone.id} any more"]
    assert stored(home)[f"arxiv:{moved.id}"].categories == ("math.CO",)
    again = repair_set(home, ArxivOai(timeout=1.5), "cs", None, NoProgress())
    assert again.counts["no longer in the set"] == 1


def test_a_wrong_set_is_told_at_once(home: Home, server: ArxivServer) -> None:
    server.faults = dict.fromkeys(range(1, 9), "error-entry")
    report = harvest(home, "cs:cs:NO")
    assert "it says badArgument: The request includes illegal arguments" in report.failure
    assert (len(server.requests), report.retries) == (1, 0)


def test_days_before_the_first_and_after_today(home: Home, server: ArxivServer) -> None:
    with pytest.raises(QueryError, match="lies in the future"):
        harvest(home, since=date(2999, 1, 1))
    assert harvest(home, since=date(1999, 1, 1)).complete
    assert server.requests[0].query["from"] == "2005-09-16"
    assert stored(home) == expected()


# What goes wrong -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", OAI_FAULTS)
def test_after_any_misbehaviour_all_is_there(home: Home, server: ArxivServer, fault: str) -> None:
    server.faults = {2: fault}
    report = harvest(home)
    assert server.faults == {}
    assert report.complete
    assert stored(home) == expected()
    # A page that came short is found by the list of identifiers, which names what it left out.
    assert report.counts.get("asked for again", 0) == (3 if fault == "short" else 0)


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_after_any_two_misbehaviours_all_is_there_in_the_end(home: Home, server: ArxivServer, first: str, second: str) -> None:
    server.faults = {2: first, 3: second}
    report = harvest(home)
    if not report.complete:
        assert report.failure.endswith(RESUME)
        report = harvest(home)
    assert report.complete
    assert stored(home) == expected()


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("429", "after 8 attempts: it answered 429 Too Many Requests, as arXiv does when it throttles"),
        ("406", "after 8 attempts: it answered 406 Not Acceptable, as arXiv does when it throttles"),
        ("503", "after 8 attempts: it answered 503 Service Unavailable"),
        ("reset", "after 8 attempts: the connection failed"),
        ("stall", "after 8 attempts: the answer stalled"),
        ("cut", "after 8 attempts: it answered with no whole document"),
        ("html", "after 8 attempts: it answered with a web page"),
        ("empty", "after 8 attempts: the page is empty, though an empty list is told otherwise"),
        ("error-entry", "it says badArgument: The request includes illegal arguments"),
    ],
)
def test_a_misbehaviour_that_lasts_is_a_clear_error_and_the_next_run_completes(
    home: Home, server: ArxivServer, fault: str, reason: str
) -> None:
    server.always = fault
    report = harvest(home)
    assert reason in report.failure
    assert report.failure.endswith(RESUME)
    (run,) = runs(home)
    assert (run.outcome, run.message) == ("failed", report.failure)
    server.always = ""
    assert harvest(home).complete
    assert stored(home) == expected()


class Told(NoProgress):
    """What is told of a harvest, in its order."""

    def __init__(self) -> None:
        self.words: list[tuple[str, float] | int] = []

    def advance(self, done: int) -> None:
        self.words.append(done)

    def wait(self, what: str, seconds: float) -> None:
        self.words.append((what, seconds))


def test_what_is_waited_for_is_told_and_that_it_came(home: Home, server: ArxivServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KB_ARXIV_DELAY", "0.02")
    server.faults = {2: "503", 3: "reset"}
    told = Told()
    assert harvest_set(home, ArxivOai(timeout=1.5, progress=told), "cs", None, told).complete
    first, second = (
        f"arXiv cannot be read: {reason} Attempt {n} of 8"
        for reason, n in (("it answered 503 Service Unavailable.", 2), ("the connection failed; is this machine online?", 3))
    )
    assert told.words[:5] == [60, (first, 0.02), (second, 0.04), 0, 60]


def test_two_short_lists_that_leave_out_the_same_do_not_hide_it(home: Home, server: ArxivServer) -> None:
    server.oai_page = 1000
    server.faults = {1: "short", 2: "short"}
    report = harvest(home)
    assert report.complete
    assert report.counts["asked for again"] == 3
    assert stored(home) == expected()


def test_where_lists_tell_their_size_it_is_believed(home: Home, server: ArxivServer) -> None:
    server.oai_page = 80
    server.list_sizes = True
    server.always = "short"
    report = harvest(home)
    assert "after 8 attempts: the list came short: 80 of 83 records" in report.failure
    server.always = ""
    assert harvest(home).complete
    assert stored(home) == expected()


def test_a_token_that_never_holds(home: Home, server: ArxivServer) -> None:
    server.always = "expired-token"
    # Each time the list is asked for anew from the last day that came; days come whole.
    assert harvest(home).complete
    assert stored(home) == expected()


def test_a_token_that_never_holds_within_a_day(home: Home, server: ArxivServer) -> None:
    server.always = "expired-token"
    server.oai_page = 5
    assert "it says badResumptionToken" in harvest(home).failure
    assert (runs(home)[0].outcome, runs(home)[0].message[-len(RESUME) :]) == ("partial", RESUME)
    server.always = ""
    assert harvest(home).complete
    assert stored(home) == expected()


def test_a_token_that_expired_over_night(home: Home, server: ArxivServer) -> None:
    server.faults = dict.fromkeys(range(4, 12), "503")
    report = harvest(home)
    assert "it answered 503" in report.failure
    (run,) = runs(home)
    assert run.outcome == "partial"
    assert len(stored(home)) == 180  # the three pages that came are published
    with open_ledger(home) as ledger:
        kept = ledger.harvest("oai:cs")
    assert kept.in_progress
    assert kept.token
    server.epoch += 1
    report = harvest(home)
    assert report.complete
    assert stored(home) == expected()


def test_a_token_that_still_holds_is_used(home: Home, server: ArxivServer) -> None:
    server.faults = dict.fromkeys(range(4, 12), "503")
    harvest(home)
    before = len(server.requests)
    assert harvest(home).complete
    assert "resumptionToken" in server.requests[before].query
    assert sum(r.query["verb"] == "ListRecords" for r in server.requests[before:]) == 4


def test_two_harvests_of_one_set_do_not_run_at_once(home: Home, server: ArxivServer) -> None:
    with harvest_lock(home, "oai:cs"), pytest.raises(BusyError, match="Another job is harvesting oai:cs"):
        harvest(home)
    assert server.requests == []


# Killed, and resumed -------------------------------------------------------------------------------------------------------


@pytest.mark.timeout(3600)
@pytest.mark.slow
def test_a_harvest_killed_at_random_points_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    records = generate(2000, days=200)
    chance = random.Random(13)
    killed = round_ = 0
    with arxiv_server(records, oai_page=20) as server:
        environment = os.environ | server.environment(KB_ARXIV_DELAY="0.05", KB_STATE_DIR=str(tmp_path / "state"))
        code = (
            "import sys, ingest.arxiv.harvest_oai; ingest.arxiv.harvest_oai._PAGES_PER_PUBLICATION = 5; from kb.cli import main; "
            "main(['--home', sys.argv[1], 'ingest', 'oai', '--set', 'cs', '--no-index'])"
        )
        while killed < KILLS:
            place = Home(tmp_path / f"kb{round_}")
            round_ += 1
            while True:
                job = subprocess.Popen([sys.executable, "-c", code, str(place.path)], env=environment, stderr=subprocess.DEVNULL)
                try:
                    done = job.wait(timeout=chance.uniform(1.0, 9.0) if killed < KILLS else 300)
                except subprocess.TimeoutExpired:
                    job.send_signal(signal.SIGKILL)
                    job.wait()
                    killed += 1
                    if killed % 7 == 0:
                        server.epoch += 1  # midnight: the token that was stored is worth nothing
                    continue
                assert done == 0
                break
            assert stored(place) == expected(records)
            with open_ledger(place) as ledger:
                kept = ledger.harvest("oai:cs")
                stamps = [(f"arxiv:{r.id}", r.datestamp) for r in records if "cs" in r.sets]
                assert (kept.in_progress, kept.token) == (False, "")
            assert len(stamps) == len(expected(records))
    assert killed >= KILLS


# Quiet or broken -----------------------------------------------------------------------------------------------------------

FRIDAY = datetime(2024, 3, 8, 12)


def at(monkeypatch: pytest.MonkeyPatch, moment: datetime) -> None:
    for module in ("harvest_run", "harvest_oai", "harvest_api"):
        monkeypatch.setattr(f"ingest.arxiv.{module}.utc_now", lambda: moment)


def busy_records() -> list[Record]:
    """Twenty papers a day until the day before FRIDAY."""
    return [r for r in generate(1340, days=67) if r.datestamp <= FRIDAY.date()]


def test_a_weekend_without_papers_is_a_quiet_day(home: Home, server: ArxivServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.records = busy_records()
    at(monkeypatch, FRIDAY)
    harvest(home)
    at(monkeypatch, FRIDAY + timedelta(days=2))
    report = harvest(home)
    assert report.complete
    assert report.message == "Nothing is new: the weekend."
    assert (runs(home)[0].outcome, runs(home)[0].message) == ("done", "Nothing is new: the weekend.")


def test_an_announcement_that_does_not_come_is_an_error(home: Home, server: ArxivServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.records = busy_records()
    at(monkeypatch, FRIDAY)
    harvest(home)
    at(monkeypatch, FRIDAY + timedelta(days=4))  # after the announcements of Sunday and Monday
    report = harvest(home)
    assert not report.complete
    assert report.failure.startswith(
        "Nothing new came for cs since 2024-03-08 12:00 UTC, though arXiv should have announced papers 2 times since, "
    )
    assert runs(home)[0].outcome == "failed"
    with open_ledger(home) as ledger:
        assert ledger.harvest("oai:cs").finished == FRIDAY
    # It comes late: the error is over, and nothing was lost.
    late = replace(RECORDS[0], id="2403.09999", dates=(FRIDAY,), texts=RECORDS[0].texts[:1], datestamp=date(2024, 3, 12))
    server.records.append(replace(late, withdrawn=False))
    assert harvest(home).complete
    assert stored(home) == expected(server.records)


def test_papers_that_another_harvest_brought_first_are_no_silence(
    home: Home, server: ArxivServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.records = [r for r in busy_records() if r.datestamp <= date(2024, 3, 6)]
    at(monkeypatch, datetime(2024, 3, 6, 12))
    assert harvest(home, "cs").complete
    assert harvest(home, "cs:cs:LG").complete  # all of it came with the archive
    server.records = busy_records()
    at(monkeypatch, FRIDAY)
    assert harvest(home, "cs").complete
    report = harvest(home, "cs:cs:LG")
    assert report.complete
    assert report.counts["new"] == 0
    assert stored(home) == expected(server.records)


def test_the_api_is_not_called_late_for_what_oai_brought(
    home: Home, server: ArxivServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.records = [r for r in busy_records() if r.datestamp <= date(2024, 3, 7)]
    at(monkeypatch, FRIDAY)
    assert harvest_query(home, ArxivApi(timeout=1.5), "cat:cs.LG", "cs.LG", None, NoProgress()).complete
    # Announced on Sunday, submitted before; OAI-PMH brings it on Monday morning, then the API's turn comes.
    announced = [r for r in generate(1340, days=67) if r.datestamp == date(2024, 3, 8)]
    server.records += [replace(r, datestamp=date(2024, 3, 11)) for r in announced]
    at(monkeypatch, datetime(2024, 3, 11, 6))
    assert harvest(home, "cs:cs:LG").complete
    at(monkeypatch, datetime(2024, 3, 11, 7))
    report = harvest_query(home, ArxivApi(timeout=1.5), "cat:cs.LG", "cs.LG", None, NoProgress())
    assert (report.failure, report.counts["new"]) == ("", 0)
    # With nothing by either it is late, though the other, too early for the announcement's papers, came to its end.
    at(monkeypatch, datetime(2024, 3, 12, 1))
    assert harvest(home, "cs:cs:LG").complete
    at(monkeypatch, datetime(2024, 3, 12, 7))
    report = harvest_query(home, ArxivApi(timeout=1.5), "cat:cs.LG", "cs.LG", None, NoProgress())
    assert "arXiv is late or its feed is stale" in report.failure


def test_names_of_sources_are_shown_as_they_are(server: ArxivServer, kb: Command) -> None:
    """`:cat:` is the name of an emoji to the library that prints; brackets are its markup."""
    server.always = "503"
    told = kb("ingest", "arxiv", "--query", "cat:cs.CL AND ti:[bold]x[/bold]", "--no-index", KB_ARXIV_DELAY="0")
    assert "api:cat:cs.CL AND ti:[bold]x[/bold]" in told.stderr
    assert "api:cat:cs.CL AND ti:[bold]x[/bold]" in kb("status", COLUMNS="300").stdout


def test_few_papers_are_no_reason_for_an_alarm(home: Home, server: ArxivServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.records = [r for r in generate(60, days=67) if r.datestamp <= FRIDAY.date()]
    at(monkeypatch, FRIDAY)
    harvest(home)
    at(monkeypatch, FRIDAY + timedelta(days=4))
    report = harvest(home)
    assert report.complete
    assert report.message == "Nothing is new: announcements were made, but this source has few papers."


def test_a_set_that_has_nothing_at_all(home: Home, server: ArxivServer) -> None:
    report = harvest(home, "cs:cs:XX")
    assert report.failure == "Nothing came for cs.XX, which was never harvested before. Check that arXiv has such a category."
    assert len(server.requests) == 3


def test_the_calendar_of_announcements() -> None:
    week = announcements(datetime(2024, 3, 8, 12), datetime(2024, 3, 15, 12))
    # 20:00 in New York is 01:00 UTC in winter, and midnight once summer time has begun on 10 March.
    assert week == [datetime(2024, 3, day) for day in (11, 12, 13, 14, 15)]
    assert announcements(datetime(2024, 3, 8, 12), datetime(2024, 3, 11, 3, 59)) == []  # its papers may still be on their way
    assert announcements(datetime(2024, 12, 24), datetime(2025, 1, 1, 12)) == []
    assert [day for day in range(25, 31) if is_holiday(date(2024, 11, day))] == [28, 29]
    assert [day for day in range(3, 9) if is_working_day(date(2024, 7, day))] == [3, 5, 8]


# Gaps ----------------------------------------------------------------------------------------------------------------------


def test_repair_brings_what_is_listed_and_is_not_here(home: Home, server: ArxivServer) -> None:
    whole = RECORDS
    hidden = [r for r in whole if r.datestamp == date(2024, 2, 1)]
    server.records = [r for r in whole if r not in hidden]
    harvest(home)
    server.records = whole
    report = repair_set(home, ArxivOai(timeout=1.5), "cs", None, NoProgress())
    missing = [r for r in hidden if "cs" in r.sets]
    assert report.counts["asked for again"] == report.counts["new"] == len(missing) > 0
    assert stored(home) == expected()
    again = repair_set(home, ArxivOai(timeout=1.5), "cs", None, NoProgress())
    assert again.counts == {}


def test_a_first_day_is_kept_and_can_be_moved_back(home: Home, server: ArxivServer) -> None:
    harvest(home, since=date(2024, 2, 15))
    assert stored(home) == {n: p for n, p in expected().items() if p.updated and p.updated >= date(2024, 2, 15)}
    with open_ledger(home) as ledger:
        assert ledger.harvest("oai:cs").began == datetime(2024, 2, 15)
    harvest(home, since=date(2024, 1, 10))
    assert stored(home) == {n: p for n, p in expected().items() if p.updated and p.updated >= date(2024, 1, 10)}
    before = len(server.requests)
    harvest(home, since=date(2024, 1, 10))
    assert len(server.requests) == before + 3
    with open_ledger(home) as ledger:
        assert isinstance(ledger.harvest("oai:cs"), Harvest)


# The command line ----------------------------------------------------------------------------------------------------------

Command = Callable[..., subprocess.CompletedProcess[str]]


def test_the_command_tells_what_came_and_what_it_cost(home: Home, server: ArxivServer, kb: Command) -> None:
    began = datetime.now(UTC).date()
    done = kb("ingest", "oai", "--set", "cs.CL", "--no-index", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["source"] == "oai:cs:cs:CL"
    assert told["counts"] == {"new": len(expected(set_name="cs:cs:CL")), "changed": 0, "unchanged": 0}
    assert (told["requests"], told["retries"], told["failure"]) == (len(server.requests), 0, "")
    assert stored(home) == expected(set_name="cs:cs:CL")
    (run,) = json.loads(kb("status", "--json").stdout)["runs"]
    assert (run["job"], run["outcome"], run["requests"], run["retries"]) == ("oai", "done", len(server.requests), 0)
    assert run["window"] in {f"2005-09-16..{day}" for day in (began, datetime.now(UTC).date())}


def test_the_command_says_how_to_resume(home: Home, server: ArxivServer, kb: Command) -> None:
    server.faults = dict.fromkeys(range(4, 12), "503")
    failed = kb("ingest", "oai", "--set", "cs", "--no-index")
    assert failed.returncode == 1
    assert "it answered 503 Service Unavailable" in failed.stderr
    assert RESUME in failed.stderr
    doctor = kb("doctor")
    assert doctor.returncode == 1
    assert "The harvest of oai:cs did not come to its end: run it again, and it goes on." in doctor.stderr
    assert kb("ingest", "oai", "--set", "cs", "--no-index").returncode == 0
    assert stored(home) == expected()


def test_the_followed_categories_are_what_is_asked_for(home: Home, server: ArxivServer, kb: Command) -> None:
    assert kb("ingest", "oai").returncode == 2
    home.path.mkdir(parents=True, exist_ok=True)
    (home.path / "config.toml").write_text('categories = ["cs.CL", "hep-th"]\n')
    assert kb("ingest", "oai", "--no-index").returncode == 0
    assert stored(home) == expected(set_name="cs:cs:CL") | expected(set_name="physics:hep-th")
    assert {r.query.get("set") for r in server.requests} >= {"cs:cs:CL", "physics:hep-th"}


def test_the_doctor_finds_a_gap_and_repair_fills_it(home: Home, server: ArxivServer, kb: Command) -> None:
    # Up to today, so that nothing is missing at the end.
    today = datetime.now(UTC).date()
    records = generate(1400, first=today - timedelta(days=69), days=70)
    lost = next(day for n in range(42, 30, -1) if is_working_day(day := today - timedelta(days=n)))
    server.records = [r for r in records if r.dates[0].date() != lost]
    assert kb("ingest", "oai", "--set", "cs.CL", "--no-index").returncode == 0
    doctor = kb("doctor", "--json")
    assert doctor.returncode == 1
    (gap,) = json.loads(doctor.stdout)["gaps"]
    assert (gap["category"], gap["first"], gap["last"]) == ("cs.CL", str(lost), str(lost))
    assert "kb ingest oai --set cs.CL --repair" in kb("doctor").stderr
    server.records = records
    assert kb("ingest", "oai", "--set", "cs.CL", "--repair", "--no-index").returncode == 0
    assert kb("doctor").returncode == 0
    assert stored(home) == expected(records, "cs:cs:CL")


@pytest.mark.usefixtures("server")
def test_a_withdrawn_paper_is_shown_with_its_reason(home: Home, kb: Command) -> None:
    harvest(home)
    record = next(r for r in RECORDS if r.withdrawn and "cs" in r.sets)
    shown = kb("show", record.id)
    assert f"WITHDRAWN: {record.texts[-1].comments}" in shown.stdout
    whole = json.loads(kb("show", record.id, "--json").stdout)
    assert whole["withdrawals"] == [
        {"version": len(record.dates), "noticed": str(record.datestamp), "reason": record.texts[-1].comments}
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        ("arxiv", "--category", "cs.CL", "--missing"),
        ("arxiv", "--id", "1706.03762", "--repair"),
        ("arxiv", "--id", "1711.0093"),
        ("arxiv", "--category", "CS"),
        ("arxiv", "--category", "cs.CL", "--since", "yesterday"),
        ("oai", "--set", "no set"),
    ],
)
def test_wrong_use(home: Home, arguments: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--home", str(home.path), "ingest", *arguments])
    assert end.value.code == 2
