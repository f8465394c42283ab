"""HTTP routes for programs, in the app's own process: search, papers, reading lists and their exports, all of it to read only.

With the variable KB_API_TOKEN, a request needs `Authorization: Bearer TOKEN`. Without it, only requests of this machine to a
loopback address are answered, and none at all where people have to sign in.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from hmac import compare_digest

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from app import resources
from app.access import Access
from kb.api.knowledge_base import KnowledgeBase
from kb.api.results import list_as_json
from kb.errors import IdentifierError, KnowledgeBaseError, QueryError

_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
#: Export format and media type by the extension of `list.…`.
_EXPORTS = {
    "bib": ("bibtex", "application/x-bibtex"),
    "ris": ("ris", "application/x-research-info-systems"),
    "json": ("csl-json", "application/vnd.citationstyles.csl+json"),
    "csv": ("csv", "text/csv"),
    "md": ("markdown", "text/markdown"),
    "atom": ("atom", "application/atom+xml"),
}


def routes() -> list[Route]:
    """The routes of the API, all of them GET."""
    return [
        Route("/api/search", _guarded(_search, 400)),
        Route("/api/papers/{id:path}", _guarded(_paper, 404)),
        Route("/api/lists", _guarded(_lists, 404)),
        Route("/api/lists/{name:path}/list.{extension}", _guarded(_export, 404)),
        Route("/api/lists/{name:path}", _guarded(_list, 404)),
    ]


@cache
def _base() -> KnowledgeBase:
    return KnowledgeBase(resources.home().path)


def _search(request: Request) -> Response:
    asked = request.query_params
    try:
        k = int(asked.get("k", "10"))
    except ValueError:
        raise QueryError(f"k is {asked['k']!r}; ask for a number from 1 to 100.") from None
    if not 1 <= k <= 100:
        raise QueryError(f"k is {k}; ask for a number from 1 to 100.")
    hits = _base().search(
        asked.get("q", ""),
        k,
        categories=asked.getlist("category"),
        author=asked.get("author", ""),
        years=asked.get("years", ""),
        has_code=asked.get("has_code", "") in {"1", "true"},
        source=asked.get("source", ""),
        list_name=asked.get("list", ""),
    )
    return JSONResponse([hit.as_json() for hit in hits])


def _paper(request: Request) -> Response:
    return JSONResponse(_base().show(request.path_params["id"]).as_json())


def _lists(_request: Request) -> Response:
    found = _base().lists()
    return JSONResponse([{"name": summary.name, "papers": summary.papers, "unread": summary.unread} for summary in found])


def _list(request: Request) -> Response:
    return JSONResponse(list_as_json(_base().list_show(request.path_params["name"])))


def _export(request: Request) -> Response:
    extension = request.path_params["extension"]
    if extension not in _EXPORTS:
        raise QueryError(f"There is no list.{extension}; there are {', '.join(f'list.{name}' for name in _EXPORTS)}.")
    form, media_type = _EXPORTS[extension]
    text = _base().export(request.path_params["name"], form, remember=not resources.read_only())
    return Response(text.encode("utf-8", "replace"), media_type=media_type)


def _guarded(answer: Callable[[Request], Response], wrong_use: int) -> Callable[[Request], Response]:
    """The endpoint behind the check of who asks; `wrong_use` is the status of a request that makes no sense."""

    def endpoint(request: Request) -> Response:
        if not _is_allowed(request):
            return _error("Send the token: `Authorization: Bearer TOKEN`, with KB_API_TOKEN set where the app runs.", 401)
        try:
            return answer(request)
        except (QueryError, IdentifierError) as error:
            return _error(str(error), wrong_use)
        except KnowledgeBaseError as error:
            return _error(str(error), 503)

    return endpoint


def _is_allowed(request: Request) -> bool:
    token = os.environ.get("KB_API_TOKEN", "")
    if token:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and compare_digest(given.strip().encode(), token.encode())
    # A name other than a loopback one is a proxy's, or that of a page elsewhere which had its name point here.
    here = request.url.hostname in _LOOPBACK and request.client is not None and request.client.host in _LOOPBACK
    return here and not Access.current().sign_in


def _error(message: str, status: int) -> Response:
    return JSONResponse({"error": message}, status)
