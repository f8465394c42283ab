"""What others wrote, and what strangers put into an address: shown as it is on every page, and doing nothing."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from datetime import date
from urllib.parse import urlencode

import pytest
from browser import NewPage, map_of, pixel, plot_of, press, record, search_url, served, settled, titles
from playwright.sync_api import Page, expect

from app.widgets.markdown import shorten, visible
from ingest.jobs.run import run_index, run_notes, run_snapshot
from kb.encode.encoder import Encoder
from kb.insights.digest import make_digest
from kb.library import LIBRARY_FILE, Entry, Library
from kb.papers import Author
from kb.store import Home

HOSTILE = (
    "<script>window.pwned = 1; alert(1)</script> in a title",
    "<img src=https://evil.example/x.png onerror=alert(1)>",
    "[click me](javascript:alert(1)) and [here](https://evil.example/)",
    "![picture](https://evil.example/x.png)",
    "https://evil.example/a?b=c www.evil.example me@evil.example",
    "# A heading",
    "> a quotation - [ ] a box | a | table |",
    "``` a fence ```",
    "1. A numbered list",
    "- A list * of things + more",
    ":material/home: :material_home: :streamlit: and :smile: :+1:",
    ":red[colour] :blue-badge[badge] :small[x] :rainbow-background[y] ::leaf[z] :::container",
    "Costs $5 and $10, or $\\href{javascript:alert(1)}{x}$ and $\\rule{999em}{999em}$",
    "$$ \\def\\x{\\x\\x}\\x $$ unclosed $x_{",
    "**bold** __bold__ *it* _it_ ~~gone~~ `code` [^1] [x]: y",
    "a -> b <- c <-> d -- e >= f <= g ~= h",
    "&lt;b&gt; &#58;smile&#58; &amp; &copy;",
    "\u202egnp.reversed\u202c and \u200bzero\u200b width\u0007",
    "\\[ \\( \\* \\` back\\slashes \\",
    "](https://evil.example) closes a link",
    "--- === +++ ***",
    "<https://evil.example> <!-- comment --> <details open ontoggle=alert(1)>",
    "{{ template }} {% tag %} {onclick=alert(1)}",
)

HOSTILE_CATEGORY = "<img/src=x/onerror=alert(1)>[x](javascript:alert(1)):smile:"
HOSTILE_FILE = "<img src=x onerror=alert(1)> [x](javascript:alert(1)) **b** :smile: $x$.jsonl"


@pytest.fixture(scope="module")
def hostile_home(tmp_path_factory: pytest.TempPathFactory, encoder: Encoder) -> Home:
    """Papers and notes whose every text is hostile."""
    folder = tmp_path_factory.mktemp("hostile")
    records = []
    notes = ["# Notes"]
    for i, text in enumerate(HOSTILE):
        paper = record(
            f"2301.{i + 1:05d}", text, "x", "cs.CL", f"{text} https://github.com/evil/repo{i})](javascript:alert(1))", text
        )
        paper["authors_parsed"] = [[text, "", ""]]
        paper["categories"] = "cs.CL <b>x</b> :smile: [x](javascript:alert(1))" if i % 2 else HOSTILE_CATEGORY
        paper["journal-ref"] = text
        records.append(paper)
        notes.append(f"- [Study number {i} of hostile texts](https://arxiv.org/abs/2301.{i + 1:05d}): {text}\n")
    (folder / "papers.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
    source = folder / "**notes** :smile: [x](y).md"
    source.write_text("\n".join(notes), encoding="utf-8")
    home = Home(folder / "kb")
    run_snapshot(home, [folder / "papers.jsonl"])
    run_notes(home, [source])
    damaged = folder / HOSTILE_FILE
    damaged.write_text("".join(f"{text}\n" for text in HOSTILE), encoding="utf-8")
    run_snapshot(home, [damaged])
    run_index(home, encoder)
    (home.path / "config.toml").write_text(f"[[job]]\nrun = \"ingest notes '{HOSTILE_FILE}'\"\nat = '06:30'\n", encoding="utf-8")
    return home


@pytest.fixture(scope="module")
def hostile(hostile_home: Home) -> Iterator[str]:
    """The address of an app over them."""
    with served(hostile_home, hostile_home.path.parent / "app.log", "--no-browser") as address:
        yield address


def plain(text: str) -> str:
    return " ".join(text.replace("\N{WORD JOINER}", "").split())


@pytest.mark.parametrize("number", ["1", "2", "3"])
def test_hostile_texts_are_shown_as_they_are_and_do_nothing(hostile: str, new_page: NewPage, number: str) -> None:
    page = new_page()
    every = " ".join(f"2301.{i + 1:05d}" for i in range(len(HOSTILE)))
    expected = [visible(text) for text in HOSTILE]
    page.goto(search_url(hostile, q=every, page=number))
    last = int(number) * 10
    expected = expected[last - 10 : last]
    titles(page).nth(len(expected) - 1).wait_for()
    settled(page)
    assert [plain(t) for t in titles(page).all_inner_texts()] == expected
    abstracts = page.locator(".st-key-hits [data-testid=stExpanderDetails] [data-testid=stMarkdownContainer]").all_text_contents()
    assert [plain(t) for t in abstracts] == expected
    shown = plain(page.locator(".st-key-hits").inner_text())
    for text in expected:
        assert shown.count(shorten(text, 80).rstrip("…")) >= 3, text  # as title, as author, as journal
    assert "**notes** :smile: [x](y).md" in shown
    hits = page.locator(".st-key-hits")
    assert hits.locator("img, script, iframe, h1, h2, h3, table, hr, ul, ol, .katex, [onerror], [ontoggle]").count() == 0
    targets: list[str] = hits.locator("a").evaluate_all("links => links.map(a => a.href)")
    own = f"{hostile}/paper\\?id=arxiv%3A2301|{hostile}/\\?|https://arxiv\\.org/(abs|pdf|html)/2301\\.|https://github\\.com/evil/repo"
    own += "|https://evil\\.example/"  # addresses that a text names
    assert all(re.match(own, target) for target in targets), targets
    assert page.evaluate("window.pwned") is None


def expect_harmless(page: Page) -> None:
    """Nothing in the page runs, frames, draws or leads anywhere but to web pages."""
    main = page.get_by_test_id("stMainBlockContainer")
    assert main.locator("script, iframe, object, embed, svg image, form[action], [onerror], [onclick], [ontoggle]").count() == 0
    assert main.locator("img:not([src^=data])").count() == 0
    targets: list[str] = main.locator("a").evaluate_all("links => links.map(a => a.protocol)")
    assert set(targets) <= {"http:", "https:"}
    assert page.evaluate("window.pwned") is None


@pytest.mark.parametrize("number", range(0, len(HOSTILE), int(os.environ.get("KB_TEST_HOSTILE_STEP", "6"))))
def test_the_page_of_a_hostile_paper(hostile: str, new_page: NewPage, number: int) -> None:
    page = new_page()
    page.goto(f"{hostile}/paper?id=2301.{number + 1:05d}")
    page.get_by_role("heading", name="Notes", exact=True).wait_for()
    settled(page)
    main = page.get_by_test_id("stMainBlockContainer")
    assert plain(main.locator("h1").inner_text()) == visible(HOSTILE[number])
    assert plain(main.inner_text()).count(shorten(HOSTILE[number], 60).rstrip("…")) >= 3  # as title, author and abstract
    expect_harmless(page)
    for drawer in ("Cite", "Add to list"):
        page.get_by_role("button", name=drawer).click()
        page.get_by_test_id("stPopoverBody").locator("pre, input").first.wait_for()
        expect_harmless(page)
        page.keyboard.press("Escape")


def test_a_hostile_reading_list(hostile: str, hostile_home: Home, new_page: NewPage) -> None:
    library = Library(hostile_home.path / LIBRARY_FILE)
    names = [shorten(text, 90) for text in HOSTILE]
    for name in names:
        library.create(name)
    library.add(
        names[1],
        [
            Entry(f"arxiv:2301.{i + 1:05d}", text, (Author(text, text),), 2023, text, text, (text,))
            for i, text in enumerate(HOSTILE[:12])
        ],
    )
    library.add(names[1], [Entry("url:https://elsewhere.example/x", text, remark=text) for text in HOSTILE[12:13]])
    page = new_page()
    page.goto(f"{hostile}/lists?{urlencode({'name': names[1]})}")
    expect(page.locator(".st-key-entries a[href^='paper?']")).to_have_count(13)
    settled(page)
    assert plain(page.locator("h1").inner_text()) == names[1]
    expect_harmless(page)
    press(page.locator(".st-key-entries").get_by_role("button", name="Remove").first)
    page.get_by_role("button", name="Undo: took off").wait_for()
    page.get_by_role("combobox", name="Reading list").click()
    page.get_by_role("option").nth(len(names) - 1).wait_for()
    expect_harmless(page)
    for text in (HOSTILE[0], HOSTILE[2], HOSTILE[10]):
        page.goto(f"{hostile}/lists?{urlencode({'name': text + '?'})}")
        page.get_by_text("any more.").wait_for()
        expect_harmless(page)


def test_the_digest_of_hostile_papers(hostile: str, hostile_home: Home, new_page: NewPage) -> None:
    generation = hostile_home.open()
    try:
        choices = make_digest(generation, date(2023, 1, 1), Library(hostile_home.path / LIBRARY_FILE).paper_ids()).choices
    finally:
        generation.close()
    page = new_page()
    page.goto(f"{hostile}/digest")
    page.locator(".st-key-digest strong").nth(len(choices) - 1).wait_for()
    settled(page)
    shown = plain(page.locator(".st-key-digest").inner_text())
    assert len(choices) >= 5
    for choice in choices:
        assert shorten(visible(choice.paper.title), 60).rstrip("…") in shown
    expect_harmless(page)
    page.goto(f"{hostile}/digest?{urlencode({'month': HOSTILE[1]})}")
    page.locator(".st-key-digest").wait_for()
    settled(page)
    expect_harmless(page)


def test_trends_of_hostile_categories(hostile: str, new_page: NewPage) -> None:
    page = new_page()
    page.goto(f"{hostile}/trends?{urlencode({'span': HOSTILE[0]})}")
    chart = page.get_by_test_id("stVegaLiteChart").first
    chart.wait_for()
    settled(page)
    box = chart.bounding_box()
    assert box is not None
    tip = page.locator("#vg-tooltip-element")
    told: set[str] = set()
    for _ in range(20):  # down the only month's bar, each of whose parts tells its category, until the chart is drawn
        for step in range(1, 20):
            page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + box["height"] * step / 20)
            if tip.is_visible():
                told.add(tip.inner_text())
                assert tip.locator("b, img, a, script").count() == 0
        if any(HOSTILE_CATEGORY in text for text in told):
            break
    assert any(HOSTILE_CATEGORY in text for text in told), told
    expect_harmless(page)


def test_what_a_hostile_file_brought(hostile: str, new_page: NewPage) -> None:
    page = new_page()
    page.goto(f"{hostile}/ingest")
    page.get_by_role("heading", name="Runs").or_(page.get_by_text("Last runs")).first.wait_for()
    settled(page)
    for summary in page.get_by_test_id("stMainBlockContainer").locator("summary").all():
        summary.click()
    shown = plain(page.get_by_test_id("stMainBlockContainer").inner_text())
    assert shown.count(HOSTILE_FILE[:50]) >= 2, shown  # the job, and the run with what it left out
    assert "<script>window.pwned = 1" in shown
    expect_harmless(page)


def test_hostile_titles_do_nothing_on_the_map(hostile: str, hostile_home: Home, new_page: NewPage) -> None:
    plot = plot_of(hostile_home)
    page = new_page()
    page.goto(f"{hostile}/map")
    shown = map_of(page)
    settled(page)
    told = {}
    for identifier in plot.ids:
        page.mouse.move(*pixel(shown, plot, identifier))
        expect(shown.locator(".tip")).to_be_visible()
        told[identifier] = shown.locator(".tip").inner_text()
    assert len(set(told.values())) >= len(HOSTILE) - 2  # points may lie on one another
    unseen = re.compile(r"[\u0000-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
    assert set(told.values()) <= {" ".join(unseen.sub("\ufffd", f"{title} (2023)").split()) for title in plot.titles}
    assert shown.locator("img, script, b").count() == 0
    expect_harmless(page)
    for parameters in ({}, {"colour": "list"}, {"q": HOSTILE[1], "colour": HOSTILE[0]}):
        page.goto(f"{hostile}/map?{urlencode(parameters)}")
        map_of(page)
        settled(page)
        expect_harmless(page)


def test_a_hostile_address_is_text_too(hostile: str, new_page: NewPage) -> None:
    page = new_page()
    text = "<img src=x onerror=alert(1)> [x](javascript:alert(1)) :material/home:"
    page.goto(
        search_url(
            hostile, q=text, like=text, not_=text, category=text, author=text, source=text, list=text, facet=text, page=text
        )
    )
    page.get_by_role("alert").wait_for()
    settled(page)
    expect(page.get_by_role("textbox", name="Find papers", exact=True)).to_have_value(text)
    assert page.locator("section img, section script").count() == 0
    assert page.locator("a[href^=javascript]").count() == 0
