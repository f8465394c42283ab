"""The app's search page in a real browser, over a real knowledge base with the real model."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from browser import NewPage, Serve, card, enter, expect_titles, press, record, search_url, served, settled, titles, write_papers
from conftest import record as numbered
from playwright.sync_api import Locator, Page, expect
from thirty_papers import QLORA_CODE

from app.search_page import EXAMPLES
from app.text import shorten, visible
from ingest.jobs import run_index, run_notes, run_snapshot
from kb.background import Background
from kb.dense import DENSE_FILE
from kb.embed import Encoder
from kb.library import LIBRARY_FILE, Entry, Library
from kb.papers import Author
from kb.search import Searcher
from kb.store import Filters, Home

QUESTION = "fine-tune a language model on a single GPU"


@pytest.fixture
def library(built: Home, encoder: Encoder) -> Iterator[Searcher]:
    """What the library answers, to compare the page with."""
    with Searcher.open(built, encoder) as searcher:
        yield searcher


def found(library: Searcher, text: str = QUESTION, k: int = 10, filters: Filters | None = None) -> list[str]:
    return [hit.paper.title for hit in library.search(text, k, filters)]


def box(page: Page) -> Locator:
    return page.get_by_role("textbox", name="Find papers", exact=True)


def ask(page: Page, text: str) -> None:
    enter(box(page), text)


# Searching --------------------------------------------------------------------------------------------------------------


def test_a_phrase_finds_papers_with_authors_year_and_code(app: str, new_page: NewPage, library: Searcher) -> None:
    page = new_page()
    page.goto(app)
    page.get_by_text("30 papers · 3 notes").wait_for()
    ask(page, QUESTION)
    expect_titles(page, found(library))
    qlora = card(page, "QLoRA: Efficient Finetuning of Quantized LLMs")
    shown = qlora.inner_text()
    assert "Tim Dettmers, Artidoro Pagnoni, Ari Holtzman, Luke Zettlemoyer" in shown
    assert "2 Jan 2023 · cs.LG · arXiv:2305.14314" in shown
    assert qlora.get_by_role("link", name="arXiv:2305.14314").get_attribute("href") == "https://arxiv.org/abs/2305.14314"
    assert qlora.get_by_role("link", name="QLoRA: Efficient").get_attribute("href") == "paper?id=arxiv%3A2305.14314"
    code = qlora.get_by_role("link", name="artidoro/qlora")
    assert code.get_attribute("href") == QLORA_CODE
    assert code.get_attribute("title") == "named in the authors' comments"
    assert "q=fine-tune" in page.url


def test_an_example_searches_and_the_keyboard_is_enough(app: str, new_page: NewPage, library: Searcher) -> None:
    page = new_page()
    page.goto(app)
    page.get_by_role("button", name=EXAMPLES[0]).focus()
    page.keyboard.press("Enter")
    expect_titles(page, found(library, EXAMPLES[0]))
    box(page).focus()
    page.keyboard.press("Control+A")
    page.keyboard.type(EXAMPLES[1])
    page.keyboard.press("Enter")
    expect_titles(page, found(library, EXAMPLES[1]))
    assert titles(page).first.inner_text() == "Attention Is All You Need"


@pytest.mark.parametrize("named", ["1706.03762", "https://arxiv.org/pdf/1706.03762v5", "1706.03762, 2305.14314"])
def test_ids_and_addresses_find_the_like_of_their_papers(app: str, new_page: NewPage, library: Searcher, named: str) -> None:
    page = new_page()
    page.goto(app)
    ask(page, named)
    expect_titles(page, found(library, named))
    assert titles(page).first.inner_text() == "Attention Is All You Need"


def test_ones_own_note_shows_under_the_paper_as_plain_text(app: str, new_page: NewPage) -> None:
    page = new_page()
    page.goto(search_url(app, q="1706.03762 2305.14314"))
    note = card(page, "QLoRA: Efficient Finetuning of Quantized LLMs").locator("blockquote")
    note.wait_for()
    text = " ".join(note.inner_text().split())
    assert "bookmarks.md A 65B model on one 48 GB card; see the code. The double quantisation saves less" in text


def test_long_lists_of_authors_are_cut_and_withdrawn_papers_marked(app: str, new_page: NewPage) -> None:
    page = new_page()
    page.goto(search_url(app, q="2103.00020 2307.00001"))
    clip = card(page, "Learning Transferable Visual Models From Natural Language Supervision")
    clip.wait_for()
    assert "Amanda Askell and 4 more" in clip.inner_text()
    assert "WITHDRAWN" not in clip.inner_text()
    assert "WITHDRAWN" in card(page, "A withdrawn study of memory in language models").inner_text()


def test_abstract_and_scores_are_a_click_away(app: str, new_page: NewPage, library: Searcher) -> None:
    hit = library.search(QUESTION)[0]
    page = new_page()
    page.goto(search_url(app, q=QUESTION))
    first = card(page, hit.paper.title)
    first.get_by_text("Abstract and scores").click()
    first.get_by_test_id("stExpanderDetails").get_by_text(hit.paper.abstract, exact=True).wait_for()
    for stage, score in hit.scores.items():
        assert re.search(rf"{stage} {score:.3f}"[:-1], first.inner_text())


def test_the_pages_of_an_answer_are_addresses_of_their_own(app: str, new_page: NewPage, library: Searcher) -> None:
    every = found(library, k=30)
    page = new_page()
    page.goto(search_url(app, q=QUESTION))
    expect_titles(page, every[:10])
    press(page.get_by_role("button", name="Page 2"))
    expect_titles(page, every[10:20])
    assert "page=2" in page.url
    press(page.get_by_role("button", name="Page 3"))
    expect_titles(page, every[20:30])
    page.go_back()
    expect_titles(page, every[10:20])
    other = new_page()
    other.goto(page.url)
    expect_titles(other, every[10:20])
    press(other.get_by_text("Has code"))  # another question begins with its first page
    expect_titles(other, found(library, filters=Filters(has_code=True)))
    page.goto(search_url(app, q=QUESTION, page="99"))
    expect_titles(page, every[20:30])


def test_the_matching_sentence_is_marked(app: str, new_page: NewPage, library: Searcher) -> None:
    hit = library.search(QUESTION)[0]
    assert hit.matched
    page = new_page()
    page.goto(search_url(app, q=QUESTION))
    first = card(page, hit.paper.title)
    expect(first.get_by_test_id("stMarkdownContainer").get_by_text(hit.matched, exact=True).first).to_be_visible()
    first.get_by_text("Abstract and scores").click()
    marks = first.locator(".stMarkdownColoredBackground")
    expect(marks).to_have_text([hit.matched, hit.matched])  # by itself, and within the abstract


def test_what_an_answer_consists_of_narrows_it(app: str, new_page: NewPage, library: Searcher) -> None:
    hits = library.search(QUESTION, 100)
    with_code = sum(1 for hit in hits if hit.code)
    page = new_page()
    page.goto(search_url(app, q=QUESTION))
    page.get_by_text("Among these 30").wait_for()
    page.get_by_role("radiogroup", name="Among these").or_(page.get_by_test_id("stButtonGroup")).first.wait_for()
    press(page.get_by_role("button", name=f"with code {with_code}").or_(page.get_by_role("radio", name=f"with code {with_code}")))
    expect_titles(page, found(library, filters=Filters(has_code=True)))
    assert "code=1" in page.url


# Filters ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "filters"),
    [
        ({"year": "2020..2022"}, Filters(years=(2020, 2022))),
        ({"year": "..2017"}, Filters(years=(None, 2017))),
        ({"category": ["cs.IR", "cs.CV"]}, Filters(("cs.IR", "cs.CV"))),
        ({"author": "mikolov"}, Filters(author="mikolov")),
        ({"code": "1"}, Filters(has_code=True)),
        ({"source": "notes"}, Filters(source="notes")),
        ({"code": "1", "category": ["cs.CL"], "year": "2019.."}, Filters(("cs.CL",), years=(2019, None), has_code=True)),
    ],
    ids=lambda value: "&".join(value) if isinstance(value, dict) else "",
)
def test_filters_give_what_the_library_gives(
    app: str, new_page: NewPage, library: Searcher, parameters: dict[str, Any], filters: Filters
) -> None:
    page = new_page()
    page.goto(search_url(app, q=QUESTION, **parameters))
    expected = found(library, filters=filters)
    assert expected != found(library)
    expect_titles(page, expected)


def test_filters_are_set_in_the_sidebar_and_cleared(app: str, new_page: NewPage, library: Searcher) -> None:
    page = new_page()
    page.goto(search_url(app, q=QUESTION))
    press(page.get_by_text("Has code"))
    expect_titles(page, found(library, filters=Filters(has_code=True)))
    press(page.get_by_text("With my notes"))
    expect_titles(page, found(library, filters=Filters(has_code=True, source="notes")))
    press(page.get_by_text("All", exact=True))
    expect_titles(page, found(library, filters=Filters(has_code=True)))
    enter(page.get_by_label("Author"), "Frantar")
    expect_titles(page, found(library, filters=Filters(has_code=True, author="Frantar")))
    press(page.get_by_role("button", name="Clear filters"))
    expect_titles(page, found(library))
    page.get_by_role("combobox", name="Categories").fill("cs.IR")
    press(page.get_by_role("option", name=re.compile(r"cs\.IR")))
    expect_titles(page, found(library, filters=Filters(categories=("cs.IR",))))
    page.keyboard.press("Escape")  # closes the list of categories
    page.get_by_role("slider").first.focus()
    page.keyboard.press("End")
    expect_titles(page, found(library, filters=Filters(categories=("cs.IR",), years=(2023, None))))
    page.get_by_text("Nothing passes these filters.").wait_for()


# Examples ---------------------------------------------------------------------------------------------------------------


def test_more_like_this_and_not_like_this(app: str, new_page: NewPage, library: Searcher) -> None:
    page = new_page()
    page.goto(search_url(app, q=QUESTION))
    press(card(page, "Scaling Laws for Neural Language Models").get_by_role("button", name="More like this"))
    like, text = ["arxiv:2001.08361"], QUESTION
    expect_titles(page, [hit.paper.title for hit in library.like(like, text=text)])
    chip = page.get_by_role("button", name="Like Scaling Laws for Neural Language Models")
    chip.wait_for()
    disliked = titles(page).first.inner_text()
    unlike = [hit.paper.id for hit in library.like(like, text=text)][:1]
    press(card(page, disliked).get_by_role("button", name="Not like this"))
    expect_titles(page, [hit.paper.title for hit in library.like(like, unlike, text)])
    press(chip)
    expect_titles(page, [hit.paper.title for hit in library.like([], unlike, text)])
    press(page.get_by_role("button", name=f"Not like {disliked}"))
    expect_titles(page, found(library))


def test_not_like_this_keeps_an_id_in_the_box_an_example(app: str, new_page: NewPage, library: Searcher) -> None:
    page = new_page()
    page.goto(search_url(app, q="1706.03762", not_="arxiv:1710.10903"))
    expect_titles(page, [hit.paper.title for hit in library.like(["1706.03762"], ["1710.10903"])])


# Addresses --------------------------------------------------------------------------------------------------------------


def test_a_shared_address_opens_the_same_search_elsewhere(app: str, new_page: NewPage) -> None:
    page = new_page()
    page.goto(app)
    ask(page, QUESTION)
    press(page.get_by_text("Has code"))
    page.wait_for_url("**code=1**")
    settled(page)
    press(card(page, "LoRA: Low-Rank Adaptation of Large Language Models").get_by_role("button", name="More like this"))
    page.wait_for_url("**like=**")
    page.get_by_role("button", name="Like LoRA").wait_for()
    settled(page)
    shown = titles(page).all_inner_texts()
    other = new_page()
    other.goto(page.url)
    expect_titles(other, shown)
    expect(box(other)).to_have_value(QUESTION)
    expect(other.get_by_role("switch", name="Has code")).to_be_checked()


def test_back_and_forward_go_through_the_searches(app: str, new_page: NewPage, library: Searcher) -> None:
    page = new_page()
    page.goto(app)
    ask(page, QUESTION)
    expect_titles(page, found(library))
    ask(page, "image generation")
    expect_titles(page, found(library, "image generation"))
    press(page.get_by_text("Has code"))
    expect_titles(page, found(library, "image generation", filters=Filters(has_code=True)))
    page.go_back()
    expect_titles(page, found(library, "image generation"))
    page.go_back()
    expect_titles(page, found(library))
    expect(box(page)).to_have_value(QUESTION)
    page.go_back()
    page.get_by_role("button", name=EXAMPLES[0]).wait_for()
    page.go_forward()
    page.go_forward()
    expect_titles(page, found(library, "image generation"))
    expect(box(page)).to_have_value("image generation")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"year": "lately"}, "'lately' is no range of years"),
        ({"source": "elsewhere"}, "There is no source 'elsewhere'"),
        ({"like": "arxiv:1001.0001"}, "arxiv:1001.0001 is not in the knowledge base"),
        ({"like": ":red[x] [y](https://example.org)"}, ":red[x] [y](https://example.org)"),
        ({"page": "many", "facet": "beauty"}, ""),
        ({"list": "Nowhere"}, "There is no list 'Nowhere'"),
    ],
)
def test_a_wrong_address_is_told_plainly(
    app: str, new_page: NewPage, library: Searcher, parameters: dict[str, Any], message: str
) -> None:
    page = new_page()
    page.goto(search_url(app, q=QUESTION, **parameters))
    if not message:
        expect_titles(page, found(library))
        return
    alert = page.get_by_role("alert")
    alert.wait_for()
    assert message in alert.inner_text().replace("\N{WORD JOINER}", "")
    assert page.get_by_text("Traceback").count() == 0


# The knowledge base changes ---------------------------------------------------------------------------------------------


def test_a_new_generation_is_picked_up_while_the_page_is_open(
    own: Home, serve: Serve, new_page: NewPage, tmp_path: Path, encoder: Encoder
) -> None:
    page = new_page()
    page.goto(search_url(serve(own), q="1706.03762"))
    page.get_by_text("30 papers · 3 notes").wait_for()
    added = (
        "2401.04088",
        "Mixtral of Experts",
        "Albert Q. Jiang",
        "cs.LG",
        "",
        "A sparse mixture of eight experts for language.",
    )
    run_snapshot(own, [write_papers(tmp_path / "more.jsonl", (added,))])
    press(page.get_by_text("Has code"))
    page.get_by_text("31 papers · 3 notes").wait_for()
    page.get_by_text("1 paper not embedded yet").wait_for()
    run_index(own, encoder)
    press(page.get_by_text("Has code"))
    page.get_by_text("not embedded yet").wait_for(state="detached")
    ask(page, "Mixtral of Experts")
    titles(page).filter(has_text="Mixtral of Experts").wait_for()
    assert titles(page).first.inner_text() == "Mixtral of Experts"


def test_searches_go_on_while_ingests_publish(
    own: Home, serve: Serve, new_page: NewPage, library: Searcher, write_snapshot: Callable[..., Path]
) -> None:
    best = {text: found(library, text)[0] for text in (QUESTION, "Attention Is All You Need")}
    page = new_page()
    page.goto(serve(own))
    snapshots = [write_snapshot([numbered(n) for n in range(i, 60, 2)], f"{i}.jsonl") for i in range(2)]
    ingests = Background(own)
    ingests.start("Ingests", [["ingest", "snapshot", str(path)] for path in snapshots])
    before = own.current_name()
    for text in cycle(best):
        ask(page, text)
        expect(titles(page).first).to_have_text(best[text])
        expect(titles(page)).to_have_count(10)
        settled(page)
        assert page.locator("[data-testid=stAlertContentError], [data-testid=stException]").count() == 0
        if not ingests.running():
            break
    assert own.current_name() != before
    ask(page, numbered(59)["title"])
    page.get_by_text("90 papers · 3 notes").wait_for()
    expect(titles(page).first).to_have_text(numbered(59)["title"])


def test_a_large_knowledge_base(new_page: NewPage, tmp_path: Path, encoder: Encoder) -> None:
    """Every page over one that is named by its folder, which is read only."""
    if "KB_TEST_LARGE_HOME" not in os.environ:
        pytest.skip("set KB_TEST_LARGE_HOME to the folder of an indexed knowledge base, a large one")
    home = Home(Path(os.environ["KB_TEST_LARGE_HOME"]))
    with Searcher.open(home, encoder) as large:
        manifest = large.generation.manifest
        answers = found(large, k=20), found(large, filters=Filters(has_code=True))
    every, with_code = ([title.replace("--", "-\N{WORD JOINER}-") for title in answer] for answer in answers)
    with served(home, tmp_path / "app.log", "--no-browser", "--read-only") as address:
        page = new_page()
        page.goto(search_url(address, q=QUESTION))
        page.get_by_text(f"{manifest.papers:,} papers").wait_for()
        expect_titles(page, every[:10])
        press(page.get_by_role("button", name="Page 2"))
        expect_titles(page, every[10:])
        press(page.get_by_text("Has code"))
        expect_titles(page, with_code)
        titles(page).first.click()
        page.get_by_role("heading", name="Like this").wait_for()
        page.goto(f"{address}/map")
        drawn = "async root => { while (!root.paperMap?.plot) await new Promise(requestAnimationFrame); "
        assert page.locator(".map").evaluate(drawn + "return root.paperMap.plot.n }") == manifest.embedded
        for name, part in (("trends", "Rising in titles"), ("digest", "More on trends"), ("ingest", "Last runs")):
            page.goto(f"{address}/{name}")
            page.get_by_text(part).wait_for()
            settled(page)
            assert page.locator("[data-testid=stAlertContentError], [data-testid=stException]").count() == 0


@pytest.mark.parametrize("cut", [True, False], ids=["truncated", "overwritten"])
def test_a_damaged_index_is_told_with_its_remedy(own: Home, serve: Serve, new_page: NewPage, cut: bool) -> None:
    path = own.generations / own.current_name() / DENSE_FILE
    size = path.stat().st_size
    path.unlink()  # the generation before has the same file
    path.write_bytes(b"\0" * (size // 2 if cut else size))
    page = new_page()
    page.goto(search_url(serve(own), q="1706.03762"))
    alert = page.get_by_role("alert")
    alert.wait_for()
    assert DENSE_FILE in alert.inner_text()
    assert alert.locator("code").inner_text() == "kb index"
    assert page.get_by_text("Traceback").count() == 0


# What others wrote -------------------------------------------------------------------------------------------------------

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
        paper["categories"] = "cs.CL <b>x</b> :smile: [x](javascript:alert(1))"
        paper["journal-ref"] = text
        records.append(paper)
        notes.append(f"- [A paper {i}](https://arxiv.org/abs/2301.{i + 1:05d}): {text}\n")
    (folder / "papers.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
    source = folder / "**notes** :smile: [x](y).md"
    source.write_text("\n".join(notes), encoding="utf-8")
    home = Home(folder / "kb")
    run_snapshot(home, [folder / "papers.jsonl"])
    run_notes(home, [source])
    run_index(home, encoder)
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
    own = f"{hostile}/paper\\?id=arxiv%3A2301|https://arxiv\\.org/abs/2301\\.|https://github\\.com/evil/repo"
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
    page.get_by_role("heading", name="Notes").wait_for()
    settled(page)
    main = page.get_by_test_id("stMainBlockContainer")
    assert plain(main.locator("h3").inner_text()) == visible(HOSTILE[number])
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
    expect(page.locator(".st-key-entries [class*=st-key-title-]")).to_have_count(13)
    settled(page)
    assert plain(page.locator("h3").inner_text()) == names[1]
    expect_harmless(page)
    press(page.locator(".st-key-entries").get_by_role("button", name="Remove").first)
    page.get_by_role("button", name="Undo: 1 taken off").wait_for()
    page.get_by_role("combobox", name="Reading list").click()
    page.get_by_role("option").nth(len(names) - 1).wait_for()
    expect_harmless(page)
    for text in (HOSTILE[0], HOSTILE[2], HOSTILE[10]):
        page.goto(f"{hostile}/lists?{urlencode({'name': text + '?'})}")
        page.get_by_text("any more.").wait_for()
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
    expect(box(page)).to_have_value(text)
    assert page.locator("section img, section script").count() == 0
    assert page.locator("a[href^=javascript]").count() == 0


def test_mathematics_is_set_and_prices_are_not(
    own: Home, serve: Serve, new_page: NewPage, tmp_path: Path, encoder: Encoder
) -> None:
    title = r"Sorting in $O(n \log n)$ for $5 and $10 on $[0,1)$"
    paper = ("2301.00001", title, "Ada Beispiel", "cs.DS", "", r"Points of $\mathbb{R}^n$ and $\unknown{x}$.")
    run_snapshot(own, [write_papers(tmp_path / "maths.jsonl", (paper,))])
    run_index(own, encoder)
    page = new_page()
    page.goto(search_url(serve(own), q="2301.00001"))
    first = titles(page).first
    expect(first.locator(".katex")).to_have_count(2)
    expect(page.get_by_role("link", name="arXiv:2301.00001")).to_have_attribute("href", "https://arxiv.org/abs/2301.00001")
    assert "for $5 and $10 on" in first.inner_text()
    abstract = page.locator("[data-testid=stExpanderDetails] [data-testid=stMarkdownContainer]").first
    expect(abstract.locator(".katex")).to_have_count(1)
    assert r"and $\unknown{x}$." in (abstract.text_content() or "")


# Sizes and themes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [400, 1600])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_and_follows_the_theme(app: str, new_page: NewPage, width: int, scheme: str) -> None:
    page = new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.goto(search_url(app, q="1706.03762", like="arxiv:2305.14314", code="1"))
    titles(page).first.wait_for()
    settled(page)
    wide: int = page.evaluate(
        "Math.max(...[...document.querySelectorAll('.st-key-hits *')].map(e => e.getBoundingClientRect().right))"
    )
    assert wide <= width
    background: str = page.evaluate("getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor")
    red = int(re.findall(r"\d+", background)[0])
    assert (red > 200) == (scheme == "light")


def test_a_first_start_opens_the_page_and_asks_nothing(home: Home, tmp_path: Path) -> None:
    """Streamlit by itself asks a user without its credentials file for an e-mail address, and waits for an answer."""
    opened = tmp_path / "opened"
    with served(home, tmp_path / "app.log", HOME=str(tmp_path), BROWSER=f"sh -c 'echo $0 > {opened}' %s") as address:
        while not opened.is_file() or not opened.read_text():
            time.sleep(0.05)
        assert opened.read_text().strip() == address
