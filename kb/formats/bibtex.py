"""BibTeX writer (UTF-8), for BibTeX, biber, Zotero and pandoc."""

from __future__ import annotations

from collections.abc import Sequence

from bibtexparser.entrypoint import write_string
from bibtexparser.library import Library
from bibtexparser.model import Entry, Field
from bibtexparser.writer import BibtexFormat

from kb.formats.reference import Reference, is_organisation, is_others
from kb.papers import Author
from kb.text.latex import bibtex_title, escape

# Verbatim fields (doi, url): nothing in them is escaped, so characters that would end them are percent-encoded.
_VERBATIM = str.maketrans({"{": "%7B", "}": "%7D", "\\": "%5C", " ": "%20"})


def write_bibtex(name: str, references: Sequence[Reference]) -> str:  # noqa: ARG001
    """Write references in their order. BibTeX has no place for the list's name."""
    layout = BibtexFormat()  # type: ignore[no-untyped-call]
    layout.indent = "  "
    layout.block_separator = "\n"
    return write_string(Library([_entry(r) for r in references]), bibtex_format=layout)


def _entry(r: Reference) -> Entry:
    venue = r.venue
    kind = "misc" if venue is None else "article" if venue.kind == "journal" else "inproceedings"
    fields = {
        "title": bibtex_title(r.title),
        "author": " and ".join(_author(a) for a in r.authors),
        "journal" if venue and venue.kind == "journal" else "booktitle": escape(venue.name) if venue else "",
        "volume": escape(venue.volume) if venue else "",
        "number": escape(venue.number) if venue else "",
        "pages": escape(venue.pages.replace("–", "--")) if venue else "",
        "year": str(r.year or ""),
        "doi": r.doi.translate(_VERBATIM),
        "eprint": r.arxiv,
        "archiveprefix": "arXiv" if r.arxiv else "",
        "primaryclass": escape(r.primary_class) if r.arxiv else "",
        "url": r.url.translate(_VERBATIM),
        "code": " ".join(r.code).translate(_VERBATIM | {ord(" "): " "}),
        "keywords": escape(", ".join(r.tags)),
        "annote": escape(" ".join(r.remark.split())),
        "abstract": escape(r.plain_abstract),
    }
    return Entry(kind, r.key, [Field(k, v) for k, v in fields.items() if v])


def _author(author: Author) -> str:
    if is_others(author):
        return author.family
    if is_organisation(author):
        return f"{{{escape(author.name)}}}"
    return ", ".join(_part(part) for part in (author.family, author.suffix, author.given) if part)


def _part(part: str) -> str:
    """A name part, in braces if BibTeX would split it at a comma or `and`."""
    return f"{{{escape(part)}}}" if "," in part or " and " in f" {part} " else escape(part)
