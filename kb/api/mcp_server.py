"""A server of the Model Context Protocol: a knowledge base as tools and resources for agents.

A tool is a method of `KnowledgeBase`, its result compact JSON. Without `write`, nothing in the knowledge base is changed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from functools import wraps
from typing import Annotated, Any, Literal
from urllib.parse import quote, unquote

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ResourceError, ToolError
from mcp_types import Resource, ToolAnnotations
from pydantic import Field

from kb import __version__
from kb.api.knowledge_base import KnowledgeBase
from kb.api.results import list_as_json, report_as_json
from kb.errors import KnowledgeBaseError
from kb.search.searcher import Hit

LISTS_URI = "kb://lists"
_INSTRUCTIONS = (
    "A personal collection of machine-learning papers with the user's notes, the papers' code and reading lists. "
    "Search first; ids look like arxiv:1706.03762."
)
_TEXT = 300  # characters of a note or sentence in a list of results
_AUTHORS = 3  # names in a list of results

K = Annotated[int, Field(ge=1, le=50, description="How many.")]
Ids = Annotated[list[str], Field(min_length=1, max_length=50, description="Ids or addresses of papers.")]
ListName = Annotated[str, Field(description="A reading list.")]
Format = Literal["bibtex", "ris", "csl-json", "csv", "markdown", "obsidian", "atom"]


class _Server(MCPServer[Any]):
    """An MCP server whose resources include the reading lists there are now."""

    def __init__(self, base: KnowledgeBase) -> None:
        """Serve a knowledge base; tools are added by `build_server`."""
        super().__init__("paper-kb", instructions=_INSTRUCTIONS, version=__version__, log_level="WARNING")
        self._base = base

    async def list_resources(self) -> list[Resource]:
        """The overview of the lists, and each list."""
        lists = [
            Resource(uri=f"{LISTS_URI}/{quote(found.name, safe='')}", name=found.name, mime_type="application/json")
            for found in self._base.lists()
        ]
        return [*await super().list_resources(), *lists]


def build_server(base: KnowledgeBase, *, write: bool = False) -> MCPServer[Any]:
    """The server of a knowledge base; with `write`, tools that change reading lists and fetch papers as well."""
    server = _Server(base)
    tools = _Tools(base)
    reading: list[Callable[..., object]] = [
        tools.search, tools.like, tools.show, tools.passages, tools.code, tools.lists, tools.list_show, tools.export,
        tools.recommend, tools.digest,
    ]  # fmt: skip
    for tool in reading:
        server.add_tool(_answering(tool), annotations=ToolAnnotations(read_only_hint=True), structured_output=False)
    writing: list[Callable[..., object]] = [
        tools.list_new, tools.list_add, tools.list_remove, tools.list_mark, tools.list_undo, tools.fetch,
    ]  # fmt: skip
    for tool in writing if write else ():
        server.add_tool(_answering(tool), annotations=ToolAnnotations(read_only_hint=False), structured_output=False)
    server.resource(LISTS_URI, name="Reading lists", mime_type="application/json")(_reading(tools.lists))
    server.resource(f"{LISTS_URI}/{{name}}", name="A reading list", mime_type="application/json")(_reading(tools.list_resource))
    return server


def serve(base: KnowledgeBase, *, write: bool = False, port: int | None = None) -> None:
    """Serve on stdin and stdout, or by HTTP at `http://127.0.0.1:PORT/mcp`, until the client leaves or the process is stopped."""
    server = build_server(base, write=write)
    if port is None:
        server.run("stdio")
    else:
        server.run("streamable-http", host="127.0.0.1", port=port, json_response=True, stateless_http=True)


class _Tools:
    """The tools; a docstring is the description that an agent reads."""

    def __init__(self, base: KnowledgeBase) -> None:
        self._base = base

    def search(
        self,
        query: Annotated[str, Field(description="A phrase, question, title, abstract, author or id.")],
        k: K = 8,
        category: Annotated[str, Field(description="Such as cs.CL or cs.")] = "",
        author: str = "",
        years: Annotated[str, Field(description="2019, 2019..2023, 2019.. or ..2023.")] = "",
        has_code: bool = False,
        noted: Annotated[bool, Field(description="Only papers of the user's notes.")] = False,
        list_name: str = "",
    ) -> object:
        """Find papers by what they are about."""
        found = self._base.search(
            query,
            k,
            categories=[category] if category else [],
            author=author,
            years=years,
            has_code=has_code,
            source="notes" if noted else "",
            list_name=list_name,
        )
        return [_brief(hit) for hit in found]

    def like(self, ids: Ids, not_like: list[str] | None = None, text: str = "", k: K = 8) -> object:
        """Find papers like some, unlike others, near to a text."""
        return [_brief(hit) for hit in self._base.like(ids, not_like or (), text, k)]

    def show(self, id: str) -> object:
        """Everything known of one paper: abstract, notes, code, versions."""
        return self._base.show(id).as_json()

    def passages(self, query: str, k: Annotated[int, Field(ge=1, le=50, description="From how many papers.")] = 5) -> object:
        """Find the sentences of abstracts and notes that answer best."""
        return [passage.as_json() for passage in self._base.passages(query, k)]

    def code(self, id: str) -> object:
        """The repositories of a paper, with the evidence for each."""
        hit = self._base.show(id).hit
        return [{"url": link.url, "facts": link.facts} for link in hit.code]

    def lists(self) -> object:
        """The reading lists."""
        return [{"name": found.name, "papers": found.papers, "unread": found.unread} for found in self._base.lists()]

    def list_show(self, name: ListName) -> object:
        """The papers of a reading list, with remarks and tags."""
        return list_as_json(self._base.list_show(name))

    def list_resource(self, name: str) -> object:
        """A reading list, by its name in an address."""
        return self.list_show(unquote(name))

    def export(self, name: ListName, format: Format = "bibtex") -> object:
        """A reading list as BibTeX or another format."""
        return self._base.export(name, format, remember=False)

    def recommend(
        self, list_name: Annotated[str, Field(description="Empty: all lists.")] = "", since: date | None = None, k: K = 8
    ) -> object:
        """New papers close to those of a reading list, each with the reason."""
        answers = self._base.recommend(list_name, since=since, k=k, remember=False)
        return [_brief(answer.hit) | {"reason": answer.reason} for answer in answers]

    def digest(self, month: Annotated[str, Field(description="YYYY-MM.")], k: K = 8) -> object:
        """The papers of a month most worth reading, and its trends, as Markdown."""
        from kb.formats.digest import DIGEST_WRITERS

        return DIGEST_WRITERS["markdown"](self._base.digest(month, k))

    def list_new(self, name: ListName, ids: list[str] | None = None) -> object:
        """Make a reading list."""
        return {"papers": self._base.list_new(name, ids or ())}

    def list_add(self, name: ListName, ids: Ids, remark: str = "", tags: list[str] | None = None) -> object:
        """Put papers on a reading list."""
        return self._base.list_add(name, ids, remark=remark, tags=tags or ()).as_json()

    def list_remove(self, name: ListName, ids: Ids) -> object:
        """Take papers off a reading list; list_undo brings them back."""
        done = self._base.list_remove(name, ids)
        return {"removed": done.removed, "missing": done.missing}

    def list_mark(
        self, name: ListName, ids: Ids, read: bool | None = None, remark: str | None = None, tags: list[str] | None = None
    ) -> object:
        """Mark papers of a list as read or unread; set their remark; add tags."""
        return {"marked": self._base.list_mark(name, ids, read=read, remark=remark, tags=tags or ())}

    def list_undo(self) -> object:
        """Undo the last removal."""
        return {"undone": self._base.list_undo()}

    def fetch(self, ids: Ids) -> object:
        """Fetch papers from arXiv by their ids; takes seconds."""
        return report_as_json(self._base.ingest_arxiv(ids=ids))


def _brief(hit: Hit) -> dict[str, Any]:
    """A hit in few words; what is empty is left out."""
    paper = hit.paper
    names = [author.name for author in paper.authors]
    row = {
        "id": paper.id,
        "title": paper.title,
        "authors": ", ".join(names[:_AUTHORS]) + (" et al." if len(names) > _AUTHORS else ""),
        "year": paper.year,
        "url": hit.url,
        "score": round(hit.score, 3),
        "matched": _cut(hit.matched),
        "code": [link.url for link in hit.code[:2]],
        "note": _cut(hit.notes[0].body) if hit.notes else "",
        "withdrawn": paper.withdrawn,
    }
    return {name: value for name, value in row.items() if value}


def _cut(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _TEXT else f"{text[: _TEXT - 1]}…"


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _answering(method: Callable[..., object]) -> Callable[..., str]:
    """The method as a tool: JSON in few characters, and the library's errors as answers."""

    @wraps(method)
    def tool(**arguments: Any) -> str:  # noqa: ANN401
        try:
            return _text(method(**arguments))
        except KnowledgeBaseError as error:
            raise ToolError(str(error)) from error

    return tool


def _reading(method: Callable[..., object]) -> Callable[..., str]:
    """The method as what reads a resource."""

    @wraps(method)
    def read(**arguments: Any) -> str:  # noqa: ANN401
        try:
            return _text(method(**arguments))
        except KnowledgeBaseError as error:
            raise ResourceError(str(error)) from error

    return read
