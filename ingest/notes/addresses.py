"""What a link in a note points to: a paper, a repository, a project page, any other page."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

from kb.errors import IdentifierError
from kb.identifiers import canonical_url, clean_url, paper_id, paper_url, repository_url
from kb.papers import MentionKind

#: Sites whose every page under a path is a paper, beyond those that kb.identifiers knows by identifier.
_PROCEEDINGS = re.compile(
    r"(?:[\w-]+\.)*(?:aclanthology\.(?:org|info)|aclweb\.org/anthology(?:-new)?|papers\.n(?:eur)?ips\.cc"
    r"|(?:proceedings\.)?(?:neurips\.cc|nips\.cc|mlr\.press)"
    r"|openaccess\.thecvf\.com/content\w*|ecva\.net/papers|jmlr\.org|jair\.org|tmlr\.org|nature\.com/(?:articles|nature"
    r"|ncomms|nmeth)|science(?:mag)?\.org/(?:doi|content)"
    r"|pnas\.org|cell\.com|peerj\.com/articles|distill\.pub/\d|ieeexplore\.ieee\.org/(?:document|abstract|stamp|iel\d|xpl)"
    r"|dl\.acm\.org|(?:portal|doi)\.acm\.org"
    r"|link\.springer\.com|sciencedirect\.com/science|ojs\.aaai\.org|aaai\.org/(?:ocs|papers|library|ojs)"
    r"|ijcai\.org/proceedings|(?:bio|med|chem)rxiv\.org/content"
    r"|semanticscholar\.org/(?:paper|reader)|direct\.mit\.edu|mitpressjournals\.org|roboticsproceedings\.org|isca-(?:speech"
    r"|archive)\.org"
    r"|usenix\.org/(?:conference|system)|ssrn\.com/(?:abstract|sol3)|hal\.science|hal\.archives-ouvertes\.fr"
    r"|paperswithcode\.com/paper|pubmed\.ncbi\.nlm\.nih\.gov"
    r"|ncbi\.nlm\.nih\.gov/(?:pmc|pubmed|m/pubmed|articles)|europepmc\.org|frontiersin\.org/(?:articles?|journals)"
    r"|(?:journals\.)?plos\.org|mdpi\.com/\d"
    r"|onlinelibrary\.wiley\.com|tandfonline\.com|academic\.oup\.com|journals\.aps\.org|iopscience\.iop\.org"
    r"|journals\.sagepub\.com|epubs\.siam\.org"
    r"|projecteuclid\.org|jstor\.org/stable|psyarxiv\.com|osf\.io/preprints|elifesciences\.org/articles"
    r"|bmcbioinformatics\.biomedcentral\.com|biomedcentral\.com/articles"
    r"|researchgate\.net/publication|citeseerx\.ist\.psu\.edu|zenodo\.org/record|eprint\.iacr\.org|openreview\.net/(?:forum"
    r"|pdf|attachment)|vldb\.org/pvldb"
    r"|bmvc2?\d*\.\w+|interspeech\d*\.org|lrec-conf\.org|ismir\.net|core\.ac\.uk|deepai\.org/publication)(?:/|$)",
    re.IGNORECASE,
)
_WITHOUT_SCHEME = re.compile(
    r"(?:www\.)?(?:arxiv\.org|openreview\.net|doi\.org|github\.com|gitlab\.com|huggingface\.co|aclanthology\.org"
    r"|dl\.acm\.org)/\w",
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


@lru_cache(maxsize=65_536)
def address(href: str) -> Address | None:
    """What an address leads to; `None` for anchors, relative links and addresses that are none of the web's.

    Raises IdentifierError for an address that is broken or not fit to be linked to, such as `javascript:`.
    """
    text = href.strip()
    if pubmed := re.fullmatch(r"pmid\s?[:：]\s?(\d{5,9})", text, re.IGNORECASE):
        text = f"https://pubmed.ncbi.nlm.nih.gov/{pubmed[1]}/"
    if re.match(r"doi[\s:：]+10\.", text, re.IGNORECASE):
        text = "doi:" + re.sub(r"^doi[\s:：]+", "", text, flags=re.IGNORECASE)
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
