"""Rows of the table of results."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One figure beside that of a peer."""

    what: str
    ours: str
    peer: str
    ratio: str
    aim: str = ""


def table(rows: list[Row]) -> str:
    """The rows as a Markdown table."""
    lines = ["| what | ours | peer in the same run | ratio | aim |", "| --- | --- | --- | --- | --- |"]
    return "\n".join(lines + [f"| {r.what} | {r.ours} | {r.peer} | {r.ratio} | {r.aim} |" for r in rows])
