"""The reading lists' page in a real browser, beside the command line and a second tab."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlencode

import pytest
from browser import NewPage, Serve, card, enter, press, search_url, served, settled
from playwright.sync_api import Locator, Page, expect

from app.views.lists import _FORMATS
from kb.formats import WRITERS, references_of
from kb.library import LIBRARY_FILE, Choices, Entry, Library, resolve_entries
from kb.store import Home

from thirty_papers import PAPERS  # isort: skip

QLORA, LORA, BERT = "arxiv:2305.14314", "arxiv:2106.09685", "arxiv:1810.04805"
BIBTEX = """
@misc{mine, title = {LoRA: Low-Rank Adaptation of Large Language Models}, eprint = {2106.09685}, archiveprefix = {arXiv}}
@book{tome, title = {A Book of One's Own}, author = {Beispiel, Ada}, year = {2020}}
@misc{bad, author = {Nobody}}
"""


@pytest.fixture(scope="module")
def shelf(built: Home, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """The thirty papers, to make lists of; every test takes a list of its own."""
    home = Home(tmp_path_factory.mktemp("shelf") / "kb")
    shutil.copytree(built.path, home.path)
    return home


@pytest.fixture(scope="module")
def app(shelf: Home) -> Iterator[str]:
    with served(shelf, shelf.path.parent / "app.log", "--no-browser") as address:
        yield address


@pytest.fixture
def library(shelf: Home) -> Library:
    return Library(shelf.path / LIBRARY_FILE)


def make(shelf: Home, library: Library, name: str, *ids: str) -> None:
    generation = shelf.open()
    try:
        library.create(name)
        library.add(name, resolve_entries([Entry(identifier, "") for identifier in ids], generation.catalogue))
    finally:
        generation.close()


def ids(library: Library, name: str) -> list[str]:
    return [entry.paper_id for entry in library.read_list(name).entries]


def list_url(address: str, name: str) -> str:
    return f"{address}/lists?{urlencode({'name': name})}"


def entries(page: Page) -> Locator:
    return page.locator(".st-key-entries a[href^='paper?'] strong")


def entry(page: Page, title: str) -> Locator:
    return page.locator(".st-key-entries > [data-testid=stLayoutWrapper]").filter(has_text=title)


def test_a_list_is_made_and_filled_from_a_search(app: str, library: Library, new_page: NewPage) -> None:
    page = new_page()
    page.goto(f"{app}/lists")
    page.get_by_role("button", name="New list").click()
    enter(page.get_by_label("Name"), "From scratch")
    page.get_by_role("heading", name="From scratch").wait_for()
    assert "name=From+scratch" in page.url
    page.get_by_text("This list is empty.").wait_for()
    page.goto(search_url(app, q="2305.14314"))
    hit = card(page, "QLoRA: Efficient Finetuning of Quantized LLMs")
    press(hit.get_by_role("button", name="Add to list"))
    press(page.get_by_test_id("stPopoverBody").get_by_text("From scratch", exact=True))
    hit.get_by_text("on From scratch", exact=False).wait_for()
    assert ids(library, "From scratch") == [QLORA]
    page.goto(search_url(app, q="language model", list="From scratch"))
    page.get_by_text("QLoRA: Efficient").first.wait_for()
    expect(page.locator(".st-key-hits > [data-testid=stLayoutWrapper]")).to_have_count(1)


def test_order_remark_tags_and_what_was_read(app: str, shelf: Home, library: Library, new_page: NewPage) -> None:
    make(shelf, library, "Order", QLORA, LORA, BERT)
    page = new_page()
    page.goto(list_url(app, "Order"))
    press(entry(page, "QLoRA").get_by_role("button", name="Down"))
    expect(entries(page).first).to_contain_text("LoRA: Low-Rank")
    assert ids(library, "Order") == [LORA, QLORA, BERT]
    press(entry(page, "BERT").get_by_role("button", name="Up"))
    expect(entries(page).nth(1)).to_contain_text("BERT")
    press(entry(page, "QLoRA").get_by_text("Read", exact=True))
    page.get_by_text("2 unread").wait_for()
    press(entry(page, "QLoRA").get_by_role("button", name="Edit"))
    form = page.get_by_test_id("stPopoverBody")
    form.get_by_label("Remark").fill("See **section 3**: $r = 8$")
    form.get_by_label("Tags").fill("#lora, classic")
    form.get_by_label("Place").fill("1")
    press(form.get_by_role("button", name="Save"))
    expect(form).to_have_count(0)
    expect(entries(page).first).to_contain_text("QLoRA")
    expect(entry(page, "QLoRA").locator("strong", has_text="section 3")).to_be_visible()
    expect(entry(page, "QLoRA").locator(".katex")).to_have_count(1)
    first = library.read_list("Order").entries[0]
    assert (first.remark, first.tags, first.read is None) == ("See **section 3**: $r = 8$", ("classic", "lora"), False)
    assert ids(library, "Order") == [QLORA, LORA, BERT]


def test_the_second_page_of_a_long_list_begins_with_its_first_paper(
    app: str, shelf: Home, library: Library, new_page: NewPage
) -> None:
    make(shelf, library, "Long", *(f"arxiv:{paper[0]}" for paper in PAPERS[:25]))
    page = new_page(viewport={"width": 1280, "height": 700})
    page.goto(list_url(app, "Long"))
    expect(entries(page)).to_have_count(20)
    press(page.get_by_role("button", name="Page 2", exact=True))
    expect(entries(page)).to_have_count(5)
    first = page.locator(".st-key-entries").get_by_role("link").first
    expect(first).to_contain_text(PAPERS[20][1])
    expect(first).to_be_focused()
    expect(first).to_be_in_viewport()
    library.delete("Long")


def test_removed_renamed_deleted_and_brought_back(app: str, shelf: Home, library: Library, new_page: NewPage) -> None:
    make(shelf, library, "Fleeting", QLORA, BERT)
    page = new_page()
    page.goto(list_url(app, "Fleeting"))
    press(entry(page, "QLoRA").get_by_role("button", name="Remove"))
    expect(entries(page)).to_have_count(1)
    press(page.get_by_role("button", name="Undo: took off ‘QLoRA: Efficient Finetuning of Quantized LLMs’"))
    expect(entries(page)).to_have_count(2)
    assert ids(library, "Fleeting") == [QLORA, BERT]
    page.get_by_role("button", name="Rename").click()
    enter(page.get_by_label("New name"), "Lasting")
    page.get_by_role("heading", name="Lasting").wait_for()
    assert "name=Lasting" in page.url
    press(page.get_by_role("button", name="Delete list"))
    page.get_by_role("button", name="Undo: list 'Lasting' deleted").wait_for()
    page.get_by_text("There is no list “Lasting” any more.").wait_for()
    press(page.get_by_role("button", name="Undo: list 'Lasting' deleted"))
    page.get_by_role("heading", name="Lasting").wait_for()
    expect(entries(page)).to_have_count(2)


def test_every_format_is_downloaded_as_the_library_writes_it(app: str, shelf: Home, library: Library, new_page: NewPage) -> None:
    make(shelf, library, "To go: a/b", QLORA, BERT)
    assert list(_FORMATS) == list(WRITERS)
    page = new_page(accept_downloads=True)
    page.goto(list_url(app, "To go: a/b"))
    press(page.get_by_role("button", name="Export"))
    generation = shelf.open()
    try:
        references = references_of(library.read_list("To go: a/b"), generation.catalogue, Choices(shelf.path / LIBRARY_FILE))
    finally:
        generation.close()
    for form, (label, ending, _) in _FORMATS.items():
        with page.expect_download() as download:
            page.get_by_test_id("stPopoverBody").get_by_role("button", name=label, exact=True).click()
        assert download.value.suggested_filename == f"To-go-a-b.{ending}"
        assert Path(download.value.path()).read_bytes() == WRITERS[form]("To go: a/b", references).encode()


def test_a_bibliography_is_imported(app: str, library: Library, new_page: NewPage) -> None:
    library.create("Imports")
    page = new_page()
    page.goto(list_url(app, "Imports"))
    page.get_by_role("button", name="Import").click()
    form = page.get_by_test_id("stPopoverBody")
    file = form.locator("input[type=file]")
    file.set_input_files({"name": "<b>z</b>.bib", "mimeType": "text/plain", "buffer": BIBTEX.encode()})
    form.get_by_text("<b>z</b>.bib").wait_for()
    press(form.get_by_role("button", name="Import"))
    page.get_by_text("2 papers added, 1 skipped.").wait_for()
    assert "line 4" in page.get_by_test_id("stAlert").inner_text()
    expect(entries(page)).to_have_text(["LoRA: Low-Rank Adaptation of Large Language Models", "A Book of One's Own"])
    assert ids(library, "Imports")[0] == LORA
    page.get_by_role("button", name="Import").click()
    file.set_input_files({"name": "x.pdf", "mimeType": "text/plain", "buffer": b"%PDF-1.7"})
    form.get_by_text("x.pdf").wait_for()
    press(form.get_by_role("button", name="Import"))
    page.get_by_text("x.pdf is neither BibTeX nor RIS nor CSL-JSON").wait_for()


def test_two_tabs_and_the_command_line_change_one_list(app: str, shelf: Home, library: Library, new_page: NewPage) -> None:
    make(shelf, library, "Shared", QLORA)
    one, two = new_page(), new_page()
    for page in (one, two):
        page.goto(list_url(app, "Shared"))
        expect(entries(page)).to_have_count(1)
    command = [sys.executable, "-c", "from kb.cli import main; main()", "--home", str(shelf.path), "list", "add", "Shared", BERT]
    subprocess.run(command, check=True, capture_output=True)
    press(entry(one, "QLoRA").get_by_text("Read", exact=True))
    expect(entries(one)).to_have_count(2)
    press(entry(two, "QLoRA").get_by_role("button", name="Remove"))  # was drawn before the others' changes
    expect(entries(two)).to_have_count(1)
    assert ids(library, "Shared") == [BERT]
    library.undo()
    assert [e.read is not None for e in library.read_list("Shared").entries] == [True, False]
    library.delete("Shared")
    press(entry(one, "BERT").get_by_role("button", name="Remove"))
    one.get_by_text("There is no list 'Shared'").wait_for()


def test_recommendations_are_added_or_dismissed(own: Home, serve: Serve, new_page: NewPage) -> None:
    """In a knowledge base of its own: what stands on any list is recommended for none."""
    library = Library(own.path / LIBRARY_FILE)
    make(own, library, "Tuning", LORA)
    make(own, library, "Sequel", LORA)
    address, page = serve(own), new_page()
    page.goto(list_url(address, "Tuning"))
    press(page.get_by_role("button", name="Find new papers"))
    expect(page.get_by_text("Close to “LoRA: Low-Rank Adaptation of Large Language Models”.")).to_have_count(1)
    press(page.get_by_role("button", name="Add to this list"))
    expect(page.get_by_role("button", name="Not for me")).to_have_count(0)
    assert ids(library, "Tuning") == [LORA, QLORA]  # the one paper of the last thirty days that is not withdrawn
    choices = Choices(own.path / LIBRARY_FILE)
    assert choices.recommended_before("Tuning", datetime.max.replace(tzinfo=UTC).date()) == [QLORA]
    library.remove("Tuning", [QLORA])
    page.goto(list_url(address, "Sequel"))
    press(page.get_by_role("button", name="Find new papers"))
    press(page.get_by_role("button", name="Not for me"))
    page.get_by_text("Nothing new is close to this list.").wait_for()
    assert choices.dismissed() == [QLORA]
    assert ids(library, "Sequel") == [LORA]


def test_read_only_shows_all_and_changes_nothing(own: Home, new_page: NewPage, tmp_path: Path) -> None:
    make(own, Library(own.path / LIBRARY_FILE), "Look", QLORA)
    with served(own, tmp_path / "app.log", "--no-browser", "--read-only") as address:
        page = new_page()
        page.goto(list_url(address, "Look"))
        expect(entries(page)).to_have_count(1)
        settled(page)
        buttons = page.get_by_test_id("stMainBlockContainer").get_by_role("button").all_inner_texts()
        assert [text for text in buttons if text.strip() and "Export" not in text] == []
        assert page.get_by_test_id("stMainBlockContainer").get_by_role("checkbox").count() == 0
        press(page.get_by_role("button", name="Export"))
        page.get_by_role("button", name="BibTeX").wait_for()
        page.goto(search_url(address, q="2305.14314"))
        press(page.get_by_role("button", name="Cite").first)
        expect(page.get_by_test_id("stPopoverBody").locator("pre")).to_contain_text("@")
        settled(page)
        assert page.get_by_text("Add to list").count() == 0
        expect(card(page, "QLoRA: Efficient Finetuning of Quantized LLMs").get_by_text("on Look")).to_be_visible()
    wished = [(paper.paper_id, "key") for paper in Library(own.path / LIBRARY_FILE).read_list("Look").entries]
    assert Choices(own.path / LIBRARY_FILE).citation_keys(wished, remember=False) == {QLORA: "key"}  # none was given


@pytest.mark.parametrize("width", [400, 1600])
def test_the_page_fits(app: str, shelf: Home, library: Library, new_page: NewPage, width: int) -> None:
    make(shelf, library, f"Wide {'x' * 60} {width}", QLORA, LORA)
    page = new_page(viewport={"width": width, "height": 900})
    page.goto(list_url(app, f"Wide {'x' * 60} {width}"))
    expect(entries(page)).to_have_count(2)
    settled(page)
    wide: int = page.evaluate(
        "Math.max(...[...document.querySelectorAll('[data-testid=stMainBlockContainer] *')]"
        ".map(e => e.getBoundingClientRect().right))"
    )
    assert wide <= width
