"""Markdown reading list, written and read back; plain or with Obsidian's front matter.

## [Attention Is All You Need](https://arxiv.org/abs/1706.03762) (2017)

By Ashish Vaswani, Noam Shazeer

The remark.

- Venue: Advances in Neural Information Processing Systems
- Code: <https://github.com/tensorflow/tensor2tensor>
- Tags: #attention
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

import yaml

from kb.formats.reference import Reference
from kb.identifiers import arxiv_version
from kb.library import Entry
from kb.papers import Author, Note

_UNKNOWN = "Untitled "
_SPECIAL = re.compile(r"([\\`*_\[\]<>|])")
# Lines that the notes parser would read as headings, rules or front matter.
_BLOCK = re.compile(r"^(\s*)(#{1,6}\s|[-=]{3,}\s*$)", re.MULTILINE)
_FACTS = re.compile(r"(?:\n\n|\A)(?:- (?:Venue|Code|Tags|Read): .*(?:\n|\Z))+\Z")
_AUTHORS = re.compile(r"\ABy (?P<names>.+?)(?:\n\n|\n?\Z)")


def write_markdown(name: str, references: Sequence[Reference]) -> str:
    """Write the list under its name as a heading, one section per paper."""
    return f"# {_escape(name)}\n" + "".join(_section(r) for r in references)


def write_obsidian(name: str, references: Sequence[Reference]) -> str:
    """Write Markdown with front matter: title, tags of all papers, and citation keys."""
    meta = {
        "title": name,
        "tags": sorted({_tag(tag) for r in references for tag in r.tags} | {"reading-list"}),
        "citekeys": [r.key for r in references],
    }
    return f"---\n{yaml.safe_dump(meta, allow_unicode=True, sort_keys=False, width=10_000)}---\n\n" + write_markdown(
        name, references
    )


def _section(r: Reference) -> str:
    # The notes parser does not take a bare identifier as a title.
    title = _escape(_UNKNOWN + r.paper_id if r.title == r.paper_id else r.plain_title)
    heading = f"[{title}](<{_address(r)}>)" if r.url else title
    facts = [
        f"- Venue: {_escape(r.venue.name)}" if r.venue else "",
        *(f"- Code: <{url}>" for url in r.code),
        f"- Tags: {' '.join(f'#{_tag(tag)}' for tag in r.tags)}" if r.tags else "",
        f"- Read: {r.read.date().isoformat()}" if r.read else "",
    ]
    parts = [
        f"## {heading}" + (f" ({r.year})" if r.year else ""),
        f"By {', '.join(_escape(a.name.replace(',', '')) for a in r.authors)}" if r.authors else "",
        _BLOCK.sub(r"\1\\\2", r.remark.strip()),
        "\n".join(filter(None, facts)),
    ]
    return "\n" + "\n\n".join(filter(None, parts)) + "\n"


def _address(r: Reference) -> str:
    """The address with the arXiv version added."""
    version = arxiv_version(r.arxiv)
    return f"{r.url}v{version}" if version and r.url.endswith(r.arxiv.removesuffix(f"v{version}")) else r.url


def _escape(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _tag(tag: str) -> str:
    """A tag as one word, as Obsidian requires."""
    return re.sub(r"[^\w/-]+", "-", tag).strip("-")


def entry_of_note(note: Note) -> Entry:
    """Convert a note read from such a file back to a list entry."""
    body = note.body.strip()
    names = note.authors
    if match := _AUTHORS.match(body):
        names = tuple(name.strip() for name in _unescape(match["names"]).split(","))
        body = body[match.end() :]
    facts = _FACTS.search(body)
    written_here = bool(match or facts)
    title = note.title.removeprefix(_UNKNOWN) if note.title == _UNKNOWN + note.paper_id else note.title
    found = dict(line[2:].split(": ", 1) for line in facts[0].strip().splitlines()) if facts else {}
    tags = tuple(tag.removeprefix("#") for tag in found.get("Tags", "").split())
    # The notes parser reads brackets at the end of a title as the paper's nickname, and puts it before the other tags.
    if written_here and note.tags and note.tags[0] not in tags:
        title = f"{title} ({note.tags[0]})"
    remark = body[: facts.start()] if facts else body
    return Entry(
        note.paper_id,
        title,
        tuple(Author.from_name(name) for name in names),
        note.year,
        _unescape(found.get("Venue", "")) or note.venue,
        remark.strip(),
        tags if written_here else note.tags,
        read=_day(found.get("Read", "")),
    )


def _day(text: str) -> datetime | None:
    """Midnight of an ISO date; `None` if the text is no date."""
    try:
        return datetime.fromisoformat(text.strip())
    except ValueError:
        return None


def _unescape(text: str) -> str:
    return re.sub(r"\\([\\`*_\[\]<>|])", r"\1", text)
