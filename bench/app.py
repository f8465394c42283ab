"""Time from Enter to the hits in a real browser, beside the library's time for the same queries.

    python -m bench.app HOME…

A repeated query is answered from the app's cache: what remains is the page's script, the transfer and rendering. The script alone
has a row of its own, and so has the start of `kb app`, beside that of a Streamlit page with a single text box.
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
# Resolves at the first frame that shows the hits of the query: their first title, and no stale element.
_DRAWN = """title => {
    const first = document.querySelector('.st-key-hits [class*=st-key-title-] strong');
    const shown = first && first.textContent.replaceAll('\\u2060', '');  // joins what Markdown would take apart
    return shown === title && !document.querySelector('.st-key-hits [data-stale=true]');
}"""


def main() -> int:
    """Benchmark each knowledge base and print the rows."""
    rows = [row for home in sys.argv[1:] for row in measure(Home(Path(home)))]
    sys.stdout.write(table(rows) + "\n")
    return 0


def measure(home: Home) -> list[Row]:
    """Median milliseconds over the queries; the first query, which loads the model, is not counted."""
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
    """Median seconds from the start of `kb app`, and of a Streamlit page with one box, to the box in the browser; by turns."""

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
        times = [(start(home), start(box)) for _ in range(_STARTS + 1)][1:]  # the first fills the file cache
    return median(ours for ours, _ in times), median(peer for _, peer in times)


def _opened(browser: Browser, address: str) -> Page:
    """Open the address and wait for the search box."""
    page = browser.new_page()
    page.goto(address)
    page.get_by_role("textbox", name="Find papers").wait_for(timeout=120_000)
    return page


def _script(home: Home) -> float:
    """Processor seconds of the search page's script in this process, without server and browser."""
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
    """Seconds until the hits are shown, the first with this title; without a title, until any hit is shown."""
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
    """Serve the app over a knowledge base, or a Streamlit script, within a `with` block; gives the address."""
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
