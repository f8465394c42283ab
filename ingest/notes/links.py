"""The links in a piece of Markdown, and what each of them points to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from markdown_it import MarkdownIt
from markdown_it.token import Token

from kb.errors import IdentifierError
from kb.identifiers import canonical_url, clean_url, paper_id, paper_url, repository_url
from kb.papers import MentionKind


@dataclass(frozen=True, slots=True)
class Link:
    """An address as it was written, the words that were linked, and the 1-based line."""

    href: str
    text: str
    line: int

    @property
    def is_bare(self) -> bool:
        """Whether the address itself stands in the text."""
        return self.text == self.href

    @property
    def is_labelled(self) -> bool:
        """Whether its words only say what kind of thing it is, such as `paper`, and so are no title."""
        return is_label(self.text)


#: Words for what lies behind a link; they name no paper.
_LABELS = frozenset(
    [
        "abs",
        "abstract",
        "app",
        "article",
        "arxiv",
        "bib",
        "bibtex",
        "blog",
        "book",
        "code",
        "data",
        "dataset",
        "datasets",
        "demo",
        "doc",
        "docs",
        "doi",
        "download",
        "evaluation",
        "full",
        "github",
        "here",
        "html",
        "huggingface",
        "implementation",
        "link",
        "links",
        "model",
        "models",
        "official",
        "openreview",
        "page",
        "paper",
        "papers",
        "pdf",
        "post",
        "poster",
        "preprint",
        "project",
        "pwc",
        "pytorch",
        "repo",
        "report",
        "repository",
        "site",
        "slides",
        "source",
        "supplementary",
        "supp",
        "system",
        "card",
        "talk",
        "technical",
        "tensorflow",
        "text",
        "thread",
        "tweet",
        "twitter",
        "url",
        "version",
        "video",
        "web",
        "webpage",
        "website",
        "x",
        "youtube",
    ]
)


def is_label(text: str) -> bool:
    """Whether a text only names a kind of link: `[Paper]`, `PDF`, `👾 Code`, `Technical Report`, an emoji."""
    words = re.findall(r"[^\W\d_]+", text.lower())
    return len(words) <= 4 and all(word in _LABELS for word in words)


#: Sites whose every page under a path is a paper, beyond those that kb.identifiers knows by identifier.
_PROCEEDINGS = re.compile(
    r"(?:aclanthology\.org|aclweb\.org/anthology|papers\.n(?:eur)?ips\.cc|proceedings\.(?:neurips\.cc|mlr\.press)"
    r"|openaccess\.thecvf\.com|ecva\.net/papers|jmlr\.org|jair\.org|tmlr\.org|nature\.com/articles|science\.org/doi"
    r"|pnas\.org|cell\.com|peerj\.com/articles|distill\.pub/\d|ieeexplore\.ieee\.org/(?:document|abstract)|dl\.acm\.org"
    r"|link\.springer\.com|sciencedirect\.com/science|ojs\.aaai\.org|ijcai\.org/proceedings|(?:bio|med)rxiv\.org/content"
    r"|semanticscholar\.org/paper|direct\.mit\.edu|roboticsproceedings\.org|isca-(?:speech|archive)\.org"
    r"|usenix\.org/(?:conference|system)|ssrn\.com/abstract|hal\.science|paperswithcode\.com/paper)/",
    re.IGNORECASE,
)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)
# Addresses for a program on the reader's own machine; no web page, and nothing wrong with them.
_LOCAL_SCHEMES = frozenset(["mailto:", "tel:", "file:", "obsidian:", "zotero:", "ftp:", "logseq:", "notion:", "bear:", "papers:"])


@dataclass(frozen=True, slots=True)
class Address:
    """What a link points to."""

    kind: MentionKind
    url: str
    """The cleaned address, or the page of the identifier that was given in its place."""
    paper_id: str
    """The canonical id that a paper behind this address has."""
    target: str
    """What a mention of it stores: paper id, repository or address, as `kind` says."""
    is_paper: bool
    """Whether it leads to a paper, rather than to any page."""
    problem: str = ""
    """What is wrong with an identifier in it."""


def address(href: str) -> Address | None:
    """What an address leads to; `None` for anchors, relative links and addresses that are none of the web's.

    Raises IdentifierError for an address that is broken or not fit to be linked to, such as `javascript:`.
    """
    text = href.strip()
    if re.match(r"(?:arxiv|doi):", text, re.IGNORECASE) and "//" not in text:
        identifier = paper_id(text)
        return Address("paper", paper_url(identifier), identifier, identifier, True)
    if not text or "{{" in text or "{%" in text:
        return None
    scheme = _SCHEME.match(text)
    if scheme is None and not text.startswith("//"):
        if not _WITHOUT_SCHEME.match(text):
            return None
        text = f"https://{text}"
    elif scheme and scheme[0].lower() in _LOCAL_SCHEMES:
        return None
    url = clean_url(text)
    try:
        identifier = paper_id(url)
    except IdentifierError as error:
        return Address("web", url, f"url:{canonical_url(url)}", url, True, str(error))
    parts = urlsplit(url)
    host = re.sub(r"^www\.", "", parts.netloc.lower())
    if not identifier.startswith("url:") or parts.path.lower().endswith(".pdf") or _PROCEEDINGS.match(host + parts.path):
        return Address("paper", url, identifier, identifier, True)
    if repository := repository_of(url):
        return Address("repository", url, identifier, repository, False)
    kind: MentionKind = "project" if host.endswith(".github.io") else "web"
    return Address(kind, url, identifier, url, False)


def repository_of(url: str) -> str:
    """The repository that an address points into, or nothing; a project page is a page."""
    if (urlsplit(url).hostname or "").endswith(".github.io"):
        return ""
    try:
        return repository_url(url)
    except IdentifierError:
        return ""


def is_paper(href: str) -> bool:
    """Whether an address leads to a paper: arXiv, DOI, OpenReview, proceedings, a PDF."""
    try:
        found = address(href)
    except IdentifierError:
        return False
    return found is not None and found.is_paper


class _Inline(MarkdownIt):
    """Markdown that leaves addresses as they are written, odd ones too, so that they can be reported."""

    def validateLink(self, url: str) -> bool:  # noqa: ARG002
        return True

    def normalizeLink(self, url: str) -> str:
        return url

    def normalizeLinkText(self, link: str) -> str:
        return link


_INLINE = _Inline("commonmark", {"html": False, "maxNesting": 20})
_WITHOUT_SCHEME = re.compile(
    r"(?:www\.)?(?:arxiv\.org|openreview\.net|doi\.org|github\.com|gitlab\.com|huggingface\.co)/\w", re.IGNORECASE
)
_ADDRESS_CHARACTER = r"[^\s<>\"`{}|\\^，。；：、（）【】《》「」！？]"
_BARE = re.compile(
    rf"https?://{_ADDRESS_CHARACTER}+"
    rf"|(?<![\w./@:-])(?:www\.)?(?:arxiv\.org|openreview\.net|doi\.org|github\.com|gitlab\.com|huggingface\.co)/{_ADDRESS_CHARACTER}+"
    r"|(?<![\w/.])arxiv:\s?(?:\d{4}\.\d{4,5}|[a-z-]{2,12}(?:\.[a-z]{2})?/\d{7})(?:v\d{1,3})?(?!\d)"
    rf"|(?<![\w/.])doi:\s?10\.\d{{4,9}}/{_ADDRESS_CHARACTER}+",
    re.IGNORECASE,
)
_ANCHOR = re.compile(r"<a\s[^<>]{0,500}?href\s*=\s*[\"']([^\"'<>]*)[\"'][^<>]{0,500}>([^<]*)", re.IGNORECASE)
_IMAGE_TAG = re.compile(r"<img\s[^<>]*>", re.IGNORECASE)
_MATH = re.compile(r"\$\$[^$\n]{1,500}\$\$|\$(?=\S)[^$\n]{1,500}(?<=\S)\$(?!\d)")
#: What only a link can begin with; a text without any of these is not parsed.
_HINTS = ("]", "://", "arxiv", "doi", ".com/", ".org/", ".net/", "<a")


def links_in(text: str, line: int, references: dict[str, Any]) -> list[Link]:
    """Every link in a paragraph that begins on a 1-based line."""
    if not has_hint(text):
        return []
    return [piece for piece in pieces(text, line, references) if isinstance(piece, Link)]


def has_hint(text: str) -> bool:
    """Whether a text may hold a link at all, which is much quicker to tell than which."""
    lowered = text.lower()
    return any(hint in lowered for hint in _HINTS)


def pieces(text: str, line: int, references: dict[str, Any]) -> list[str | Link]:
    """A paragraph as words and links in turn, without emphasis and images; formulas stay as `$…$`."""
    formulas: list[str] = []

    def _hide(match: re.Match[str]) -> str:
        formulas.append("$" + match[0].strip("$") + "$")
        return f"\ue000{len(formulas) - 1}\ue001"

    def _show(words: str) -> str:
        return re.sub(r"\ue000(\d{1,6})\ue001", lambda m: formulas[int(m[1])] if int(m[1]) < len(formulas) else "", words)

    hidden = _MATH.sub(_hide, text)
    (inline,) = _INLINE.parseInline(hidden, references)
    found: list[str | Link] = []
    for piece in _pieces(inline.children or [], line):
        shown = _show(piece) if isinstance(piece, str) else Link(_show(piece.href), _show(piece.text), piece.line)
        if isinstance(shown, str) and found and isinstance(found[-1], str):
            found[-1] += shown
        else:
            found.append(shown)
    return found


def _pieces(tokens: list[Token], line: int) -> Iterator[str | Link]:
    linked: list[str] | None = None
    start = line
    href = ""
    text: list[str] = []
    for token in tokens:
        if token.type == "link_open":
            yield from _bare("".join(text), start)
            linked, text, start, href = [], [], line, str(token.attrGet("href") or "")
        elif token.type == "link_close" and linked is not None:
            words = " ".join("".join(linked).split())
            # `[[Paper]](…)` shows its brackets.
            yield Link(href, words[1:-1] if words[:1] + words[-1:] == "[]" else words, start)
            linked, start = None, line
        elif token.type in {"softbreak", "hardbreak"}:
            (text if linked is None else linked).append("\n")
            line += 1
        elif token.type in {"text", "text_special"}:
            (text if linked is None else linked).append(token.content)
        elif token.type == "code_inline":
            # Code names no link: it goes out as words of its own.
            if linked is None:
                yield from _bare("".join(text), start)
                yield token.content
                text, start = [], line
            else:
                linked.append(token.content)
    yield from _bare("".join(text), start)


def _bare(text: str, line: int) -> Iterator[str | Link]:
    """Words and the addresses that stand among them, or in HTML, without Markdown."""
    text = _IMAGE_TAG.sub(" ", text)
    position = 0
    for match in _ANCHOR.finditer(text):
        yield from _addresses(text[position : match.start()], line)
        line += text.count("\n", position, match.start())
        yield Link(match[1], " ".join(match[2].split()), line)
        line += match[0].count("\n")
        position = match.end()
    yield from _addresses(text[position:], line)


def _addresses(text: str, line: int) -> Iterator[str | Link]:
    position = 0
    for match in _BARE.finditer(text):
        found = _without_trailing(match[0])
        yield text[position : match.start()]
        line += text.count("\n", position, match.start())
        yield Link(found, found, line)
        position = match.start() + len(found)
    yield text[position:]


_SENTENCE_END = ".,;:!?'’”\"*_~"


def _without_trailing(text: str) -> str:
    """An address without the punctuation of the sentence around it; brackets stay where they are balanced."""
    text = text.rstrip(_SENTENCE_END)
    for opening, closing in ("()", "[]"):
        surplus = text.count(closing) - text.count(opening)
        while surplus > 0 and text.endswith(closing):
            text = text[:-1].rstrip(_SENTENCE_END)
            surplus -= 1
    return text
