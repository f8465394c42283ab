"""Import and export: bibliography formats, one writer a module.

entries of a list + papers of the catalogue → references → one text
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kb.formats.atom import write_atom
from kb.formats.bibtex import write_bibtex
from kb.formats.csl import write_csl
from kb.formats.csv_table import write_csv
from kb.formats.markdown import write_markdown, write_obsidian
from kb.formats.reference import Reference, default_keys, make_reference, with_keys
from kb.formats.ris import write_ris
from kb.library import Choices, ReadingList
from kb.papers import CodeLink, Paper
from kb.store import Catalogue
from kb.text.hidden import without_hidden

Writer = Callable[[str, Sequence[Reference]], str]


def _visible(writer: Writer) -> Writer:
    """A writer whose text has no hidden characters, wherever they came from."""
    return lambda name, references: without_hidden(writer(name, references))


#: Writers by the name of `kb export --format`: list name and references → text of the file.
WRITERS: dict[str, Writer] = {
    "bibtex": _visible(write_bibtex),
    "ris": _visible(write_ris),
    "csl-json": _visible(write_csl),
    "csv": _visible(write_csv),
    "markdown": _visible(write_markdown),
    "obsidian": _visible(write_obsidian),
    "atom": _visible(write_atom),
}


def references_of(
    reading_list: ReadingList, catalogue: Catalogue | None, choices: Choices, *, remember: bool = True
) -> list[Reference]:
    """References for the papers of a list, in its order; `catalogue` is `None` if there is none yet.

    Assigns citation keys and, unless `remember` is False, stores them. Entries that the catalogue merges into one paper give one
    reference.
    """
    papers: dict[str, Paper] = {}
    code: dict[str, list[CodeLink]] = {}
    if catalogue is not None:
        keys = {entry.paper_id: catalogue.key_of(entry.paper_id) for entry in reading_list.entries}
        found = catalogue.papers([key for key in keys.values() if key is not None])
        papers = {identifier: found[key] for identifier, key in keys.items() if key in found}
        code = catalogue.code_of([paper.id for paper in papers.values()])
    references: dict[str, Reference] = {}
    for entry in reading_list.entries:
        paper = papers.get(entry.paper_id)
        reference = make_reference(entry, paper, code.get(paper.id, ()) if paper else ())
        references.setdefault(reference.paper_id, reference)
    given = choices.citation_keys(default_keys(list(references.values())), remember=remember)
    return with_keys(list(references.values()), given)


__all__ = ["WRITERS", "Reference", "references_of"]
