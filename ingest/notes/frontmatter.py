"""Files that hold one note, with the paper in their front matter, as Obsidian and Zotero write them.

---
title: Attention Is All You Need
arxiv: 1706.03762
authors: [Ashish Vaswani, Noam Shazeer]
year: 2017
tags: [transformers]
---
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ingest.notes.findings import Findings
from ingest.notes.headings import document_heading, heading_words
from ingest.notes.links import Link, is_paper
from ingest.notes.page import Page
from ingest.notes.titles import Title, clean_title, split_people
from kb.errors import IdentifierError
from kb.identifiers import normalised, paper_id

_YEAR = re.compile(r"(?:19|20)\d{2}")
# Fields that hold an identifier, and what makes an address of it.
_IDENTIFIERS = {
    "arxiv": "https://arxiv.org/abs/",
    "arxiv_id": "https://arxiv.org/abs/",
    "arxivid": "https://arxiv.org/abs/",
    "eprint": "https://arxiv.org/abs/",
    "doi": "https://doi.org/",
    "openreview": "https://openreview.net/forum?id=",
}
_ADDRESSES = ("paper", "paper_url", "url", "link", "pdf", "source")


def meta_text(meta: Mapping[str, Any], *names: str) -> str:
    """The first of these fields that holds a text."""
    return next((v.strip() for name in names if isinstance(v := meta.get(name), str) and v.strip()), "")


def read_front_matter(page: Page, findings: Findings) -> bool:
    """Adds the one note of a file whose front matter names a paper; says whether it does."""
    link = _link(page.meta)
    if link is None:
        return False
    meta = page.meta
    heading = document_heading(page)
    title = clean_title(meta_text(meta, "title") or (heading_words(heading, page) if heading else ""))
    start = page.start
    if heading and normalised(heading.text) == normalised(title):
        start = heading.end
    year = _YEAR.search(meta_text(meta, "year", "published"))
    findings.note(
        1,
        Title(title, venue=clean_title(meta_text(meta, "venue", "journal", "conference", "booktitle"))),
        link,
        body=page.body(start, len(page.lines)),
        authors=_authors(meta),
        year=int(year[0]) if year else None,
        tags=_tags(meta),
        links=page.links(page.start, len(page.lines)),
    )
    return True


def _link(meta: Mapping[str, Any]) -> Link | None:
    """The paper that the fields name: an identifier, else an address that leads to a paper, or to any page
    where authors are named as well."""
    for name, prefix in _IDENTIFIERS.items():
        value = meta_text(meta, name)
        if not value:
            continue
        bare = re.sub(r"^(?:arxiv|doi):\s*", "", value, flags=re.IGNORECASE)
        href = bare if "://" in bare else prefix + bare
        return Link(href, value, 1)
    is_bibliographic = bool(_authors(meta))
    for name in _ADDRESSES:
        value = meta_text(meta, name)
        if value.startswith(("http://", "https://")) and (is_bibliographic or is_paper(value)):
            return Link(value, value, 1)
        if name == "paper" and _is_identifier(value):
            return Link(f"https://arxiv.org/abs/{value}" if value[:1].isdigit() else value, value, 1)
    return None


def _is_identifier(text: str) -> bool:
    try:
        return paper_id(text).startswith(("arxiv:", "doi:"))
    except IdentifierError:
        return False


def _authors(meta: Mapping[str, Any]) -> tuple[str, ...]:
    """Names in a list or in one text; `Byron, Ada` is turned round."""
    value = meta.get("authors", meta.get("author"))
    if isinstance(value, str):
        if " and " in value and ", " in value and value.count(",") <= value.count(" and ") + 1:
            value = value.split(" and ")  # as BibTeX writes them
        else:
            return split_people(value[:5_000]) if value.strip() else ()
    if not isinstance(value, list):
        return ()
    names = [" ".join(name.strip("[] ").split()) for name in value if isinstance(name, str)]
    return tuple(_in_reading_order(name) for name in names if name)


def _in_reading_order(name: str) -> str:
    family, _, given = name.partition(", ")
    return f"{given} {family}" if given and "," not in given else name


def _tags(meta: Mapping[str, Any]) -> tuple[str, ...]:
    value = meta.get("tags", meta.get("keywords"))
    if isinstance(value, str):
        value = re.split(r"[,;]" if re.search("[,;]", value) else r"\s+", value)
    if not isinstance(value, list):
        return ()
    tags = (tag.strip().lstrip("#").strip() for tag in value if isinstance(tag, str))
    return tuple(dict.fromkeys(tag for tag in tags if tag))
