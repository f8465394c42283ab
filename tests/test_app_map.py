"""The map, the trends and the digest in a real browser, over a real knowledge base."""

from __future__ import annotations

import json
import re
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from browser import NewPage, Serve, answered, enter, map_of, pixel, plot_of, press, settled, write_papers
from playwright.sync_api import expect

from app.widgets.scatter import pack
from ingest.jobs.run import run_index, run_snapshot
from kb.encode.encoder import Encoder
from kb.formats.digest import DIGEST_WRITERS
from kb.insights.digest import make_digest
from kb.insights.map_view import Area, Plot
from kb.library import LIBRARY_FILE, Entry, Library
from kb.store import Home
from kb.store.monthly import MonthlyCounts

QLORA = "arxiv:2305.14314"


def test_the_map_shows_titles_and_opens_papers(app: str, built: Home, new_page: NewPage) -> None:
    plot = plot_of(built)
    page = new_page()
    page.goto(f"{app}/map")
    shown = map_of(page)
    assert shown.evaluate("root => root.paperMap.plot.n") == 30
    assert shown.evaluate("root => root.paperMap.gl.getError()") == 0
    painted = "root => { const m = root.paperMap; m.paint(); const p = new Uint8Array(4 * m.canvas.width * m.canvas.height);"
    painted += (
        " m.gl.readPixels(0, 0, m.canvas.width, m.canvas.height, m.gl.RGBA, m.gl.UNSIGNED_BYTE, p); return p.some(x => x) }"
    )
    assert shown.evaluate(painted)
    assert [b.inner_text() for b in shown.locator(".legend button").all()] == list(plot.by_category().names)
    page.mouse.move(*pixel(shown, plot, QLORA))
    expect(shown.locator(".tip")).to_have_text("QLoRA: Efficient Finetuning of Quantized LLMs (2023)")
    page.mouse.click(*pixel(shown, plot, QLORA))
    page.wait_for_url("**/paper?id=arxiv*2305.14314")
    page.get_by_text("QLoRA: Efficient Finetuning of Quantized LLMs").first.wait_for()


def test_who_comes_back_from_a_paper_finds_the_map_as_it_was(app: str, built: Home, new_page: NewPage) -> None:
    plot = plot_of(built)
    page = new_page()
    page.goto(f"{app}/map")
    shown = map_of(page)
    box = page.get_by_role("textbox", name="Search", exact=True)
    enter(box, "fine-tuning")
    page.mouse.move(*pixel(shown, plot, QLORA))
    expect(shown.locator(".tip")).to_be_visible()
    year = page.get_by_role("radio", name="Year", exact=True)
    with answered(page):
        year.press("Space")
    expect(shown.locator(".tip")).to_be_hidden()  # it told of a point of another map
    place = pixel(shown, plot, QLORA)
    page.mouse.move(*place)
    page.mouse.wheel(0, -300)  # nearer, around the point
    shown.evaluate(
        "async root => { while (root.paperMap.unit === root.paperMap.whole) await new Promise(requestAnimationFrame) }"
    )
    view = "root => [root.paperMap.unit, ...root.paperMap.middle, root.paperMap.plot.n, ...root.paperMap.plot.names]"
    left = shown.evaluate(view)
    with answered(page):
        page.mouse.click(*place)
    page.wait_for_url("**/paper?id=arxiv*2305.14314")
    page.get_by_role("heading", name="Like this").wait_for()
    with answered(page):
        page.go_back()
    assert page.url == f"{app}/map?q=fine-tuning&colour=year"
    expect(box).to_have_value("fine-tuning")
    expect(year).to_be_checked()
    assert map_of(page).evaluate(view) == left
    with answered(page):
        page.go_back()
    assert page.url == f"{app}/map?q=fine-tuning"
    with answered(page):
        page.go_back()
    assert page.url == f"{app}/map"
    expect(box).to_have_value("")


