"""The catalogue: DuckDB files published in generations. The only package that speaks SQL to DuckDB."""

from kb.store.catalogue import Catalogue, DocumentBatch, Filters, Keys, Run, parse_categories, parse_years
from kb.store.code import CodeCatalogue, NamedRepository, PaperText, RepositoryState
from kb.store.generations import CATALOGUE, Draft, Generation, Home, Manifest, checksum
from kb.store.index_documents import IndexDocument, IndexDocuments
from kb.store.integrity import catalogue_problems
from kb.store.ledger import Harvest, History, Ledger, Pending, TextChange, Withdrawal
from kb.store.merge import SNAPSHOT_ARROW, PaperChanges, StagedPapers
from kb.store.notes import Mentioned, NoteChanges, NoteMatch, Notes, TitleOrigin, UntitledNote

__all__ = [
    "CATALOGUE",
    "SNAPSHOT_ARROW",
    "Catalogue",
    "CodeCatalogue",
    "DocumentBatch",
    "Draft",
    "Filters",
    "Generation",
    "Harvest",
    "History",
    "Home",
    "IndexDocument",
    "IndexDocuments",
    "Keys",
    "Ledger",
    "Manifest",
    "Mentioned",
    "NamedRepository",
    "NoteChanges",
    "NoteMatch",
    "Notes",
    "PaperChanges",
    "PaperText",
    "Pending",
    "RepositoryState",
    "Run",
    "StagedPapers",
    "TextChange",
    "TitleOrigin",
    "UntitledNote",
    "Withdrawal",
    "catalogue_problems",
    "checksum",
    "parse_categories",
    "parse_years",
]
