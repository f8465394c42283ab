"""How what is followed stands: a quiet category told from a broken one; and categories that are followed from the app."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from conftest import record

from ingest.jobs.configuration import Configuration, follow
from ingest.jobs.run import run_snapshot
from ingest.jobs.status import State, overview
from kb.errors import QueryError, StoreError
from kb.store import Harvest, Home, Ledger

WEDNESDAY = datetime(2026, 3, 11, 12, tzinfo=UTC)  # announcements on Sunday to Thursday at 20:00 Eastern, midnight UTC


def harvested(home: Home, **facts: datetime | bool) -> None:
    with home.draft() as draft:
        Ledger(draft.catalogue).save_harvest(Harvest("oai:cs:cs:CL", **facts))  # type: ignore[arg-type]
        draft.publish()


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("finished", "now", "state", "why"),
    [
        ("2026-03-11T06:00", "2026-03-11T12:00", State.CURRENT, "Everything that arXiv has announced"),
        ("2026-03-09T06:00", "2026-03-11T12:00", State.BEHIND, "announced papers 2 times since"),
        ("2026-03-06T06:00", "2026-03-07T12:00", State.QUIET, "the weekend"),
        ("2025-12-24T06:00", "2025-12-26T12:00", State.QUIET, "a holiday"),
        ("2027-03-11T06:00", "2026-03-11T12:00", State.BEHIND, "the clock was wrong"),
    ],
)
def test_quiet_is_told_from_behind(home: Home, finished: str, now: str, state: State, why: str) -> None:
    harvested(home, began=moment(finished), reached=moment(finished), finished=moment(finished))
    (followed,) = overview(home, moment(now).replace(tzinfo=UTC)).followed
    assert (followed.category, followed.state, followed.finished) == ("cs.CL", state, moment(finished))
    assert why in followed.why


def test_a_run_that_did_not_end_is_told(home: Home) -> None:
    harvested(home, reached=moment("2026-03-10T06:00"), finished=moment("2026-03-10T06:00"), in_progress=True)
    (followed,) = overview(home, WEDNESDAY).followed
    assert followed.state is State.STOPPED


def test_days_without_papers_are_told(home: Home, write_snapshot: Callable[..., Path]) -> None:
    days = [datetime(2026, 2, 2) + timedelta(days=n) for n in range(26)]
    days = [day for day in days if day.weekday() < 5 and day.day not in {16, 17, 18}]  # the 16th is a holiday
    created = [[{"version": "v1", "created": f"{day:%a, %-d %b %Y} 10:00:00 GMT"}] for day in days for _ in range(6)]
    records = [record(0, id=f"2602.{n + 1:05d}", categories="cs.CL", versions=versions) for n, versions in enumerate(created)]
    run_snapshot(home, [write_snapshot(records)])
    harvested(home, began=days[0], reached=moment("2026-03-11T06:00"), finished=moment("2026-03-11T06:00"))
    (followed,) = overview(home, WEDNESDAY).followed
    assert followed.state is State.GAPS
    assert "between 17 February 2026 and" in followed.why
    assert "about 6 a day" in followed.why


def test_before_anything_was_ingested_what_is_followed_is_there(home: Home) -> None:
    assert overview(home).followed == ()
    follow(home, ["cs.CL"])
    (followed,) = overview(home).followed
    assert (followed.category, followed.state) == ("cs.CL", State.NEVER)


def test_jobs_have_their_next_time_and_last_outcome(home: Home) -> None:
    home.path.mkdir(parents=True)
    (home.path / "config.toml").write_text('[[job]]\nrun = "ingest oai"\nat = "06:30"\n')
    now = datetime.now(UTC)
    (planned,) = overview(home, now).planned
    assert (planned.run, planned.outcome, planned.started) == ("ingest oai", "not run yet", "")
    assert planned.next_time > now
    assert (planned.next_time.hour, planned.next_time.minute) == (6, 30)


def test_runs_come_with_what_they_left_out(home: Home, write_snapshot: Callable[..., Path]) -> None:
    run_snapshot(home, [write_snapshot([record(1), record(2, title=""), "no JSON"])])
    ((run, skipped),) = overview(home).runs
    assert (run.job, run.outcome, run.counts["skipped"]) == ("snapshot", "partial", 2)
    assert sorted(one.line for one in skipped) == [2, 3]


# Following ----------------------------------------------------------------------------------------------------------------

WRITTEN = """# My knowledge base

categories = [
    "cs.CL",  # at the group's wish
    "cs.LG",
]

[[job]]
run = "ingest oai"   # in the morning
at = "06:30"
"""


def test_following_keeps_what_the_user_wrote(home: Home) -> None:
    home.path.mkdir(parents=True)
    path = home.path / "config.toml"
    path.write_text(WRITTEN)
    follow(home, ["cs.CL", "cs.LG", "cs.CV"])
    assert Configuration.of(home).categories == ("cs.CL", "cs.LG", "cs.CV")
    assert [line for line in WRITTEN.splitlines() if line not in path.read_text().splitlines()] == []
    follow(home, ["cs.CL"])
    assert Configuration.of(home).categories == ("cs.CL",)
    for comment in ("# My knowledge base", "# at the group's wish", "# in the morning"):
        assert comment in path.read_text()
    assert Configuration.of(home).jobs[0].run == "ingest oai"


def test_the_first_category_goes_before_the_jobs(home: Home) -> None:
    home.path.mkdir(parents=True)
    (home.path / "config.toml").write_text('# Jobs\n[[job]]\nrun = "ingest oai"\nat = "06:30"\n')
    follow(home, ["cs.CL"])
    configuration = Configuration.of(home)
    assert (configuration.categories, len(configuration.jobs)) == (("cs.CL",), 1)
    assert "# Jobs" in (home.path / "config.toml").read_text()
    follow(home, [])
    assert Configuration.of(home).categories == ()


@pytest.mark.parametrize("category", ["", "cs.CL OR all:x", "<b>", "../x"])
def test_what_can_be_no_category_changes_nothing(home: Home, category: str) -> None:
    with pytest.raises(QueryError):
        follow(home, ["cs.CL", category])
    assert not (home.path / "config.toml").exists()


def test_a_file_that_is_wrong_already_is_left_as_it_is(home: Home) -> None:
    home.path.mkdir(parents=True)
    (home.path / "config.toml").write_text("categories = [")
    with pytest.raises(StoreError, match=r"config\.toml"):
        follow(home, ["cs.CL"])
    assert (home.path / "config.toml").read_text() == "categories = ["
