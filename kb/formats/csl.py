"""CSL-JSON writer, for citeproc and Zotero."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from kb.formats.reference import Reference, is_organisation, is_others, particle_and_family
from kb.papers import Author


def write_csl(name: str, references: Sequence[Reference]) -> str:  # noqa: ARG001
    """Write references in their order. CSL-JSON has no place for the list's name."""
    return json.dumps([_item(r) for r in references], ensure_ascii=False, indent=2) + "\n"


def _item(r: Reference) -> dict[str, Any]:
    venue = r.venue
    kind = "article" if venue is None else "article-journal" if venue.kind == "journal" else "paper-conference"
    item: dict[str, Any] = {
        "id": r.key,
        "type": kind,
        "title": r.plain_title,
        "author": [_name(a) for a in r.authors],
        "container-title": venue.name if venue else "",
        "publisher": "arXiv" if r.arxiv and venue is None else "",
        "volume": venue.volume if venue else "",
        "issue": venue.number if venue else "",
        "page": venue.pages if venue else "",
        "number": f"arXiv:{r.arxiv}" if r.arxiv else "",
        "issued": {"date-parts": [[r.year]]} if r.year else None,
        "DOI": r.doi,
        "URL": r.url,
        "keyword": ", ".join(r.tags),
        "note": " ".join(r.remark.split()),
        "abstract": r.plain_abstract,
        "custom": {"code": list(r.code)} if r.code else None,
    }
    return {name: value for name, value in item.items() if value}


def _name(author: Author) -> dict[str, str]:
    if is_organisation(author):
        return {"literal": "et al." if is_others(author) else author.name}
    particle, family = particle_and_family(author)
    parts = {"family": family, "given": author.given, "non-dropping-particle": particle, "suffix": author.suffix}
    return {name: value for name, value in parts.items() if value}
