"""`kb backup` and `kb restore`: everything that is the user's own, in one archive."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kb.cli.console import Json, knowledge_base, print_json, say

Archive = Annotated[Path, typer.Argument(metavar="FILE", help="A .zip archive.")]


def backup(archive: Archive, as_json: Json = False) -> None:
    """Write everything that is yours into one archive: reading lists, dismissed papers, citation keys, config.toml."""
    names = knowledge_base().backup(archive)
    if as_json:
        print_json({"file": str(archive), "contents": names})
    else:
        say(f"Wrote {', '.join(names)} to {archive}. Bring them back with `kb restore {archive}`.")


def restore(archive: Archive, as_json: Json = False) -> None:
    """Bring back what `kb backup` wrote. What is there now is kept beside it."""
    done = knowledge_base().restore(archive)
    if as_json:
        rows = {name: list(getattr(done, name)) for name in ("restored", "unchanged", "newer")}
        print_json({"made": done.made, "kept": str(done.kept) if done.kept else None} | rows)
        return
    for name in done.restored:
        say(f"{name} is as it was on {done.made} (UTC).")
    for name in done.newer:
        say(f"{name} was changed after that backup; the changed file is kept.", "yellow")
    if done.kept:
        say(f"What was there before: {done.kept}")
    if done.unchanged:
        say(f"Nothing to restore: {', '.join(done.unchanged)}.")
