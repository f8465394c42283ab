"""A bibliography among the notes: every reference is a note, its title as sure as a note's can be."""

from __future__ import annotations

from ingest.notes.document import Document
from kb.errors import IdentifierError, SourceError
from kb.formats.read import parse_bibliography
from kb.identifiers import paper_url
from kb.papers import Note, Skipped


def read_references(text: str, source: str) -> Document:
    """Read BibTeX, RIS or CSL-JSON; what cannot be read of it is among the document's `skipped`."""
    try:
        found = parse_bibliography(text.encode("utf-8", "replace"), source)
    except SourceError as error:
        return Document(source, "", (), (), (Skipped(source, 1, str(error)),))
    notes = tuple(
        Note(
            source=source,
            line=number,
            paper_id=entry.paper_id,
            title=entry.title,
            body=entry.remark,
            authors=tuple(author.name for author in entry.authors),
            venue=entry.venue,
            year=entry.year,
            url=_url(entry.paper_id),
            tags=entry.tags,
            title_source="bibliography",
        )
        for number, entry in enumerate(found.entries, 1)
    )
    return Document(source, "", notes, (), found.skipped, no_paper="" if notes else "the bibliography holds no reference")


def _url(identifier: str) -> str:
    try:
        return paper_url(identifier)
    except IdentifierError:
        return ""
