"""Where the catalogue is kept: DuckDB files, published in generations. The only package with DuckDB's SQL."""

from kb.store.catalogue import Catalogue, DocumentBatch, Filters, Keys, NoteChanges, PaperChanges, Run
from kb.store.generations import Draft, Generation, Home, Manifest

__all__ = [
    "Catalogue",
    "DocumentBatch",
    "Draft",
    "Filters",
    "Generation",
    "Home",
    "Keys",
    "Manifest",
    "NoteChanges",
    "PaperChanges",
    "Run",
]
