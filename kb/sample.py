"""The sample that comes with the package: arXiv metadata of well-known papers, and a page of bookmarks on some of them."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
# A wheel holds the files in the package, the source tree in data/.
_FOLDER = _PACKAGE / "sample_data" if (_PACKAGE / "sample_data").is_dir() else _PACKAGE.parent / "data" / "sample"

#: arXiv metadata, for `ingest_snapshot`.
SAMPLE_PAPERS = _FOLDER / "papers.jsonl"
#: Markdown bookmarks, for `ingest_notes`.
SAMPLE_NOTES = _FOLDER / "bookmarks.md"
