"""`kb app`: starts the Streamlit app and opens it in the browser."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from kb.cli.console import settings


def app(
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="The port to listen on.")] = 8501,
    address: Annotated[
        str, typer.Option("--address", help="The address to listen on. 0.0.0.0 opens the app to others: set up sign-in first.")
    ] = "localhost",
    read_only: Annotated[bool, typer.Option("--read-only", help="Show no button that changes anything.")] = False,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Start the app without opening the browser.")] = False,
) -> None:
    """Open the app in the browser."""
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "app.server", "--port", str(port), "--address", address]
    # This copy of the code, whatever folder `kb app` is called from: that may hold a `kb` or `app` of its own.
    path = os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH"))))
    variables = {
        "KB_HOME": str(settings.home),
        "KB_READ_ONLY": "1" if read_only else "",
        "PYTHONPATH": path,
        "PYTHONSAFEPATH": "1",
    }
    # The server takes this process's place: what ends `kb app` ends it.
    os.execve(sys.executable, command if no_browser else [*command, "--open"], os.environ | variables)
