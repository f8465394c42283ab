"""Atom feed (RFC 4287). Written with the standard library, because feedgen 1.0 drops the titles of links."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from urllib.parse import quote
from xml.etree import ElementTree

from kb.formats.reference import Reference

_NAMESPACE = "http://www.w3.org/2005/Atom"
# Characters that XML 1.0 forbids.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def write_atom(name: str, references: Sequence[Reference]) -> str:
    """Write the list as a feed, newest addition first; the same list gives the same text at any time."""
    feed = ElementTree.Element("feed", {"xmlns": _NAMESPACE})
    _add(feed, "id", f"tag:paper-kb,2026:list/{quote(name)}")
    _add(feed, "title", name)
    _add(feed, "updated", max((_moment(r) for r in references), default=_EPOCH).isoformat())
    _add(_add(feed, "author"), "name", "paper-kb")
    _add(feed, "generator", "paper-kb")
    for r in sorted(references, key=_moment, reverse=True):
        _add_entry(feed, r)
    ElementTree.indent(feed)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ElementTree.tostring(feed, encoding="unicode")}\n'


def _add_entry(feed: ElementTree.Element, r: Reference) -> None:
    entry = _add(feed, "entry")
    _add(entry, "id", r.url or f"tag:paper-kb,2026:paper/{quote(r.paper_id)}")
    _add(entry, "title", r.plain_title)
    _add(entry, "updated", _moment(r).isoformat())
    if r.published:
        _add(entry, "published", f"{r.published.isoformat()}T00:00:00+00:00")
    for author in r.authors:
        _add(_add(entry, "author"), "name", author.name)
    if r.url:
        _add(entry, "link", rel="alternate", href=r.url)
    for url in r.code:
        _add(entry, "link", rel="related", title="Code", href=url)
    for tag in r.tags:
        _add(entry, "category", term=tag)
    if r.plain_abstract:
        _add(entry, "summary", r.plain_abstract)
    if r.remark or not r.url:  # an entry without a link must have content
        _add(entry, "content", r.remark, type="text")


def _add(parent: ElementTree.Element, name: str, text: str = "", **attributes: str) -> ElementTree.Element:
    cleaned = {key: _NOT_XML.sub("", value) for key, value in attributes.items()}
    element = ElementTree.SubElement(parent, name, cleaned)
    element.text = _NOT_XML.sub("", text) or None
    return element


def _moment(r: Reference) -> datetime:
    return r.added.replace(tzinfo=UTC) if r.added else _EPOCH
