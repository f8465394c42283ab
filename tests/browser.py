"""The app as its users have it: a server process, and pages in a real browser that never leave this machine."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit
from weakref import WeakKeyDictionary

import pytest
from playwright.sync_api import Browser, BrowserContext, Dialog, Locator, Page, Route, WebSocket, expect, sync_playwright
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from ingest.jobs.run import run_index, run_notes, run_snapshot
from kb.encode.encoder import Encoder
from kb.insights.map_layout import MapLayout
from kb.insights.map_view import Plot
from kb.store import Home
from kb.store.columns import PaperColumns

from thirty_papers import NOTES, PAPERS, PaperRow  # isort: skip

_ARGUMENTS = (
    "--no-sandbox --disable-quic --no-first-run --disable-background-networking --disable-component-update "
    "--disable-sync --use-angle=swiftshader --enable-unsafe-swiftshader"
).split()
_WAIT = 60_000  # milliseconds until a condition must hold; the first question of a server loads the model

_COMMAND_LINE = "from kb.cli import main; main()"

Serve = Callable[[Home], str]
NewPage = Callable[..., Page]


@contextmanager
def served(home: Home, log: Path, *options: str, code: str = _COMMAND_LINE, **environment: str) -> Iterator[str]:
    """The address of an app over this knowledge base, running for as long as the block does. `code` runs the command line."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://localhost:{port}"
    command = [sys.executable, "-c", code, "--home", str(home.path)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "app", *options, "--port", str(port)],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env=os.environ | environment,
        )
        try:
            while not healthy(address):
                try:
                    process.wait(timeout=0.2)
                except subprocess.TimeoutExpired:
                    continue
                pytest.fail(f"The app ended before it served a page:\n{log.read_text(errors='replace')[-3000:]}")
            yield address
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.communicate(timeout=30)


def healthy(address: str) -> bool:
    """Whether an app answers at the address."""
    try:
        with urllib.request.urlopen(f"{address}/_stcore/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@pytest.fixture(name="serve")
def servers(tmp_path: Path) -> Iterator[Serve]:
    """Start an app over a knowledge base, for one test."""
    with ExitStack() as running:
        yield lambda home: running.enter_context(served(home, tmp_path / "app.log", "--no-browser"))


@pytest.fixture(name="browser", scope="session")
def a_browser() -> Iterator[Browser]:
    """Chromium, where one is installed."""
    path = os.environ.get("KB_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    path = path or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no browser: install Chromium (Debian: `apt-get install chromium`), or name one in KB_CHROMIUM")
    expect.set_options(timeout=_WAIT)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=_ARGUMENTS)
        yield chromium
        chromium.close()


def record(identifier: str, title: str, authors: str, categories: str, comments: str, abstract: str) -> dict[str, Any]:
    """A record in the form of the arXiv snapshot."""
    day = f"20{identifier[:2]}-{identifier[2:4]}-02"
    return {
        "id": identifier,
        "title": title,
        "authors": authors,
        "authors_parsed": [[*reversed(name.rpartition(" ")[::2]), ""] for name in authors.split(", ")],
        "categories": categories,
        "comments": comments or None,
        "abstract": abstract,
        "versions": [{"version": "v1", "created": f"Mon, 2 Jan 20{identifier[:2]} 10:00:00 GMT"}],
        "update_date": day,
    }


def write_papers(path: Path, papers: tuple[PaperRow, ...]) -> Path:
    path.write_text("".join(json.dumps(record(*paper)) + "\n" for paper in papers), encoding="utf-8")
    return path


@pytest.fixture(name="built", scope="session")
def thirty_papers(tmp_path_factory: pytest.TempPathFactory, encoder: Encoder) -> Home:
    """A knowledge base of thirty papers and three notes. Not to be changed; `own` is a copy that may be."""
    folder = tmp_path_factory.mktemp("app")
    (folder / "bookmarks.md").write_text(NOTES, encoding="utf-8")
    home = Home(folder / "kb")
    run_snapshot(home, [write_papers(folder / "papers.jsonl", PAPERS)])
    run_notes(home, [folder / "bookmarks.md"])
    run_index(home, encoder)
    return home


@pytest.fixture(name="own")
def thirty_papers_of_ones_own(built: Home, tmp_path: Path) -> Home:
    shutil.copytree(built.path, tmp_path / "kb")
    return Home(tmp_path / "kb")


@pytest.fixture(name="app", scope="session")
def an_app(built: Home) -> Iterator[str]:
    """The address of an app over the thirty papers."""
    with served(built, built.path.parent / "app.log", "--no-browser") as address:
        yield address


