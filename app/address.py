"""What the page's address says: the whole state of a search, so that it can be shared, kept and gone back to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import streamlit as st

from kb.errors import QueryError
from kb.search import MAX_K
from kb.store import Filters, parse_years

STEP = 10  # results to a page, and how many more "Show more" brings
_LONGEST = 4000  # characters of a query; a pasted abstract has half of them


@dataclass(frozen=True, slots=True)
class Address:
    """One search, as its address has it."""

    text: str = ""
    like: tuple[str, ...] = ()
    """Ids of papers to find the like of."""
    unlike: tuple[str, ...] = ()
    filters: Filters = field(default_factory=Filters)
    k: int = STEP

    @property
    def asks(self) -> bool:
        """Whether anything is looked for at all."""
        return bool(self.text or self.like or self.unlike)

    @classmethod
    def read(cls) -> Address:
        """The address that the browser shows. Raises QueryError for years that are none."""
        parameters = st.query_params
        k = parameters.get("k", "")
        return cls(
            " ".join(parameters.get("q", "").split())[:_LONGEST],
            _each(parameters.get_all("like")),
            _each(parameters.get_all("not")),
            Filters(
                _each(parameters.get_all("category")),
                parameters.get("author", "").strip(),
                parse_years(parameters.get("year", "")),
                parameters.get("code", "") == "1",
                parameters.get("source", ""),
            ),
            min(max(int(k), 1), MAX_K) if k.isascii() and k.isdigit() and len(k) < 5 else STEP,
        )

    def go(self) -> None:
        """Makes this the address; the browser's back button leads to the one before."""
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
            "k": "" if self.k == STEP else str(self.k),
        }
        st.query_params.from_dict({name: value for name, value in written.items() if value})


def read_or_default() -> tuple[Address, QueryError | None]:
    """The address, or an empty one with what is wrong with it."""
    try:
        return Address.read(), None
    except QueryError as error:
        return Address(), error


def _each(values: Iterable[str]) -> tuple[str, ...]:
    """The values that say something, each once."""
    return tuple(dict.fromkeys(v for v in (value.strip() for value in values) if v))
