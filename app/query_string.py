"""The state of the search page in its query string, so that a search can be shared, kept and gone back to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import streamlit as st

from kb.errors import QueryError
from kb.search.query_syntax import SORTS, Sort
from kb.store import Filters, parse_years
from kb.text.facets import FACETS, Facet

_MAX_QUERY = 4000  # characters of a query; a pasted abstract has half of them


@dataclass(frozen=True, slots=True)
class Address:
    """One search as the query string holds it."""

    text: str = ""
    like: tuple[str, ...] = ()
    """Ids of papers to find the like of."""
    unlike: tuple[str, ...] = ()
    filters: Filters = field(default_factory=Filters)
    list_name: str = ""
    """Only papers of this reading list."""
    facet: Facet | None = None
    """Alike in this respect only."""
    sort: Sort = "relevance"
    page: int = 1

    @property
    def asks(self) -> bool:
        """Whether anything is looked for at all."""
        return bool(self.text or self.like or self.unlike)

    @property
    def filtered(self) -> bool:
        """True if anything narrows the search down."""
        return bool(self.filters or self.list_name)

    @classmethod
    def read(cls) -> Address:
        """The address that the browser shows. Raises QueryError for years that are none."""
        parameters = st.query_params
        page = parameters.get("page", "")
        return cls(
            " ".join(parameters.get("q", "").split())[:_MAX_QUERY],
            _each(parameters.get_all("like")),
            _each(parameters.get_all("not")),
            Filters(
                _each(parameters.get_all("category")),
                parameters.get("author", "").strip(),
                parse_years(parameters.get("year", "")),
                parameters.get("code", "") == "1",
                parameters.get("source", ""),
            ),
            parameters.get("list", "").strip(),
            next((facet for facet in FACETS if facet == parameters.get("facet", "")), None),
            next((sort for sort in SORTS if sort == parameters.get("sort", "")), "relevance"),
            max(int(page), 1) if page.isascii() and page.isdigit() and len(page) < 4 else 1,
        )

    def parameters(self) -> dict[str, str | list[str]]:
        """The address's parameters, those that say nothing left out."""
        first, last = self.filters.years
        written: dict[str, str | list[str]] = {
            "q": self.text,
            "like": list(self.like),
            "not": list(self.unlike),
            "category": list(self.filters.categories),
            "author": self.filters.author,
            "year": "" if first is None and last is None else f"{first or ''}..{last or ''}",
            "code": "1" if self.filters.has_code else "",
            "source": self.filters.source,
            "list": self.list_name,
            "facet": self.facet or "",
            "sort": "" if self.sort == "relevance" else self.sort,
            "page": "" if self.page == 1 else str(self.page),
        }
        return {name: value for name, value in written.items() if value}

    def go(self) -> None:
        """Make this the address; the browser's back button leads to the one before."""
        st.query_params.from_dict(self.parameters())

    def with_example(self, identifier: str) -> Address:
        """Ask for more like this paper as well, and begin with the first page."""
        return replace(self, like=_with(self.like, identifier), unlike=_without(self.unlike, identifier), page=1)

    def with_counterexample(self, identifier: str) -> Address:
        """Ask for none like this paper."""
        return replace(self, like=_without(self.like, identifier), unlike=_with(self.unlike, identifier), page=1)

    def without(self, identifier: str) -> Address:
        """Take a paper out of the examples of both kinds."""
        return replace(self, like=_without(self.like, identifier), unlike=_without(self.unlike, identifier), page=1)


def read_or_default() -> tuple[Address, QueryError | None]:
    """The address, or an empty one with what is wrong with it."""
    try:
        return Address.read(), None
    except QueryError as error:
        return Address(), error


def _with(ids: tuple[str, ...], identifier: str) -> tuple[str, ...]:
    return (*_without(ids, identifier), identifier)


def _without(ids: tuple[str, ...], identifier: str) -> tuple[str, ...]:
    return tuple(x for x in ids if x != identifier)


def _each(values: Iterable[str]) -> tuple[str, ...]:
    """The values that say something, each once."""
    return tuple(dict.fromkeys(v for v in (value.strip() for value in values) if v))
