"""List the papers of your notes that have code, the ones with most stars first.

python examples/code_in_my_notes.py HOME "diffusion models"
"""

from __future__ import annotations

import sys

import kb


def main(home: str, text: str) -> None:
    """Search the papers that notes tell of, and print stars, title and repository of those with code."""
    with kb.KnowledgeBase(home) as base:
        hits = base.search(text, k=20, source="notes", has_code=True)
    for hit in sorted(hits, key=lambda hit: -(hit.code[0].stars or 0)):
        link = hit.code[0]
        sys.stdout.write(f"{link.stars or 0:>7}  {hit.paper.title}  {link.url}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
