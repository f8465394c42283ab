"""Reading people's own notes on papers: bookmarks, reading lists, newsletters, digests, tables.

A file of notes goes in, a `Document` comes out; nothing is stored here. A document is read in this order:

    file → front matter → page (lines and Markdown blocks) → headings → tables → newsletter → digest → lists → links left over

Each reader takes the lines that it understands and leaves the rest to the next, so that one file may mix dialects.
"""

from ingest.notes.document import Document
from ingest.notes.files import note_files
from ingest.notes.read import parse_document, read_document

__all__ = ["Document", "note_files", "parse_document", "read_document"]
