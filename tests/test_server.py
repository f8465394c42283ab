"""The server process of `kb app`: how it ends, what it imports, and what it tells strangers."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from browser import NewPage, healthy, served, settled

from kb.store import Home


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_kb_app_ends_the_server(built: Home, tmp_path: Path, sign: signal.Signals) -> None:
    port = free_port()
    command = [sys.executable, "-c", "from kb.cli import main; main()", "--home", str(built.path), "app", "--no-browser"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([*command, "--port", str(port)], stdout=log, stderr=log)
        while not healthy(f"http://localhost:{port}"):
            assert process.poll() is None
            time.sleep(0.1)
        process.send_signal(sign)
        process.wait(timeout=30)
    assert not healthy(f"http://localhost:{port}")
    assert "Traceback" not in (tmp_path / "log").read_text(encoding="utf-8")


def test_the_current_folder_is_not_on_the_path(built: Home, new_page: NewPage, tmp_path: Path) -> None:
    for name in ("kb", "app", "ingest", "streamlit"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('imported from the current folder')", encoding="utf-8")
    code = f"import os, sys; from kb.cli import main; os.chdir({str(tmp_path)!r}); main(sys.argv[1:])"
    with served(built, tmp_path / "app.log", "--no-browser", code=code) as address:
        page = new_page()
        page.goto(f"{address}/paper?id=1706.03762")
        page.get_by_role("heading", name="Attention Is All You Need").wait_for()
    assert "imported from" not in (tmp_path / "app.log").read_text(encoding="utf-8")


def test_no_request_of_a_page_that_is_loaded_directly_fails(app: str, new_page: NewPage) -> None:
    page = new_page()
    failed: list[str] = []
    page.on("response", lambda answer: failed.append(answer.url) if answer.status >= 400 else None)
    page.on("console", lambda told: failed.append(told.text) if told.type == "error" else None)
    for place in ("", "paper?id=1706.03762", "lists", "map", "trends", "digest", "ingest"):
        page.goto(f"{app}/{place}")
        page.get_by_test_id("stMainBlockContainer").wait_for()
        settled(page)
    assert failed == []


@pytest.mark.parametrize("path", ["/_stcore/metrics", "/_stcore/metrics/", "//_stcore/metrics"])
def test_nobody_is_told_how_much_the_app_is_used(app: str, path: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(app + path, timeout=10)
    assert refused.value.code in {400, 404}
    refused.value.close()


def test_port_taken_is_told(built: Home) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        command = [sys.executable, "-c", "from kb.cli import main; main()", "--home", str(built.path), "app", "--no-browser"]
        port = taken.getsockname()[1]
        done = subprocess.run(
            [*command, "--port", str(port)], capture_output=True, text=True, env=os.environ, timeout=60, check=False
        )
    assert done.returncode == 1
    assert f"Port {port} is" in done.stderr
