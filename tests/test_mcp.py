"""`kb mcp` as agents use it: through the protocol, by the official client, on stdio and by HTTP."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters
from mcp_types import TextContent, TextResourceContents

import kb
from kb.api.mcp_server import build_server
from kb.sample import SAMPLE_NOTES, SAMPLE_PAPERS

READING = {"search", "like", "show", "passages", "code", "lists", "list_show", "export", "recommend", "digest"}
WRITING = {"list_new", "list_add", "list_remove", "list_mark", "list_undo", "fetch"}
MAIN = ["-c", "from kb.cli import main; main()"]


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kb.KnowledgeBase]:
    """The sample with one reading list."""
    with kb.KnowledgeBase(tmp_path_factory.mktemp("sample") / "kb") as base:
        base.ingest_snapshot(SAMPLE_PAPERS, index=False)
        base.ingest_notes(SAMPLE_NOTES)
        base.list_new("Thesis / part 1", ["1706.03762", "1512.03385"])
        yield base


def asking(server: Any, ask: Callable[[Client], Awaitable[None]]) -> None:  # noqa: ANN401
    """Connect a client to the server and let it ask, in a thread of its own: in this one the browser's tests have a loop."""

    async def run() -> None:
        async with Client(server) as client:
            await ask(client)

    with ThreadPoolExecutor(1) as thread:
        thread.submit(anyio.run, run).result()


async def answer(client: Client, tool: str, **arguments: Any) -> str:  # noqa: ANN401
    """The text that a tool answers."""
    found = await client.call_tool(tool, arguments)
    assert not found.is_error, found.content
    (content,) = found.content
    assert isinstance(content, TextContent)
    return content.text


async def refusal(client: Client, tool: str, **arguments: Any) -> str:  # noqa: ANN401
    """The error that a tool answers."""
    found = await client.call_tool(tool, arguments)
    assert found.is_error
    (content,) = found.content
    assert isinstance(content, TextContent)
    return content.text


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, without the empty lock that tantivy makes to read."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != ".lock"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_reading_changes_nothing(sample: kb.KnowledgeBase) -> None:
    before = contents(sample.path)

    async def ask(client: Client) -> None:
        tools = (await client.list_tools()).tools
        assert {tool.name for tool in tools} == READING
        assert all(tool.description and tool.annotations and tool.annotations.read_only_hint for tool in tools)
        # What an agent has to read before its first question.
        assert sum(len(tool.model_dump_json(exclude_none=True, by_alias=True)) for tool in tools) < 8000
        [hit] = json.loads(await answer(client, "search", query="Attention Is All You Need", k=1))
        assert (hit["id"], hit["year"]) == ("arxiv:1706.03762", 2017)
        assert hit["authors"].endswith(" et al.")
        hits = await answer(client, "search", query="transformers", years="2019..", has_code=True, category="cs")
        assert len(json.loads(hits)) == 8
        assert len(hits) < 8000
        near = json.loads(await answer(client, "like", ids=["1810.04805"], not_like=["1512.03385"], k=2))
        assert len(near) == 2
        shown = json.loads(await answer(client, "show", id="https://arxiv.org/abs/1706.03762v2"))
        assert shown["title"] == "Attention Is All You Need"
        [first, *_] = json.loads(await answer(client, "passages", query="Attention Is All You Need", k=1))
        assert (first["paper_id"], first["source"]) == ("arxiv:1706.03762", "abstract")
        assert [link["url"] for link in json.loads(await answer(client, "code", id="1706.03762"))] == [
            link["url"] for link in shown["code"]
        ]
        assert json.loads(await answer(client, "lists")) == [{"name": "Thesis / part 1", "papers": 2, "unread": 2}]
        listed = json.loads(await answer(client, "list_show", name="thesis / part 1"))
        assert [paper["id"] for paper in listed["papers"]] == ["arxiv:1706.03762", "arxiv:1512.03385"]
        assert (await answer(client, "export", name="Thesis / part 1")).count("\n@") == 1
        assert (await answer(client, "export", name="Thesis / part 1", format="ris")).startswith("TY  - ")
        assert len(json.loads(await answer(client, "recommend", since="2020-01-01", k=3))) == 3
        assert (await answer(client, "digest", month="2017-06", k=1)).startswith("# Papers of June 2017")

    asking(build_server(sample), ask)
    assert contents(sample.path) == before


