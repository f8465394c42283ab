"""What one file of notes holds."""

from __future__ import annotations

from dataclasses import dataclass

from kb.papers import Mention, Note, Skipped


@dataclass(frozen=True, slots=True)
class Document:
    """What one file of notes holds."""

    source: str
    title: str
    notes: tuple[Note, ...]
    mentions: tuple[Mention, ...]
    """Links beside the notes, such as repositories listed on their own."""
    skipped: tuple[Skipped, ...]
    """What could not be read."""
    guessed_encoding: str = ""
    """What its text was decoded from, where that had to be guessed."""
    no_paper: str = ""
    """Why there is no note on a paper in it, with its line; empty where there is one."""
