"""`python -m bench.app HOME…`: from Enter to the hits in a real browser, beside the library's own time for the same questions.

A question asked again is answered from what the app keeps, so what it then takes is the page's script, the way to the browser,
and drawing; the script alone, with ten hits, is a row of its own. So is the app's start, from `kb app` to the box for a
question in the browser, beside that of a Streamlit page which has nothing but the box.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from playwright.sync_api import Browser, Page, sync_playwright
from streamlit.testing.v1 import AppTest

from bench.clock import timed
from bench.rows import Row, table
from kb.models.registry import load_encoder
from kb.search.searcher import Searcher
from kb.store import Home

_STARTS = 3
_MAIN = Path(__file__).resolve().parents[1] / "app" / "main.py"
_QUESTIONS = (
    "detecting hallucinations of language models without access to their internals",
    "speculative decoding to speed up inference",
    "graph neural networks for traffic forecasting",
    "low-resource speech recognition",
    "why do transformers fail at length generalization",
    "pruning vision transformers",
    "retrieval augmented generation with long documents",
    "attention with linear cost in the length of the text",
    "fine-tune a large model on one GPU",
    "image segmentation from few annotations",
)
# Resolves at the first frame in which the hits are those of the question: their first title, and nothing still to come.
_DRAWN = """title => {
    const first = document.querySelector('.st-key-hits [class*=st-key-title-] strong');
    const shown = first && first.textContent.replaceAll('\\u2060', '');  // joins what Markdown would take apart
    return shown === title && !document.querySelector('.st-key-hits [data-stale=true]');
}"""


def main() -> int:
    """Measures over each knowledge base and prints the rows."""
    rows = [row for home in sys.argv[1:] for row in measure(Home(Path(home)))]
    sys.stdout.write(table(rows) + "\n")
    return 0


def measure(home: Home) -> list[Row]:
    """Milliseconds, medians over the questions; the first question of all, which loads the model, is not counted."""
    with Searcher.open(home, load_encoder()) as searcher:
        papers = searcher.generation.manifest.papers
        first: dict[str, str] = {}
        for text in (_QUESTIONS[0], *_QUESTIONS):
            first[text] = searcher.search(text)[0].paper.title
        library = median(timed(partial(searcher.search, text)) for text in _QUESTIONS)
    with sync_playwright() as playwright:
        path = os.environ.get("KB_CHROMIUM") or shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        started, peer = _starts(home, browser)
        with _served(home) as address:
            page = _opened(browser, address)
            _ask(page, "a question that loads the model", "")
            new = [_ask(page, text, first[text]) for text in _QUESTIONS]
            again = [_ask(page, text, first[text]) for text in _QUESTIONS]
        browser.close()
    script = _script(home)
    rows = [
        Row(
            f"`kb app` from a cold start to the search page in the browser, {papers:,} papers",
            f"{started:.1f} s",
            f"a Streamlit page of one box: {peer:.1f} s",
            f"{started / peer:.2f} × its time",
            "at most 3 s",
        )
    ]
    rows += [
        Row(f"{what}, {papers:,} papers", f"{seconds * 1000:.0f} ms", f"{library * 1000:.0f} ms", f"{seconds / library:.1f}")
        for what, seconds in (("from Enter to ten hits", median(new)), ("the same question again", median(again)))
    ]
    what = f"processor time of the search page's script, ten hits of an answer that is there, {papers:,} papers"
    return [*rows, Row(what, f"{script * 1000:.0f} ms", f"{library * 1000:.0f} ms", f"{script / library:.1f}", "at most 100 ms")]


def _starts(home: Home, browser: Browser) -> tuple[float, float]:
    """Median seconds from the start of `kb app` to its search page, and from that of Streamlit to a page of one box; by turns."""

    def start(served: Home | Path) -> float:
        begun = time.perf_counter()
        with _served(served) as address:
            page = _opened(browser, address)
            took = time.perf_counter() - begun
            page.close()
        return took

    with TemporaryDirectory() as folder:
        box = Path(folder) / "box.py"
        box.write_text("import streamlit\n\nstreamlit.text_input('Find papers')\n", encoding="utf-8")
        times = [(start(home), start(box)) for _ in range(_STARTS + 1)][1:]  # the first brings the files into memory
    return median(ours for ours, _ in times), median(peer for _, peer in times)


def _opened(browser: Browser, address: str) -> Page:
    """A page with the box for a question."""
    page = browser.new_page()
    page.goto(address)
    page.get_by_role("textbox", name="Find papers").wait_for(timeout=120_000)
    return page


def _script(home: Home) -> float:
    """Seconds of processor time that the search page's script takes in this process, without a server or a browser."""
    os.environ["KB_HOME"] = str(home.path)
    page = AppTest.from_file(str(_MAIN), default_timeout=120)
    page.query_params["q"] = _QUESTIONS[0]
    page.run()
    if page.exception or len(page.expander) != 10:
        raise SystemExit(f"The search page did not show ten hits of {home.path}.")
    took = []
    for _ in range(20):
        start = time.process_time()
        page.run()
        took.append(time.process_time() - start)
    return median(took)


def _ask(page: Page, text: str, title: str) -> float:
    """Seconds until the hits are drawn; without a title, until any are."""
    box = page.get_by_role("textbox", name="Find papers")
    box.fill(text)

    def answered() -> None:
        box.press("Enter")
        if title:
            page.wait_for_function(_DRAWN, arg=title, polling="raf", timeout=120_000)
        else:
            page.locator(".st-key-hits strong").first.wait_for(timeout=120_000)

    return timed(answered)


@contextmanager
def _served(what: Home | Path) -> Iterator[str]:
    """The app over a knowledge base, or Streamlit with a script, for as long as the block runs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    if isinstance(what, Home):
        command = [sys.executable, "-c", "from kb.cli import main; main()", "--home", str(what.path)]
        command += ["app", "--no-browser", "--port", port]
    else:
        command = [sys.executable, "-m", "streamlit", "run", str(what), "--server.port", port]
        command += ["--server.address", "localhost", "--server.headless", "true"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    address = f"http://localhost:{port}"
    try:
        for _ in range(6000):
            try:
                with urllib.request.urlopen(f"{address}/_stcore/health", timeout=5):
                    break
            except OSError:
                time.sleep(0.02)
        yield address
    finally:
        os.killpg(process.pid, 15)
        process.wait()


if __name__ == "__main__":
    sys.exit(main())
