"""Writers of the monthly digest: Markdown, HTML and Atom."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from html import escape
from xml.etree import ElementTree

from kb.identifiers import paper_url
from kb.insights.digest import Choice, Digest
from kb.insights.trends import Rise
from kb.text.hidden import without_hidden
from kb.text.latex import to_unicode

_MARKDOWN = re.compile(r"([\\`*_\[\]<>|#])")
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


_STYLE = (
    "body { max-width: 42rem; margin: 2rem auto; padding: 0 1rem; font: 1rem/1.5 system-ui, sans-serif; color: #222; } "
    "h2 { font-size: 1.15rem; margin: 2rem 0 0.25rem; } article p { margin: 0.25rem 0; } "
    "blockquote { margin: 0.5rem 0; padding-left: 1rem; border-left: 3px solid #bbb; } "
    "table { border-collapse: collapse; margin: 1rem 0; } th, td { padding: 0.15rem 1rem 0.15rem 0; text-align: left; } "
    "td + td { text-align: right; }"
)


def write_digest_markdown(digest: Digest) -> str:
    """Write a digest as Markdown, one section per paper; text from papers is escaped."""
    parts = [f"# Papers of {digest.month:%B %Y}", f"{len(digest.choices)} of {digest.papers:,} papers."]
    for choice in digest.choices:
        parts.append(f"## [{_plain(_title(choice))}](<{_url(choice)}>)")
        parts.append(f"By {_plain(_authors(choice))}")
        parts.append("**Why:** " + _plain(" ".join(choice.reasons)))
        parts.append(f"> {_plain(choice.sentence)}" if choice.sentence else "")
        parts.append("\n".join(f"- Code: <{link.url}>{_stars(link.stars)}" for link in choice.code))
    parts += ["## The month", _trend("Categories", digest.categories), _trend("Words that rose in titles", digest.words)]
    return "\n\n".join(filter(None, parts)) + "\n"


def write_digest_html(digest: Digest) -> str:
    """Write a digest as one self-contained HTML page without scripts or external resources."""
    rows = [
        f"<h1>Papers of {digest.month:%B %Y}</h1>",
        f"<p>{len(digest.choices)} of {digest.papers:,} papers.</p>",
        *(f"<article>\n{_choice_html(choice)}\n</article>" for choice in digest.choices),
        "<h2>The month</h2>",
        _table_html("Category", digest.categories),
        _table_html("Words in titles that rose", digest.words),
    ]
    head = f'<meta charset="utf-8">\n<title>Papers of {digest.month:%B %Y}</title>\n<style>{_STYLE}</style>'
    return f'<!doctype html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n' + "\n".join(rows) + "\n</body>\n</html>\n"


def write_digest_atom(digest: Digest) -> str:
    """Write a digest as an Atom feed, one entry per paper, dated by its publication."""
    feed = ElementTree.Element("feed", {"xmlns": "http://www.w3.org/2005/Atom"})
    _add(feed, "id", f"tag:paper-kb,2026:digest/{digest.month:%Y-%m}")
    _add(feed, "title", f"Papers of {digest.month:%B %Y}")
    _add(feed, "updated", datetime(digest.month.year, digest.month.month, 1, tzinfo=UTC).isoformat())
    _add(_add(feed, "author"), "name", "paper-kb")
    for choice in digest.choices:
        entry = _add(feed, "entry")
        _add(entry, "id", _url(choice))
        _add(entry, "title", _title(choice))
        _add(entry, "updated", f"{choice.paper.published or digest.month}T00:00:00+00:00")
        _add(_add(entry, "author"), "name", _authors(choice) or "unknown")
        _add(entry, "link", rel="alternate", href=_url(choice))
        for link in choice.code:
            _add(entry, "link", rel="related", title="Code", href=link.url)
        _add(entry, "content", _choice_html(choice), type="html")
    ElementTree.indent(feed)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ElementTree.tostring(feed, encoding="unicode")}\n'


#: Writers by the name of `kb digest --format`.
DIGEST_WRITERS: dict[str, Callable[[Digest], str]] = {
    "markdown": lambda digest: without_hidden(write_digest_markdown(digest)),
    "html": lambda digest: without_hidden(write_digest_html(digest)),
    "atom": lambda digest: without_hidden(write_digest_atom(digest)),
}


def _title(choice: Choice) -> str:
    return to_unicode(choice.paper.title)


def _url(choice: Choice) -> str:
    return choice.paper.url or paper_url(choice.paper.id)


def _authors(choice: Choice) -> str:
    names = [to_unicode(author.name) for author in choice.paper.authors]
    return ", ".join(names[:6]) + (" et al." if len(names) > 6 else "")


def _stars(stars: int | None) -> str:
    return f" ({stars:,} stars)" if stars else ""


def _plain(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", " ".join(text.split()))


def _trend(heading: str, rises: Sequence[Rise]) -> str:
    """Trends as a paragraph: `kb ingest notes` would read a table or list as a list of papers."""
    if not rises:
        return ""
    told = "; ".join(f"{_plain(rise.name)} {rise.papers:,} (before: {rise.before:,.0f})" for rise in rises)
    return f"{heading}, papers of the month and of the three months before on average: {told}."


def _choice_html(choice: Choice) -> str:
    code = "".join(f'<li>Code: <a href="{escape(k.url)}">{escape(k.url)}</a>{_stars(k.stars)}</li>' for k in choice.code)
    return "\n".join(
        filter(
            None,
            [
                f'<h2><a href="{escape(_url(choice))}">{escape(_title(choice))}</a></h2>',
                f"<p>{escape(_authors(choice))}</p>",
                f"<p><strong>Why:</strong> {escape(' '.join(choice.reasons))}</p>",
                f"<blockquote>{escape(choice.sentence)}</blockquote>" if choice.sentence else "",
                f"<ul>{code}</ul>" if code else "",
            ],
        )
    )


def _table_html(heading: str, rises: Sequence[Rise]) -> str:
    rows = "".join(f"<tr><td>{escape(r.name)}</td><td>{r.papers:,}</td><td>{r.before:,.0f}</td></tr>\n" for r in rises)
    head = f"<tr><th>{heading}</th><th>papers</th><th>months before, mean</th></tr>"
    return f"<table>\n{head}\n{rows}</table>" if rises else ""


def _add(parent: ElementTree.Element, name: str, text: str = "", **attributes: str) -> ElementTree.Element:
    element = ElementTree.SubElement(parent, name, {k: _NOT_XML.sub("", v) for k, v in attributes.items()})
    element.text = _NOT_XML.sub("", text) or None
    return element
