"""The app's search page in a real browser, over a real knowledge base with the real model."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from browser import NewPage, Serve, answered, card, enter, expect_titles, press, search_url, served, settled, titles, write_papers
from conftest import record as numbered
from playwright.sync_api import Locator, Page, expect
from thirty_papers import QLORA_CODE

from app.views.search import EXAMPLES
from ingest.jobs.run import run_index, run_snapshot
from kb.encode.encoder import Encoder
from kb.index.build import build_indexes
from kb.index.dense import DENSE_FILE
from kb.jobs.background import Background
from kb.papers import CodeLink
from kb.search.searcher import Searcher
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


def test_operators_narrow_the_query_and_are_told_in_words(app: str, new_page: NewPage, library: Searcher) -> None:
    page = new_page()
    query = 'language models -"fine-tuning" year:2017.. author:*Vaswani*'
    page.goto(app)
    ask(page, query)
    expect_titles(page, found(library, query))
    assert [title.inner_text() for title in titles(page).all()] == ["Attention Is All You Need"]
    page.get_by_text("Understood as: without “fine-tuning” · author *Vaswani* · years 2017–").wait_for()
    ask(page, "language models")
    expect_titles(page, found(library, "language models"))
    assert not page.get_by_text("Understood as").count()


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
    assert " and 7 more" in clip.inner_text()
    assert "WITHDRAWN" not in clip.inner_text()
    assert "WITHDRAWN" in card(page, "A withdrawn study of memory in language models").inner_text()


def test_abstract_and_scores_are_a_click_away(app: str, new_page: NewPage, library: Searcher) -> None:
    hit = library.search(QUESTION)[0]
    page = new_page()
    page.goto(search_url(app, q=QUESTION))
    first = card(page, hit.paper.title)
    first.get_by_text("Abstract", exact=True).click()
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
    first = page.locator(".st-key-hits").get_by_role("link").first
    expect(first).to_be_focused()
    expect(first).to_be_in_viewport()
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
    expect(first.locator("p").filter(has_text=hit.matched).first).to_be_visible()
    first.get_by_text("Abstract", exact=True).click()
    marks = first.locator(".stMarkdownColoredBackground")
    expect(marks).to_have_text([hit.matched])
    quoted = first.locator("p").filter(has_text=hit.matched).locator("strong").all_inner_texts()
    assert quoted  # the part of the query that it has


def test_what_an_answer_consists_of_narrows_it(app: str, new_page: NewPage, library: Searcher) -> None:
    hits = library.search(QUESTION, 100)
    with_code = sum(1 for hit in hits if hit.code)
    page = new_page()
    page.goto(search_url(app, q=QUESTION))
    press(page.get_by_role("button", name=f"with code {with_code}").or_(page.get_by_role("radio", name=f"with code {with_code}")))
    expect_titles(page, found(library, filters=Filters(has_code=True)))
    assert "code=1" in page.url


def test_the_keyboard_leads_into_a_drawer_and_back(app: str, new_page: NewPage) -> None:
    page = new_page()
    page.goto(search_url(app, q="1706.03762"))
    hit = card(page, "Attention Is All You Need")
    button, drawer = hit.get_by_role("button", name="Add to list"), page.get_by_test_id("stPopoverBody")
    field = drawer.get_by_role("textbox", name="New list")

    def open_drawer() -> None:
        button.focus()
        with answered(page):
            page.keyboard.press("Enter")
        field.wait_for()

    open_drawer()
    page.keyboard.press("Tab")
    expect(field).to_be_focused()
    page.keyboard.press("Shift+Tab")
    expect(button).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(hit.get_by_role("button", name="Cite")).to_be_focused()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Tab")
    expect(field).to_be_focused()
    with answered(page):
        page.keyboard.press("Escape")
    expect(drawer).to_have_count(0)
    expect(button).to_be_focused()


def test_code_is_shown_with_its_stars_and_where_it_is_known_from(own: Home, serve: Serve, new_page: NewPage) -> None:
    starred = CodeLink("https://github.com/lab/own", "huggingface", True, 1234, 0.95, "its page on Hugging Face names it")
    with own.draft() as draft:
        draft.catalogue.add_code_links([("arxiv:1706.03762", starred)])
        build_indexes(draft)
        draft.publish()
    page = new_page()
    address = serve(own)
    page.goto(search_url(address, q="1706.03762 2305.14314"))
    badges = card(page, "Attention Is All You Need").locator(".stMarkdownBadge")
    expect(badges.filter(has_text="lab/own")).to_contain_text("lab/own ★ 1,234 · official")
    without = card(page, "QLoRA: Efficient Finetuning of Quantized LLMs").locator(".stMarkdownBadge").filter(has_text="qlora")
    expect(without).not_to_contain_text("★")  # nobody has counted
    page.goto(f"{address}/paper?id=1706.03762")
    shown = page.get_by_test_id("stMarkdownContainer").filter(has=page.get_by_role("link", name="github.com/lab/own", exact=True))
    expect(shown).to_contain_text("★ 1,234")
    expect(shown).to_contain_text("named by Hugging Face Papers · the authors' own · 95% sure")


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
    press(card(page, "Scaling Laws for Neural Language Models").get_by_role("link", name="More like this"))
    like, text = ["arxiv:2001.08361"], QUESTION
    expect_titles(page, [hit.paper.title for hit in library.like(like, text=text)])
    chip = page.get_by_role("button", name="Like Scaling Laws for Neural Language Models")
    chip.wait_for()
    disliked = titles(page).first.inner_text()
    unlike = [hit.paper.id for hit in library.like(like, text=text)][:1]
    press(card(page, disliked).get_by_role("link", name="Not like this"))
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
    press(card(page, "LoRA: Low-Rank Adaptation of Large Language Models").get_by_role("link", name="More like this"))
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
        ({"q": "9999.99999"}, "There is no such paper: '9999.99999' has the form of an arXiv identifier but cannot exist"),
        ({"q": "2401.99998"}, "arxiv:2401.99998 is not in the knowledge base. Fetch it: kb ingest arxiv --id 2401.99998."),
        ({"list": "Nowhere"}, "There is no list 'Nowhere'"),
    ],
)
def test_a_wrong_address_is_told_plainly(
    app: str, new_page: NewPage, library: Searcher, parameters: dict[str, Any], message: str
) -> None:
    page = new_page()
    page.goto(search_url(app, **{"q": QUESTION} | parameters))
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
        page.get_by_role("heading", name="Near in the knowledge base").wait_for()
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
    formula = first.locator(".katex").first.bounding_box()
    assert formula is not None
    assert formula["width"] > 3 * formula["height"]  # in one line, not letter under letter
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
    actions = page.locator(".st-key-hits [class*=st-key-actions-]").first
    places = [
        place
        for each in [*actions.get_by_role("button").all(), *actions.get_by_role("link").all()]
        if (place := each.bounding_box())
    ]
    assert len(places) == 4
    assert len({round(place["y"] / 10) for place in places}) == (1 if width == 1600 else 2)  # rows
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
