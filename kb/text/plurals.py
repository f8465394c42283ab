"""Numbers of things in words."""

from __future__ import annotations

from collections.abc import Mapping

_ONE = {
    "files": "file",
    "mentions": "mention",
    "code links": "code link",
    "rows": "row",
    "days": "day",
    "papers": "paper",
    "repositories": "repository",
}


def counted(n: int, noun: str) -> str:
    """`1 paper`, `2,000 papers`."""
    return f"{n:,} {noun}" + ("" if n == 1 else "s")


def listed(counts: Mapping[str, int]) -> str:
    """What a job counted, by the names that it gives to many of each: `1 file, 12 new, 3 code links`."""
    return ", ".join(f"{n:,} {_of_one(name) if n == 1 else name}" for name, n in counts.items())


def _of_one(name: str) -> str:
    """`files` as `file`, `days filled` as `day filled`; what names no things stays as it is."""
    for many, one in _ONE.items():
        if name == many or name.startswith(f"{many} "):
            return one + name[len(many) :]
    return name
