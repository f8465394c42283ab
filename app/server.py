"""The server process of `kb app`: Streamlit's ASGI app, with an index page that knows where its server is, and no metrics.

Run as `python -m app.server --port 8501 --address localhost [--open]`.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
import urllib.request
import webbrowser
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import cache, partial
from pathlib import Path

import streamlit as st
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send
from streamlit.file_util import get_static_dir

from app import api, navigation
from app.access import Access
from app.widgets import layout

# Tells the page its server's address. Without it, the page of a paper first asks for `paper/_stcore/health`, which is not there.
_SCRIPT = """<script>
window.__streamlit = {BACKEND_BASE_URL: new URL(".", location.href).href};
if (location.pathname.endsWith("/")) document.documentElement.classList.add("search-page");
</script>"""
_METRICS = "/_stcore/metrics"


def main() -> None:
    """Serve until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="app.server")
    parser.add_argument("--port", type=int, default=8501)
    parser.add_argument("--address", default="localhost")
    parser.add_argument("--open", action="store_true", help="open a browser once the server answers")
    options = parser.parse_args()
    app = st.App(
        Path(__file__).with_name("main.py"),
        lifespan=partial(_starting, open_browser=options.open),
        routes=[*api.routes(), *(Route(f"/{page.path}", _index) for page in navigation.PAGES)],
        middleware=[Middleware(_WithoutMetrics)],
    )
    with suppress(KeyboardInterrupt):  # Ctrl-C: the server has shut down by then
        app.run(config={"server.port": options.port, "server.address": options.address})


@asynccontextmanager
async def _starting(_app: st.App, open_browser: bool) -> AsyncIterator[None]:
    if problem := Access.current().problem:
        sys.stderr.write(f"Nobody is let in until the sign-in is set up right and the app restarted. {problem}\n")
    if open_browser:
        threading.Thread(target=_open_browser, daemon=True).start()
    yield


def _open_browser() -> None:
    """Open a browser as soon as the server answers."""
    address = f"http://localhost:{st.config.get_option('server.port')}"
    while True:
        try:
            with urllib.request.urlopen(f"{address}/_stcore/health", timeout=5):
                break
        except OSError:
            time.sleep(0.1)
    webbrowser.open(address)


async def _index(_request: Request) -> Response:
    return HTMLResponse(_index_page(), headers={"Cache-Control": "no-cache"})


@cache
def _index_page() -> str:
    page = (Path(get_static_dir()) / "index.html").read_text(encoding="utf-8")
    # The style is here as well as on the page, where it comes too late for the first frame, and would move what is there.
    return page.replace("<title>Streamlit</title>", f"<title>Papers</title>{layout.STYLE}{_SCRIPT}", 1)


class _WithoutMetrics:
    """Middleware that answers 404 for the server's metrics, which would tell strangers how much the app is used."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].rstrip("/").endswith(_METRICS):
            await PlainTextResponse("Not found", 404)(scope, receive, send)
            return
        await self._app(scope, receive, send)


if __name__ == "__main__":
    main()
