"""The user's own data: reading lists, dismissed and recommended papers, citation keys, and matches of untitled notes.

    HOME/library.sqlite     SQLite in WAL mode; the catalogue can be made again from its sources, this cannot

Every change is one transaction that waits for its turn, so the command line and the app may write at the same time, and
a change is either whole and on disk when its method returns, or not there. A removal is only marked, and `undo`
takes back the last one. An entry keeps the paper's title, authors and year, so that a list can be read without the catalogue.
"""

from kb.library.choices import Choices
from kb.library.database import LibraryFile
from kb.library.lists import Entry, Library, ListSummary, ReadingList, Removal, is_same_work, resolve_entries

LIBRARY_FILE = "library.sqlite"

__all__ = [
    "LIBRARY_FILE",
    "Choices",
    "Entry",
    "Library",
    "LibraryFile",
    "ListSummary",
    "ReadingList",
    "Removal",
    "is_same_work",
    "resolve_entries",
]
