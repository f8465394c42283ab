"""What brings papers in, in a real browser: the first run, files that are dropped, jobs that are watched and stopped."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from browser import NewPage, Serve, enter, press, titles, write_papers
from playwright.sync_api import Page, expect

from app.views.search import EXAMPLES
from ingest.jobs.configuration import Configuration
from ingest.jobs.run import State, overview
from kb.jobs.background import Background
from kb.library import LIBRARY_FILE, Library
from kb.store import Harvest, Home, Ledger

from thirty_papers import PAPERS  # isort: skip


_JOB = 300_000  # milliseconds until a job must have ended


def drop(page: Page, *files: tuple[str, bytes]) -> None:
    upload = page.locator("[data-testid=stFileUploader] input[type=file]")
    upload.set_input_files([{"name": name, "mimeType": "text/plain", "buffer": data} for name, data in files])
    press(page.get_by_role("button", name="Read these files"))


def test_an_empty_knowledge_base_says_what_to_do_and_loads_the_sample(tmp_path: Path, serve: Serve, new_page: NewPage) -> None:
    page = new_page()
    address = serve(Home(tmp_path / "nothing" / "yet"))
    page.goto(f"{address}/map")  # no page shows anything else
    page.get_by_text("There are no papers here yet").wait_for()
    page.goto(address)
    press(page.get_by_role("button", name="Load the sample"))
    page.locator(".st-key-job").get_by_text("Loading the sample").wait_for()
    page.get_by_role("button", name=EXAMPLES[1]).click(timeout=_JOB)
    titles(page).first.wait_for()
    assert titles(page).first.inner_text() == "Attention Is All You Need"
    assert page.locator("blockquote").count() >= 1


def test_files_are_dropped_and_read(home: Home, serve: Serve, new_page: NewPage, tmp_path: Path) -> None:
    page = new_page()
    address = serve(home)
    page.goto(address)
    page.get_by_text("Add your notes").wait_for()
    snapshot = write_papers(tmp_path / "papers.jsonl", PAPERS[:3]).read_bytes()
    note = b"# Mine\n\n- [QLoRA](https://arxiv.org/abs/2305.14314): a remark of my own.\n"
    drop(page, ("../../p<b>.jsonl", snapshot), ("<img src=x onerror=alert(1)>.md", note))
    expect(page.get_by_role("textbox", name="Find papers", exact=True)).to_be_visible(timeout=_JOB)
    assert sorted(path.name for path in (home.path / "uploads").iterdir()) == ["img src_x onerror_alert(1)_.md", "p_b_.jsonl"]
    generation = home.open()
    try:
        assert (generation.manifest.papers, generation.manifest.notes, generation.manifest.embedded) == (4, 1, 4)
    finally:
        generation.close()
    page.goto(f"{address}/ingest")
    bibliography = b"@misc{a, title = {QLoRA}, eprint = {2305.14314}, archiveprefix = {arXiv}}"
    drop(page, ("Thesis.bib", bibliography))
    while (job := Background(home).last()) is None or job.title != "Reading Thesis.bib" or not job.finished:
        page.wait_for_timeout(200)
    assert [entry.paper_id for entry in Library(home.path / LIBRARY_FILE).read_list("Thesis").entries] == ["arxiv:2305.14314"]
    page.reload()
    runs = page.locator(".st-key-runs")
    runs.get_by_text("p_b_.jsonl").wait_for()
    assert runs.locator("img, b").count() == 0


CONFIGURATION = """# mine
categories = ["cs.CL"]  # the group's