@pytest.fixture(name="new_page")
def pages(browser: Browser) -> Iterator[NewPage]:
    """Open a page in a fresh browser context; keywords go to the context.

    Whatever a page does, no dialog may open, and nothing may be asked of another machine.
    """
    dialogs: list[str] = []
    foreign: list[str] = []

    def guard(route: Route) -> None:
        url = urlsplit(route.request.url)
        if url.hostname == "localhost" or url.scheme in {"data", "blob"}:
            route.continue_()
        else:
            foreign.append(route.request.url)
            route.abort()

    def dismiss(dialog: Dialog) -> None:
        dialogs.append(dialog.message)
        dialog.dismiss()

    def watch(page: Page) -> None:
        _RUNS[page] = _Runs(page)
        page.on("dialog", dismiss)

    contexts: list[BrowserContext] = []

    def open_page(**options: object) -> Page:
        context = browser.new_context(**options)  # type: ignore[arg-type]
        contexts.append(context)
        context.set_default_timeout(_WAIT)
        context.route("**/*", guard)
        context.on("page", watch)
        return context.new_page()

    yield open_page
    for context in contexts:
        context.close()
    assert dialogs == []
    assert foreign == []


def search_url(address: str, **parameters: str | list[str]) -> str:
    """The address of a search; `not_` stands for the parameter `not`."""
    return f"{address}/?{urlencode({name.rstrip('_'): value for name, value in parameters.items()}, doseq=True)}"


def titles(page: Page) -> Locator:
    """The titles of the hits, in their order."""
    return page.locator(".st-key-hits a[href^='paper?'] strong")


def card(page: Page, title: str) -> Locator:
    """The hit of that title, with all that belongs to it."""
    return page.locator(".st-key-hits > [data-testid=stLayoutWrapper]").filter(has=page.get_by_text(title, exact=True))


def expect_titles(page: Page, expected: list[str]) -> None:
    """Wait until just these hits show, in this order."""
    expect(titles(page)).to_have_text(expected)


class _Runs:
    """The runs of the page's script that a page asked for, read off its connection to the server.

    The page itself does not tell one that is asked for from one that has ended: it says that none is running in both cases.
    """

    def __init__(self, page: Page) -> None:
        self.asked = 0
        self.ended = True
        page.on("websocket", self._follow)

    def _follow(self, connection: WebSocket) -> None:
        self.ended = False
        connection.on("framesent", self._sent)
        connection.on("framereceived", self._received)

    def _sent(self, frame: str | bytes) -> None:
        if isinstance(frame, bytes) and BackMsg.FromString(frame).WhichOneof("type") == "rerun_script":
            self.asked += 1
            self.ended = False

    def _received(self, frame: str | bytes) -> None:
        if not isinstance(frame, bytes):
            return
        told = ForwardMsg.FromString(frame)
        if told.WhichOneof("type") == "script_finished" and told.script_finished != ForwardMsg.FINISHED_EARLY_FOR_RERUN:
            self.ended = True


_RUNS: WeakKeyDictionary[Page, _Runs] = WeakKeyDictionary()


def settled(page: Page) -> None:
    """Wait until the page has been computed and drawn."""
    page.wait_for_selector('[data-testid=stApp][data-test-script-state="notRunning"]')
    _wait_until(page, lambda: _RUNS[page].ended)
    page.evaluate("document.fonts.ready.then(() => null)")  # until then an icon is as wide as its name
    page.evaluate("new Promise(drawn => requestAnimationFrame(() => requestAnimationFrame(drawn)))")
    page.wait_for_selector('[data-testid=stApp][data-test-script-state="notRunning"]')


@contextmanager
def answered(page: Page) -> Iterator[None]:
    """A block that does, once the page is drawn, what the server answers to; ends when the answer is drawn."""
    settled(page)
    asked = _RUNS[page].asked
    yield
    _wait_until(page, lambda: _RUNS[page].asked > asked)
    settled(page)


def press(control: Locator) -> None:
    """Click on what the server answers to."""
    with answered(control.page):
        if control.evaluate("element => element.closest('a') !== null"):
            control.page.wait_for_function("window.paperLinks")  # before that the browser itself opens the link, in a new tab
        control.click()


def enter(field: Locator, text: str) -> None:
    """Write into a field, and send it off."""
    with answered(field.page):
        field.fill(text)
        field.press("Enter")


def _wait_until(page: Page, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _WAIT / 1000
    while not condition():
        assert time.monotonic() < deadline, f"the page {page.url} did not ask its server, or the server did not answer"
        page.wait_for_timeout(10)


def plot_of(home: Home) -> Plot:
    """All papers of a knowledge base on its map."""
    generation = home.open()
    try:
        layout = MapLayout.of(generation)
        assert layout is not None
        return Plot.of(layout, PaperColumns.of(generation.catalogue))
    finally:
        generation.close()


def map_of(page: Page) -> Locator:
    """The map, drawn."""
    found = page.locator(".map")
    found.evaluate(
        "async root => { while (!root.paperMap?.plot || !root.paperMap.whole) await new Promise(requestAnimationFrame) }"
    )
    return found


def pixel(shown: Locator, plot: Plot, identifier: str) -> tuple[float, float]:
    """Where on the page a paper's point lies."""
    x, y = plot.coordinates[plot.ids.index(identifier)].tolist()
    where = """(root, [x, y]) => { const m = root.paperMap, c = m.canvas, r = c.getBoundingClientRect();
        const at = (start, size, value, middle) => start + size / 2 + (value - middle) * m.unit;
        return [at(r.left, c.clientWidth, x, m.middle[0]), at(r.top, c.clientHeight, y, m.middle[1])] }"""
    found: tuple[float, float] = tuple(shown.evaluate(where, [x, y]))
    return found