def test_errors_are_answers(sample: kb.KnowledgeBase) -> None:
    async def ask(client: Client) -> None:
        assert "is not in the knowledge base" in await refusal(client, "show", id="2501.99999")
        assert "There is no list 'x'" in await refusal(client, "list_show", name="x")
        assert "format" in await refusal(client, "export", name="Thesis / part 1", format="word")
        assert "k" in await refusal(client, "search", query="chess", k=0)
        assert "is no range of years" in await refusal(client, "search", query="chess", years="soon")

    asking(build_server(sample), ask)


def test_lists_are_resources(sample: kb.KnowledgeBase) -> None:
    async def ask(client: Client) -> None:
        found = {resource.name: resource.uri for resource in (await client.list_resources()).resources}
        assert found == {"Reading lists": "kb://lists", "Thesis / part 1": "kb://lists/Thesis%20%2F%20part%201"}
        [content] = (await client.read_resource(found["Thesis / part 1"])).contents
        assert isinstance(content, TextResourceContents)
        assert [paper["id"] for paper in json.loads(content.text)["papers"]] == ["arxiv:1706.03762", "arxiv:1512.03385"]
        [content] = (await client.read_resource("kb://lists")).contents
        assert isinstance(content, TextResourceContents)
        assert json.loads(content.text)[0]["papers"] == 2

    asking(build_server(sample), ask)


def test_with_write_an_agent_keeps_lists(sample: kb.KnowledgeBase) -> None:
    async def ask(client: Client) -> None:
        assert {tool.name for tool in (await client.list_tools()).tools} == READING | WRITING
        assert json.loads(await answer(client, "list_new", name="By an agent", ids=["1406.2661"])) == {"papers": 1}
        added = json.loads(await answer(client, "list_add", name="By an agent", ids=["1312.6114"], tags=["vae"]))
        assert added["added"] == 1
        assert json.loads(await answer(client, "list_mark", name="By an agent", ids=["1312.6114"], read=True)) == {"marked": 1}
        removed = json.loads(await answer(client, "list_remove", name="By an agent", ids=["1406.2661"]))
        assert removed == {"removed": 1, "missing": 0}
        assert json.loads(await answer(client, "list_undo")) == {"undone": "1 taken off 'By an agent'"}
        [first, second] = sample.list_show("By an agent").entries
        assert (first.paper_id, second.read is not None, second.tags) == ("arxiv:1406.2661", True, ("vae",))
        await answer(client, "list_remove", name="By an agent", ids=["1406.2661", "1312.6114"])

    asking(build_server(sample, write=True), ask)
    sample.list_delete("By an agent")


def test_on_stdio(sample: kb.KnowledgeBase) -> None:
    """The real command: nothing but the protocol is on its stdout."""
    server = StdioServerParameters(command=sys.executable, args=[*MAIN, "--home", str(sample.path), "mcp"], env=dict(os.environ))

    async def ask(client: Client) -> None:
        assert len((await client.list_tools()).tools) == len(READING)
        [hit] = json.loads(await answer(client, "search", query="Deep Residual Learning for Image Recognition", k=1))
        assert hit["id"] == "arxiv:1512.03385"

    asking(server, ask)


def test_by_http(sample: kb.KnowledgeBase) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, *MAIN, "--home", str(sample.path), "mcp", "--http", "--port", str(port)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)

    async def ask(client: Client) -> None:
        [hit] = json.loads(await answer(client, "search", query="Deep Residual Learning for Image Recognition", k=1))
        assert hit["id"] == "arxiv:1512.03385"

    try:
        assert process.stderr is not None
        assert f"http://127.0.0.1:{port}/mcp" in process.stderr.readline()
        wait_for(port)
        asking(f"http://127.0.0.1:{port}/mcp", ask)
    finally:
        process.terminate()
        process.communicate(timeout=30)


def wait_for(port: int) -> None:
    """Return when something listens on the port."""
    for _ in range(600):
        with socket.socket() as probe:
            probe.settimeout(0.1)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    pytest.fail("nothing listens")


def test_without_the_package_the_command_says_what_to_install(tmp_path: Path) -> None:
    hide = "import sys; sys.modules['mcp'] = None; from kb.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", hide, "--home", str(tmp_path), "mcp"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr == "The package mcp is not installed: `pip install 'paper-kb[mcp]'`.\n"
