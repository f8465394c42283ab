"""Counts with their nouns in singular or plural."""

from __future__ import annotations

from collections.abc import Mapping

_SINGULARS = {
    "files": "file",
    "mentions": "mention",
    "code links": "code link",
    "rows": "row",
    "days": "day",
    "papers": "paper",
    "repositories": "repository",
}


def pluralize(n: int, noun: str) -> str:
    """A count with its noun: `1 paper`, `2,000 papers`."""
    return f"{n:,} {noun}" + ("" if n == 1 else "s")


def describe_counts(counts: Mapping[str, int]) -> str:
    """Counts by name as a list, nouns in singular or plural: `1 file, 12 new, 3 code links`."""
    return ", ".join(f"{n:,} {_singular(name) if n == 1 else name}" for name, n in counts.items())


def _singular(name: str) -> str:
    """The singular of a name: `files` → `file`, `days filled` → `day filled`, `new` → `new`."""
    for many, one in _SINGULARS.items():
        if name == many or name.startswith(f"{many} "):
            return one + name[len(many) :]
    return name