[[job]]
run = "schedule run"
at = "06:30"
"""


@pytest.fixture
def followed(own: Home, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("KB_ARXIV_OAI_URL", "http://127.0.0.1:9/oai")  # nobody listens there
    (own.path / "config.toml").write_text(CONFIGURATION, encoding="utf-8")
    return own


def test_what_is_followed_shows_and_a_job_is_run_watched_and_stopped(followed: Home, serve: Serve, new_page: NewPage) -> None:
    page = new_page()
    address = serve(followed)
    page.goto(f"{address}/ingest")
    page.locator(".st-key-standing").get_by_text("not harvested yet").wait_for()
    page.get_by_text("not run yet").wait_for()
    press(page.get_by_role("button", name="Run now"))
    job = page.locator(".st-key-job")
    job.get_by_text("kb schedule run").first.wait_for()
    other = new_page()  # another tab sees it too, and can search meanwhile
    other.goto(f"{address}/ingest")
    other.locator(".st-key-job").wait_for()
    other.goto(f"{address}/?q=1706.03762")
    expect(titles(other).first).to_have_text("Attention Is All You Need")
    page.reload()
    press(job.get_by_role("button", name="Stop"))
    job.wait_for(state="detached", timeout=_JOB)
    assert not Background(followed).running()
    last = Background(followed).last()
    assert last is not None and last.stopped


def test_quiet_is_told_from_broken(own: Home, serve: Serve, new_page: NewPage) -> None:
    now = datetime.now(UTC).replace(tzinfo=None)
    long_ago, yesterday = now - timedelta(days=28), now - timedelta(hours=25)
    with own.draft() as draft:
        ledger = Ledger(draft.catalogue)
        ledger.save_harvest(Harvest("oai:cs:cs:CL", reached=now, finished=now))
        ledger.save_harvest(Harvest("oai:cs:cs:LG", reached=long_ago, finished=long_ago))
        ledger.save_harvest(Harvest("oai:cs:cs:CV", reached=now, finished=now, in_progress=True))
        ledger.save_harvest(Harvest("oai:cs:cs:IR", reached=yesterday, finished=yesterday))
        draft.publish()
    (own.path / "config.toml").write_text('categories = ["stat.ML"]', encoding="utf-8")
    icons = {State.CURRENT: "check_circle", State.QUIET: "bedtime", State.NEVER: "hourglass_empty"}
    followed = overview(own).followed
    states = {one.category: one.state for one in followed}
    # What was harvested yesterday is quiet on a weekend, and behind on a working day.
    assert states.pop("cs.IR") in {State.QUIET, State.BEHIND}
    assert states == {"cs.CL": State.CURRENT, "cs.CV": State.STOPPED, "cs.LG": State.BEHIND, "stat.ML": State.NEVER}
    page = new_page()
    page.goto(f"{serve(own)}/ingest")
    for one in followed:
        row = page.locator(".st-key-standing p").filter(has=page.get_by_text(one.category, exact=True))
        expect(row).to_contain_text(one.state)
        expect(row).to_contain_text(one.why)
        expect(row.get_by_role("img", name=f"{icons.get(one.state, 'warning')} icon", exact=True)).to_be_visible()


def test_what_a_job_waits_for_is_told(followed: Home, serve: Serve, new_page: NewPage) -> None:
    configuration = CONFIGURATION.replace("schedule run", "ingest oai")
    (followed.path / "config.toml").write_text(configuration, encoding="utf-8")
    page = new_page()
    page.goto(f"{serve(followed)}/ingest")
    press(page.get_by_role("button", name="Run now"))
    job = page.locator(".st-key-job")
    job.get_by_text(re.compile(r"^Records of .*: nothing yet$")).wait_for()
    job.get_by_text(re.compile(r"the connection failed; is this machine online\? Attempt \d of 8 (in \d+ s|now)\.$")).wait_for()
    assert job.get_by_role("progressbar").count() == 0  # nobody knows how much there is
    Background(followed).stop()
    job.wait_for(state="detached")


def test_categories_are_followed_and_what_was_written_stays(followed: Home, serve: Serve, new_page: NewPage) -> None:
    page = new_page()
    page.goto(f"{serve(followed)}/ingest")
    page.get_by_text("Change what is followed").click()
    categories = page.get_by_role("combobox", name="Categories")
    enter(categories, "cs.CV")
    page.keyboard.press("Escape")
    press(page.get_by_role("button", name="Follow and fetch"))
    page.locator(".st-key-job").get_by_text("Fetching cs.CL, cs.CV from arXiv").wait_for()
    Background(followed).stop()
    assert Configuration.of(followed).categories == ("cs.CL", "cs.CV")
    text = (followed.path / "config.toml").read_text(encoding="utf-8")
    assert text == CONFIGURATION.replace('["cs.CL"]', '["cs.CL", "cs.CV"]')


def test_a_wrong_configuration_is_told(own: Home, serve: Serve, new_page: NewPage) -> None:
    (own.path / "config.toml").write_text("categories = [", encoding="utf-8")
    page = new_page()
    page.goto(f"{serve(own)}/ingest")
    expect(page.get_by_role("alert")).to_contain_text("config.toml is no TOML")