def test_papers_of_a_short_list_are_drawn_above_all_others(own: Home, serve: Serve, new_page: NewPage) -> None:
    Library(own.path / LIBRARY_FILE).create("Mine", [Entry(QLORA, "QLoRA")])
    page = new_page(viewport={"width": 400, "height": 900})
    page.goto(f"{serve(own)}/map?colour=list&list=Mine")
    others = "root => root.paperMap.plot.groups.filter(group => group === root.paperMap.plot.dimmed).length"
    assert map_of(page).evaluate(others) == 29  # dimmed, and there
    page.goto(page.url.replace("&list=Mine", ""))
    shown = map_of(page)
    assert shown.evaluate("root => root.paperMap.plot.names") == ["Mine", "on no list"]
    middle = """root => { const m = root.paperMap, [w, h] = [m.canvas.width, m.canvas.height], found = new Uint8Array(4);
        m.plot.places.fill(0); m.middle = [0, 0]; m.upload(); m.draw();
        while (m.fresh || m.drawn < m.plot.n) m.paint(performance.now());
        m.gl.readPixels(w / 2, h / 2, 1, 1, m.gl.RGBA, m.gl.UNSIGNED_BYTE, found); return [...found] }"""
    assert shown.evaluate(middle) == [0x1A, 0x7F, 0xC4, 255]  # though all points lie on one another
    shown.evaluate("root => root.paperMap.index()")
    assert shown.evaluate("root => { const m = root.paperMap; return m.plot.id(m.nearest(...m.toPixel(0), 8)) }") == QLORA
    canvas, legend = shown.locator("canvas").bounding_box(), shown.locator(".legend").bounding_box()
    assert canvas is not None and legend is not None
    assert legend["y"] >= canvas["y"] + canvas["height"]


def test_an_area_becomes_a_reading_list(own: Home, serve: Serve, new_page: NewPage) -> None:
    plot = plot_of(own)
    page = new_page()
    page.goto(f"{serve(own)}/map")
    shown = map_of(page)
    page.get_by_role("button", name="Select an area").click()
    x, y = pixel(shown, plot, QLORA)
    canvas = shown.locator("canvas").bounding_box()
    assert canvas is not None
    page.mouse.move(max(x - 60, canvas["x"] + 2), max(y - 60, canvas["y"] + 2))  # it may lie at the edge
    page.mouse.down()
    page.mouse.move(x + 60, y + 60, steps=4)
    page.mouse.up()
    left, top, right, bottom = shown.evaluate("root => root.paperMap.area")
    inside = plot.within(Area(left, top, right, bottom))
    assert QLORA in inside.ids
    page.get_by_text(re.compile(rf"^{len(inside)} papers? in this area")).wait_for()
    box = page.get_by_role("combobox", name="Put on the reading list")
    box.fill("Fine-tuning <b>")
    box.press("Enter")
    press(page.get_by_role("button", name="Add these papers"))
    page.get_by_text("added to Fine-tuning <b>").wait_for()
    library = Library(own.path / LIBRARY_FILE)
    assert sorted(entry.paper_id for entry in library.read_list("Fine-tuning <b>").entries) == sorted(inside.ids)
    press(page.get_by_text("Reading list", exact=True).last)  # the colour
    expect(shown.locator(".legend")).to_contain_text("Fine-tuning <b>")
    assert shown.locator(".legend b").count() == 0


def test_the_map_of_a_search_and_by_keyboard(app: str, built: Home, new_page: NewPage) -> None:
    page = new_page()
    page.goto(f"{app}/map?q=image+generation&colour=year")
    shown = map_of(page)
    assert shown.evaluate("root => root.paperMap.plot.names")[0] == str(plot_of(built).years.max())
    expect(page.get_by_label("Search", exact=True)).to_have_value("image generation")
    canvas = shown.locator("canvas")
    canvas.focus()
    before = shown.evaluate("root => [...root.paperMap.middle, root.paperMap.unit]")
    for key in ("ArrowLeft", "ArrowUp", "+"):
        canvas.press(key)
    after = shown.evaluate("root => [...root.paperMap.middle, root.paperMap.unit]")
    assert after[0] < before[0] and after[1] < before[1] and after[2] > before[2]
    canvas.press("0")
    canvas.press("s")
    page.get_by_text("papers in this area").wait_for()
    canvas.press("Escape")
    page.get_by_text("papers in this area").wait_for(state="detached")
    legend = shown.locator(".legend button").first
    legend.press("Enter")
    expect(legend).to_have_attribute("aria-pressed", "false")


def test_a_map_that_moves_shows_some_of_its_points_and_one_that_rests_all(app: str, new_page: NewPage) -> None:
    page = new_page()
    page.goto(f"{app}/map")
    shown = map_of(page)
    settled(page)
    shown.evaluate(
        """root => { const map = root.paperMap, gl = map.gl, [draw, send] = [gl.drawArrays.bind(gl), gl.bufferData.bind(gl)];
        root.frames = []; root.sent = 0; map.budget = 7;
        gl.drawArrays = (kind, first, count) => { root.frames.push([first, count]); draw(kind, first, count) };
        gl.bufferData = (...all) => { root.sent++; send(...all) } }"""
    )
    box = shown.locator("canvas").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 100, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 160, box["y"] + 130, steps=6)
    page.mouse.up()
    shown.evaluate("async root => { while (root.paperMap.drawn < 30) await new Promise(requestAnimationFrame) }")
    frames: list[tuple[int, int]] = [tuple(frame) for frame in shown.evaluate("root => root.frames")]
    assert frames[0] == (0, 7)  # a frame in motion
    begun = max(place for place, (first, _) in enumerate(frames) if first == 0)
    rest = frames[begun:]
    assert [first for first, _ in rest] == [0, *np.cumsum([count for _, count in rest])[:-1].tolist()]
    assert sum(count for _, count in rest) == 30
    assert shown.evaluate("root => root.sent") == 0  # the points are in the graphics memory already


