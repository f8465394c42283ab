"""The page of one paper in a real browser: all that is known of it, and the ways there and back."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from urllib.parse import urlencode

import pytest
from browser import NewPage, card, enter, press, record, search_url, served, settled, titles
from playwright.sync_api import Locator, Page, expect
from thirty_papers import QLORA_CODE

from ingest.jobs.run import run_index, run_notes, run_snapshot
from kb.encode.encoder import Encoder
from kb.library import LIBRARY_FILE, Entry, Library
from kb.search.explain import explain
from kb.search.searcher import Searcher, find_paper
from kb.store import Home

MIXTRAL = "arxiv:2401.04088"
NOTE = r"""# Reading

## [Mixtral of Experts](https://arxiv.org/abs/2401.04088)

A **sparse** mixture with $O(n^2)$ attention; *two* of eight experts run, after [QLoRA](https://arxiv.org/abs/2305.14314).

![The router](https://evil.example/router.png) <img src="https://evil.example/x.png" alt="experts">

- the code: [mistral-inference](https://github.com/mistralai/mistral-inference)
- a page: [announcement](https://mistral.ai/news/mixtral-of-experts)

| size | score |
| --- | --- |
| 8x7B | 70.6 |
"""


@pytest.fixture(scope="module")
def rich(built: Home, tmp_path_factory: pytest.TempPathFactory, encoder: Encoder) -> Home:
    """The thirty papers, and one with three versions, whose abstract changed, with a note that has all that Markdown has."""
    folder = tmp_path_factory.mktemp("rich")
    home = Home(folder / "kb")
    shutil.copytree(built.path, home.path)
    row = ("2401.04088", "Mixtral of Experts", "Albert Q. Jiang", "cs.LG cs.CL", "", "Eight experts share a small router.")
    paper = record(*row)
    later = paper | {
        "abstract": "Eight experts share a learned router. Two of them run.",
        "versions": [{"version": f"v{n}", "created": f"Mon, {n} Jan 2024 10:00:00 GMT"} for n in (1, 2, 3)],
    }
    for n, version in enumerate((paper, later)):
        (folder / f"{n}.jsonl").write_text(json.dumps(version), encoding="utf-8")
        run_snapshot(home, [folder / f"{n}.jsonl"])
    (folder / "reading.md").write_text(NOTE, encoding="utf-8")
    run_notes(home, [folder / "reading.md"])
    run_index(home, encoder)
    return home


@pytest.fixture(scope="module")
def app(rich: Home) -> Iterator[str]:
    with served(rich, rich.path.parent / "app.log", "--no-browser") as address:
        yield address


def paper_url(address: str, identifier: str) -> str:
    return f"{address}/paper?{urlencode({'id': identifier})}"


def main(page: Page) -> Locator:
    return page.get_by_test_id("stMainBlockContainer")


def test_all_that_is_known_of_a_paper(app: str, rich: Home, new_page: NewPage, encoder: Encoder) -> None:
    page = new_page()
    page.goto(paper_url(app, MIXTRAL))
    page.get_by_role("heading", name="Like this").wait_for()
    settled(page)
    shown = main(page).inner_text()
    assert "Albert Q. Jiang" in shown
    assert "1 Jan 2024 · cs.LG cs.CL · arXiv:2401.04088" in shown
    assert "Eight experts share a learned router. Two of them run." in shown
    places = {a.inner_text(): a.get_attribute("href") for a in main(page).get_by_role("link").all()}
    assert places["arXiv"] == "https://arxiv.org/abs/2401.04088"
    assert places["OpenReview"] == "https://openreview.net/search?term=Mixtral+of+Experts&content=title"
    assert places["Semantic Scholar"] == "https://api.semanticscholar.org/arXiv:2401.04088"
    assert places["Hugging Face"] == "https://huggingface.co/papers/2401.04088"
    assert places["github.com/mistralai/mistral-inference"] == "https://github.com/mistralai/mistral-inference"
    assert "named in your notes · 80% sure · the note labels it as code" in shown
    assert "v1 1 Jan 2024 → v2 2 Jan 2024 → v3 3 Jan 2024" in shown
    with Searcher.open(rich, encoder) as searcher:
        near = [evidence.paper.title for evidence in explain(searcher, MIXTRAL)]
        neighbours = [hit.paper.title for hit in searcher.like([MIXTRAL], k=10) if hit.paper.title not in near][:5]
    above = shown[shown.index("Near in the knowledge base") : shown.index("Like this")]
    assert [above.index(title) for title in near] == sorted(above.index(title) for title in near)
    below = shown[shown.index("Like this") :]
    assert [below.index(title) for title in neighbours] == sorted(below.index(title) for title in neighbours)
    assert not [title for title in near if title in below]


def test_a_note_keeps_its_form_and_loses_its_pictures(app: str, new_page: NewPage) -> None:
    page = new_page()
    page.goto(paper_url(app, MIXTRAL))
    page.get_by_role("heading", name="Notes", exact=True).wait_for()
    note = main(page).locator("[data-testid=stVerticalBlock]").filter(has_text="reading.md").last
    expect(note.locator("strong", has_text="sparse")).to_be_visible()
    expect(note.locator("em", has_text="two")).to_be_visible()
    expect(note.locator(".katex")).to_have_count(1)
    expect(note.locator("li")).to_have_count(2)
    expect(note.locator("table td")).to_have_text(["8x7B", "70.6"])
    assert "picture left out: The router" in note.inner_text()
    assert "picture left out: experts" in note.inner_text()
    assert main(page).locator("img:not([data-testid])").count() == 0


def test_what_changed_between_versions(app: str, new_page: NewPage) -> None:
    page = new_page()
    page.goto(paper_url(app, MIXTRAL))
    change = main(page).get_by_test_id("stExpander").filter(has_text="Abstract from v1 to v3")
    change.locator("summary").click()
    expect(change.locator("del")).to_have_text("small")
    expect(change.locator(".stMarkdownColoredBackground")).to_have_text(["learned", "Two of them run."])


def test_mentions_lead_both_ways(app: str, new_page: NewPage) -> None:
    page = new_page()
    page.goto(paper_url(app, MIXTRAL))
    page.get_by_role("heading", name="Named in the notes").wait_for()
    mention = main(page).locator("li").filter(has_text="QLoRA")
    press(mention.get_by_role("link", name="QLoRA"))
    page.get_by_role("heading", name="Named in notes on other papers").wait_for()
    assert re.search(r"Mixtral of Experts\s+reading\.md, line \d+", main(page).inner_text())
    assert QLORA_CODE.removeprefix("https://") in main(page).inner_text()


@pytest.mark.parametrize("name", ["1706.03762", "arXiv:1706.03762v5", "https://arxiv.org/pdf/1706.03762v5"])
def test_a_shared_address_opens_fresh_by_any_name(app: str, new_page: NewPage, name: str) -> None:
    page = new_page()
    page.goto(paper_url(app, name))
    page.get_by_role("heading", name="Attention Is All You Need").wait_for()


def test_there_and_back(app: str, new_page: NewPage) -> None:
    page = new_page()
    page.goto(search_url(app, q="image generation"))
    expect(titles(page)).to_have_count(10)
    settled(page)
    before = titles(page).all_inner_texts()
    card(page, before[0]).get_by_role("link", name=before[0]).click()
    page.get_by_role("heading", name=before[0]).wait_for()
    assert "/paper?id=" in page.url
    page.go_back()
    expect(titles(page)).to_have_text(before)
    page.go_forward()
    page.get_by_role("heading", name=before[0]).wait_for()
    page.get_by_role("link", name="More like this").click()
    page.get_by_role("button", name=f"Like {before[0]}"[:40]).wait_for()
    titles(page).first.wait_for()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("2401.99998", "is not in the knowledge base"),
        ("1711.0093", "has the form of an arXiv identifier but cannot exist"),
        ("<script>alert(1)</script>", "is no arXiv identifier"),
        ("", "Choose a paper on the search page"),
    ],
)
def test_a_paper_that_is_none_is_told_and_another_asked_for(app: str, new_page: NewPage, name: str, message: str) -> None:
    page = new_page()
    page.goto(paper_url(app, name))
    expect(page.get_by_test_id("stAlert")).to_contain_text(message)
    expect(page.get_by_role("button", name="Fetch it from arXiv")).to_have_count(1 if name == "2401.99998" else 0)
    enter(page.get_by_role("textbox", name="Paper"), MIXTRAL)
    page.get_by_role("heading", name="Mixtral of Experts").wait_for()


def test_a_paper_is_put_on_lists_and_taken_off(app: str, rich: Home, new_page: NewPage) -> None:
    library = Library(rich.path / LIBRARY_FILE)
    library.create("Experts")
    page = new_page()
    page.goto(paper_url(app, MIXTRAL))
    press(page.get_by_role("button", name="Add to list"))
    drawer = page.get_by_test_id("stPopoverBody")
    press(drawer.get_by_text("Experts", exact=True))
    page.get_by_text("on Experts", exact=False).wait_for()
    enter(drawer.get_by_label("New list"), "Sparse")
    page.get_by_text("on 2 lists", exact=False).wait_for()
    assert library.lists_with([MIXTRAL]) == ["Experts", "Sparse"]
    with Searcher.open(rich) as searcher:
        assert library.read_list("Sparse").entries[0].authors == find_paper(searcher.catalogue, MIXTRAL).paper.authors
    enter(drawer.get_by_label("New list"), "sparse")
    expect(drawer.get_by_role("alert")).to_contain_text("There is a list 'sparse' already")
    press(drawer.get_by_text("Experts", exact=True))
    page.get_by_text("on Sparse", exact=False).wait_for()
    assert library.lists_with([MIXTRAL]) == ["Sparse"]
    library.add("Experts", [Entry(MIXTRAL, "Mixtral of Experts")])  # somebody else, in the meantime
    page.reload()
    page.get_by_text("on 2 lists", exact=False).wait_for()


def test_its_bibtex_is_there_to_be_copied(app: str, new_page: NewPage) -> None:
    page = new_page()
    page.goto(paper_url(app, "1706.03762"))
    press(page.get_by_role("button", name="Cite"))
    code = page.get_by_test_id("stPopoverBody").get_by_test_id("stCode")
    expect(code).to_contain_text("@misc{vaswani2017attention,")
    assert "eprint = {1706.03762v1}" in code.inner_text()


@pytest.mark.parametrize("width", [400, 1600])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits(app: str, new_page: NewPage, width: int, scheme: str) -> None:
    page = new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.goto(paper_url(app, MIXTRAL))
    page.get_by_role("heading", name="Like this").wait_for()
    settled(page)
    wide: int = page.evaluate(
        "Math.max(...[...document.querySelectorAll('[data-testid=stMainBlockContainer] *')]"
        ".map(e => e.getBoundingClientRect().right))"
    )
    assert wide <= width
