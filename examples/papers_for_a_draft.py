"""Find papers for a draft, put them on a reading list, and write the list as BibTeX.

python examples/papers_for_a_draft.py HOME draft.txt "Related work" > related.bib
"""

from __future__ import annotations

import sys
from pathlib import Path

import kb


def main(home: str, draft: str, list_name: str) -> None:
    """Search once for each paragraph of the draft; the best three papers of each go on the list."""
    paragraphs = [paragraph for paragraph in Path(draft).read_text(encoding="utf-8").split("\n\n") if paragraph.strip()]
    with kb.KnowledgeBase(home) as base:
        found = [hit.paper.id for paragraph in paragraphs for hit in base.search(paragraph, k=3)]
        base.list_new(list_name, list(dict.fromkeys(found)))
        sys.stdout.write(base.export(list_name, "bibtex"))


if __name__ == "__main__":
    main(*sys.argv[1:])