def test_the_packed_plot_is_small_and_whole() -> None:
    n = 1000
    rng = np.random.default_rng(0)
    coordinates = rng.normal(size=(n, 2)).astype(np.float32)
    titles = [f"Title {i} \ud800" for i in range(n)]
    groups = (np.arange(n) % 3).astype(np.uint8)
    ids = [f"arxiv:{i}" for i in range(n)]
    plot = Plot(np.arange(n), ids, titles, np.zeros(n, np.int32), [""] * n, coordinates, groups, ("a", "b", "rest"), True)
    data = pack(plot)
    length = int.from_bytes(data[:4], "little")
    head = json.loads(data[4 : 4 + length])
    assert (head["n"], head["names"], head["colours"][2]) == (n, ["a", "b", "rest"], "#8a8f98")
    assert head["rest"] == 2
    body = data[4 + length :]
    np.testing.assert_array_equal(np.frombuffer(body[: 8 * n], "<f4").reshape(n, 2), coordinates)
    ends = np.frombuffer(body[8 * n : 16 * n], "<u4")
    assert body[16 * n : 17 * n] == groups.tobytes()
    assert body[17 * n :][ends[13] : ends[14]].decode() == "arxiv:7"
    assert body[17 * n :][ends[14] : ends[15]].decode() == "Title 7 ?"
    assert len(body) == 17 * n + ends[-1]


# Months -------------------------------------------------------------------------------------------------------------------


def test_the_digest_is_read_and_taken_along(app: str, built: Home, new_page: NewPage) -> None:
    generation = built.open()
    try:
        months = MonthlyCounts(generation.catalogue).months()
        digests = {month: make_digest(generation, month) for month in months[:2]}
    finally:
        generation.close()
    page = new_page()
    page.goto(f"{app}/digest")
    for choice in digests[months[0]].choices:
        page.locator(".st-key-digest").get_by_text(choice.paper.title).first.wait_for()
    page.goto(f"{app}/digest?month={months[1]:%B+%Y}")
    for choice in digests[months[1]].choices:
        page.locator(".st-key-digest").get_by_text(choice.paper.title).first.wait_for()
    for label, name in (("Markdown", "markdown"), ("HTML", "html"), ("Atom", "atom")):
        with page.expect_download() as download:
            page.get_by_role("button", name=label, exact=True).click()
        assert download.value.suggested_filename.startswith(f"papers-{months[1]:%Y-%m}.")
        assert Path(download.value.path()).read_text(encoding="utf-8") == DIGEST_WRITERS[name](digests[months[1]])


def test_trends_show_charts_and_lead_to_searches(
    home: Home, encoder: Encoder, serve: Serve, new_page: NewPage, tmp_path: Path
) -> None:
    year = date.today().year % 100
    papers = tuple(
        (f"{year - 1}01.{n + 1:05d}", f"State space models {n}", "Ada Beispiel", "cs.CL", "", "Text.") for n in range(35)
    )
    run_snapshot(home, [write_papers(tmp_path / "papers.jsonl", papers)])
    run_index(home, encoder)
    page = new_page()
    page.goto(f"{serve(home)}/trends")
    expect(page.locator("[data-testid=stVegaLiteChart] canvas, [data-testid=stVegaLiteChart] svg")).to_have_count(2)
    press(page.get_by_text("All", exact=True))
    page.wait_for_url("**span=All**")
    press(page.locator(".st-key-rising").get_by_text("space models"))
    page.wait_for_url("**q=space+models**")


@pytest.mark.parametrize(("width", "scheme"), [(400, "dark"), (1600, "light")])
@pytest.mark.parametrize("name", ["map", "trends", "digest", "ingest"])
def test_the_pages_fit(app: str, new_page: NewPage, name: str, width: int, scheme: str) -> None:
    page = new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.goto(f"{app}/{name}")
    page.locator("[data-testid=stMain] [data-testid=stElementContainer]").first.wait_for()
    settled(page)
    assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth") <= width
    assert page.get_by_role("alert").count() == 0
