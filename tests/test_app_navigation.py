"""Moving about in the app in a real browser: links, tabs, the way back, and the keyboard."""

from __future__ import annotations

import pytest
from browser import NewPage, answered, enter, press, search_url, settled, titles
from playwright.sync_api import Locator, Page, expect

QUERY = "image generation"
_SCROLLED = "document.querySelector('[data-testid=stMain]').scrollTop"


def cards(page: Page) -> Locator:
    return page.locator("[class*=st-key-card-]")


def title(page: Page, place: int) -> Locator:
    return cards(page).nth(place).locator("a[href^='paper?']")


def test_back_returns_to_the_same_place(app: str, new_page: NewPage) -> None:
    page = new_page(viewport={"width": 1280, "height": 600})
    page.goto(search_url(app, q=QUERY))
    expect(titles(page)).to_have_count(10)
    title(page, 7).scroll_into_view_if_needed()
    settled(page)
    left = page.evaluate(_SCROLLED)
    assert left > 300
    name = title(page, 7).inner_text()
    with answered(page):
        title(page, 7).click()
    page.get_by_role("heading", name=name).wait_for()
    assert page.evaluate(_SCROLLED) == 0
    assert len(page.context.pages) == 1
    page.go_back()
    page.wait_for_function(f"Math.abs({_SCROLLED} - {left}) < 3")
    settled(page)
    assert abs(page.evaluate(_SCROLLED) - left) < 3
    assert page.title() == QUERY


def test_every_tab_is_called_after_what_it_shows(app: str, new_page: NewPage) -> None:
    page = new_page()
    for place, name in (
        ("", "Search"),
        (f"?q={QUERY}", QUERY),
        ("paper?id=1706.03762", "Attention Is All You Need"),
        ("lists", "Reading lists"),
        ("map", "Map"),
        ("trends", "Trends"),
        ("ingest", "Ingest"),
    ):
        page.goto(f"{app}/{place}")
        page.wait_for_function("name => document.title === name", arg=name)


def test_a_paper_leads_back_to_the_results_and_on_to_others(app: str, new_page: NewPage) -> None:
    page = new_page()
    page.goto(search_url(app, q=QUERY, code="1"))
    press(title(page, 1))
    press(page.get_by_role("link", name="Back to results"))
    assert page.url == search_url(app, q=QUERY, code="1")
    press(title(page, 1))
    enter(page.get_by_role("textbox", name="Search"), "fine-tuning")
    page.wait_for_url("**/?q=fine-tuning")
    assert titles(page).count() == 10


def test_search_in_the_menu_keeps_the_query(app: str, new_page: NewPage) -> None:
    page = new_page()
    page.goto(search_url(app, q=QUERY))
    settled(page)
    press(page.get_by_role("link", name="Trends", exact=True))
    press(page.get_by_role("link", name="Search", exact=True))
    page.wait_for_url(search_url(app, q=QUERY))
    expect(titles(page)).to_have_count(10)


@pytest.mark.parametrize("way", ["Ctrl", "middle"])
def test_links_open_a_new_tab_when_asked_to(app: str, new_page: NewPage, way: str) -> None:
    page = new_page()
    page.goto(search_url(app, q=QUERY))
    settled(page)
    links = (
        title(page, 0),
        cards(page).first.get_by_role("link", name="More like this"),
        page.get_by_role("link", name="Map", exact=True),
    )
    for link, place in zip(links, ("/paper?id=", "&like=", "/map"), strict=True):
        with page.context.expect_page() as opened:
            if way == "middle":
                link.click(button="middle")
            else:
                link.click(modifiers=["ControlOrMeta"])
        other = opened.value
        other.wait_for_url(f"**{place.replace('?', '*')}**")
        other.close()
    assert page.url == search_url(app, q=QUERY)


def test_the_keyboard_goes_from_hit_to_hit(app: str, new_page: NewPage) -> None:
    page = new_page()
    page.goto(app)
    settled(page)
    box = page.get_by_role("textbox", name="Find papers", exact=True)
    expect(box).to_be_focused()  # one can type at once
    enter(box, QUERY)
    page.keyboard.press("Escape")
    box.blur()
    for key, place in (("j", 0), ("j", 1), ("j", 2), ("k", 1), ("Tab", 2), ("Shift+Tab", 1)):
        page.keyboard.press(key)
        expect(title(page, place)).to_be_focused()
    page.keyboard.press("a")
    expect(cards(page).nth(1).locator("details")).to_have_attribute("open", "")
    page.keyboard.press("a")
    page.keyboard.press("ArrowRight")
    expect(title(page, 1)).not_to_be_focused()
    assert cards(page).nth(1).locator(":focus").count() == 1
    page.keyboard.press("ArrowLeft")
    with answered(page):
        page.keyboard.press("c")
    page.get_by_test_id("stPopoverBody").locator("pre").wait_for()
    with answered(page):
        page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    expect(box).to_be_focused()
    page.keyboard.type("jk?")  # in the box they are letters
    expect(box).to_have_value(f"{QUERY}jk?")
    box.blur()
    page.keyboard.press("j")
    name = title(page, 0).inner_text()
    with answered(page):
        page.keyboard.press("o")
    page.get_by_role("heading", name=name).wait_for()


def test_five_hits_fit_a_laptop(app: str, new_page: NewPage) -> None:
    page = new_page(viewport={"width": 1440, "height": 900})
    page.goto(search_url(app, q=QUERY))
    expect(titles(page)).to_have_count(10)
    settled(page)
    bottoms: list[float] = cards(page).evaluate_all("cards => cards.map(card => card.getBoundingClientRect().bottom)")
    assert sum(1 for bottom in bottoms if bottom <= 900) >= 5


def test_the_mouse_on_a_title_shows_the_abstract(app: str, new_page: NewPage) -> None:
    page = new_page()
    page.goto(search_url(app, q="1706.03762"))
    settled(page)
    title(page, 0).hover()
    expect(page.locator(".paper-preview")).to_contain_text("A translation model built of attention alone")
    page.mouse.move(2, 2)
    expect(page.locator(".paper-preview")).to_have_count(0)
