"""`kb mcp`: the knowledge base as tools for agents."""

from __future__ import annotations

from typing import Annotated

import typer

from kb.cli.console import knowledge_base, say
from kb.errors import KnowledgeBaseError


def mcp(
    http: Annotated[bool, typer.Option("--http", help="Serve by HTTP, on this machine only.")] = False,
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="The port, with --http.")] = 8765,
    write: Annotated[
        bool, typer.Option("--write", help="Let agents change reading lists and fetch papers; without it, they only read.")
    ] = False,
) -> None:
    """Serve the knowledge base to agents by the Model Context Protocol, on stdin and stdout."""
    try:
        from kb.api.mcp_server import serve
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] not in {"mcp", "mcp_types"}:
            raise
        raise KnowledgeBaseError("The package mcp is not installed: `pip install 'paper-kb[mcp]'`.") from None
    with knowledge_base() as base:
        if http:
            say(f"Serving {base.path} at http://127.0.0.1:{port}/mcp; Ctrl-C stops.")
        serve(base, write=write, port=port if http else None)
