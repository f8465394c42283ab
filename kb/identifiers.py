"""Identifiers of papers (arXiv, DOI, OpenReview, URL) and addresses of repositories.

A paper's canonical id is one string, `arxiv:1706.03762`, `doi:10.1162/neco.1991.3.1.79`,
`openreview:JpZ5du_Kdh` or `url:https://jmlr.org/papers/v15/srivastava14a.html`. An arXiv version
is never part of it: v1, v2, `abs`, `pdf` and `html` are one paper.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from kb.errors import IdentifierError, ImpossibleError

# Archives of the identifiers assigned before April 2007, those merged into others included.
_OLD_ARCHIVES = (
    "acc-phys|adap-org|alg-geom|ao-sci|astro-ph|atom-ph|bayes-an|chao-dyn|chem-ph|cmp-lg|comp-gas|cond-mat|cs|dg-ga|"
    "funct-an|gr-qc|hep-ex|hep-lat|hep-ph|hep-th|math|math-ph|mtrl-th|nlin|nucl-ex|nucl-th|patt-sol|physics|plasm-ph|"
    "q-alg|q-bio|quant-ph|solv-int|supr-con"
)


def _positive(digits: int) -> str:
    """Pattern of a number of exactly `digits` digits that is not zero, without look-ahead."""
    return "(?:" + "|".join(rf"\d{{{digits - 1 - i}}}[1-9]0{{{i}}}" for i in range(digits)) + ")"


_MONTH = "(?:0[1-9]|1[0-2])"
#: Every arXiv identifier that can exist, without version. No look-around, so that DuckDB's RE2 takes it too.
ARXIV_ID_PATTERN = (
    rf"(?:07(?:0[4-9]|1[0-2])|(?:0[89]|1[0-4]){_MONTH})\.{_positive(4)}"  # April 2007 to December 2014
    rf"|(?:1[5-9]|[2-8]\d){_MONTH}\.{_positive(5)}"  # from January 2015
    rf"|(?:{_OLD_ARCHIVES})(?:\.[A-Z][A-Za-z-]+)?/(?:(?:9[1-9]|0[0-6]){_MONTH}|070[1-3]){_positive(3)}"  # until March 2007
)
_ARXIV_ID = re.compile(rf"(?P<id>{ARXIV_ID_PATTERN})(?:v(?P<version>[1-9]\d{{0,2}}))?", re.IGNORECASE)
# The form alone, whether or not such a paper can exist: what a mistyped identifier looks like.
_ARXIV_FORM = re.compile(r"(?:\d{4}\.\d{3,6}|[a-z][a-z-]+(?:\.[a-z-]+)?/\d{6,8})(?:v\d+)?", re.IGNORECASE)
_ARXIV_HOSTS = {
    "arxiv.org": r"/(?:abs|pdf|html|format|ps|src|e-print|u)/",
    "ar5iv.org": r"/(?:abs|html)/",
    "ar5iv.labs.arxiv.org": r"/(?:abs|html)/",
    "alphaxiv.org": r"/(?:abs|pdf|html|overview)/",
    "arxiv-vanity.com": r"/papers/",
    "huggingface.co": r"/papers/",
    "hf.co": r"/papers/",
    "scirate.com": r"/(?:arxiv/)?",
    "papers.cool": r"/arxiv/",
    "semanticscholar.org": r"/arxiv/",
    "api.semanticscholar.org": r"/arxiv:",
    "emergentmind.com": r"/papers/",
    "xxx.lanl.gov": r"/(?:abs|pdf|ps)/",
    "arxiv-sanity.com": r"/",
    "arxiv-sanity-lite.com": r"/",
}
_ARXIV_MIRROR = re.compile(
    r"(?:[a-z]{2}|www|export|lanl|browse|beta|static|xxx\.itp\.ac)\.arxiv\.org|arxiv\.org\.\w+", re.IGNORECASE
)
_DOI = re.compile(r"10\.\d{4,9}/\S+")
# A DOI in a publisher's address, and what may follow it there.
_DOI_IN_PATH = re.compile(
    r"/(?:doi|articles?|chapter|book|content(?:/pdf|/early)?|abstract|prl|pra|prb|pre|prx|protocol|referencework|reference"
    r"|lookup)"
    r"/(?:\w+/)?(?:\w+/)?(10\.\d{4,9}/[^\s?#]+)",
    re.IGNORECASE,
)
_AFTER_DOI = re.compile(
    r"(?:v\d{1,2})?(?:\.(?:full|abstract|short|article-info|supplementary-material))?(?:[.-]?full)?(?:\.text)?(?:\.pdf|\.html?)?"
    r"(?:/(?:full|pdf|meta|abstract|html?|epub|summary|fulltext|references|pdf/\S*|full/html))?/*$",
    re.IGNORECASE,
)
_OPENREVIEW_ID = re.compile(r"[A-Za-z0-9_-]{6,40}")
_TRAILING_PUNCTUATION = ".,;:!?'\"”’»)]}>*"


@dataclass(frozen=True, slots=True)
class ArxivId:
    """An arXiv identifier that can exist, and the version it was written with (`None`: the latest)."""

    identifier: str
    version: int | None = None

    @classmethod
    def parse(cls, text: str) -> ArxivId:
        """Read `1706.03762`, `1706.03762v5`, `arXiv:hep-th/9901001` or `math.GT/0309136`.

        Raises IdentifierError where the text is no arXiv identifier or one that cannot exist.
        """
        bare = re.sub(r"^arxiv:\s*", "", text.strip(), flags=re.IGNORECASE)
        match = _ARXIV_ID.fullmatch(bare)
        if match is None:
            if _ARXIV_FORM.fullmatch(bare):
                raise ImpossibleError(f"{bare!r} has the form of an arXiv identifier but cannot exist: check its digits")
            raise IdentifierError(f"{text!r} is no arXiv identifier, such as 1706.03762 or hep-th/9901001")
        identifier = match["id"]
        if "/" in identifier:
            archive, number = identifier.lower().split("/")
            # The subject class was never part of the identifier: math.GT/0309136 is math/0309136.
            identifier = f"{archive.split('.')[0]}/{number}"
        return cls(identifier, int(match["version"]) if match["version"] else None)

    @property
    def paper_id(self) -> str:
        """The canonical id, without version."""
        return f"arxiv:{self.identifier}"

    @property
    def year(self) -> int:
        """Year of submission as the identifier says it."""
        digits = self.identifier.rpartition("/")[2]
        return (1900 if digits[0] == "9" and "/" in self.identifier else 2000) + int(digits[:2])

    def __str__(self) -> str:
        return self.identifier + (f"v{self.version}" if self.version else "")


# Blanks and controls, signs that no address has, zero-width and bidirectional controls with which an address shows as another,
# and halves of characters.
_UNFIT = re.compile(r"""[\x00-\x20\x7f-\x9f<>"\\^`{|}\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]""")


def clean_url(text: str) -> str:
    """Validate and normalise a web address.

    Raises IdentifierError for any scheme but http and https, and for credentials, control or bidirectional characters,
    blanks and missing hosts, as hostile or broken pages have them.
    """
    url = text.strip()
    if url.startswith("//"):
        url = "https:" + url
    if _UNFIT.search(url):
        raise IdentifierError(f"{text!r} has characters that no web address may have")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise IdentifierError(f"{text!r} is no web address: {error}") from None
    host = (parts.hostname or "").rstrip(".")
    if parts.scheme.lower() not in {"http", "https"}:
        raise IdentifierError(f"{text!r} is no http or https address")
    if "@" in parts.netloc or "." not in host.strip("."):
        raise IdentifierError(f"{text!r} names no public host")
    netloc = host if port in (None, 80, 443) else f"{host}:{port}"
    return urlunsplit((parts.scheme.lower(), netloc, parts.path, parts.query, parts.fragment))


def paper_id(text: str) -> str:
    """Canonical id of the paper that a text names.

    Takes canonical ids, bare identifiers, `arXiv:` and `doi:` forms, and web addresses of arXiv and its
    mirrors, doi.org and publishers whose address holds the DOI, OpenReview, or any other page.
    Raises IdentifierError where the text names no paper, and for arXiv identifiers that cannot exist.
    """
    bare = _as_pasted(text)
    scheme, _, rest = bare.partition(":")
    match scheme.lower():
        case "arxiv":
            return ArxivId.parse(rest).paper_id
        case "doi":
            return _doi_paper_id(rest.strip())
        case "openreview" if _OPENREVIEW_ID.fullmatch(rest):
            return f"openreview:{rest}"
        case "url" if rest.startswith("note:"):
            return bare
        case "url":
            return paper_id(rest)
        case "http" | "https":
            return _paper_id_of_url(bare)
    if _DOI.fullmatch(bare):
        return _doi_paper_id(bare)
    if re.match(r"(?:www\.|export\.)?(?:arxiv|openreview|doi|alphaxiv|ar5iv)\.(?:org|net)/", bare, re.IGNORECASE):
        return _paper_id_of_url(f"https://{bare}")
    return ArxivId.parse(bare).paper_id


def _as_pasted(text: str) -> str:
    """The identifier out of what stands around it where people copy it.

    Invisible characters, brackets and the full stop around it, `arXiv preprint`, and the stamp on the first page of a PDF:
    `arXiv:1706.03762v5 [cs.CL] 6 Dec 2017`.
    """
    bare = _INVISIBLE.sub("", text).strip()
    for opening, closing in ("<>", "()", "[]", "{}", '""', "''", "“”"):
        if bare.startswith(opening) and bare.rstrip(".,;").endswith(closing):
            bare = bare.rstrip(".,;")[1:-1].strip()
    if re.match(r"https?%3a", bare, re.IGNORECASE):
        bare = unquote(bare)
    if "://" in bare or bare.startswith("url:"):
        return re.sub(r"(?<=arxiv\.org)/abs/+", "/abs/", bare) if "://" in bare else bare
    stamp = _STAMP.fullmatch(bare)
    return f"arxiv:{stamp['id']}" if stamp else bare


_INVISIBLE = re.compile("[\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
# An arXiv identifier as texts and PDFs write it, with its category and date.
_STAMP = re.compile(
    r"(?:(?:arxiv|corr|preprint|e-?print|abs)[\s:./]*)*(?P<id>[a-z][a-z-]+(?:\.[a-z]{2})?/\d{7}(?:v\d+)?|\d{4}\.\d{4,5}(?:v\d+)?)"
    r"(?:\.pdf)?\s*(?:\[[a-z][\w.-]*\])?\s*(?:\d{1,2} [a-z]{3,9} \d{4})?[\s.,;:]*",
    re.IGNORECASE,
)


def arxiv_version(text: str) -> int | None:
    """ArXiv version that a text or address names; `None` if it names none."""
    match = re.search(r"(?:\d\.\d{4,5}|/\d{7})v([1-9]\d{0,2})\b", text)
    return int(match[1]) if match else None


def _doi_paper_id(doi: str) -> str:
    doi = unquote(doi).strip().rstrip(_TRAILING_PUNCTUATION) if doi.count("(") != doi.count(")") else unquote(doi).rstrip(".,;")
    if not _DOI.fullmatch(doi):
        raise IdentifierError(f"{doi!r} is no DOI, such as 10.1162/neco.1991.3.1.79")
    arxiv = re.fullmatch(r"10\.48550/arxiv\.(.+)", doi, re.IGNORECASE)
    return ArxivId.parse(arxiv[1]).paper_id if arxiv else f"doi:{doi.lower()}"


def _paper_id_of_url(text: str) -> str:
    url = clean_url(text)
    parts = urlsplit(url)
    if parts.hostname == "web.archive.org" and (kept := re.match(r"/web/\w+/(https?:/{1,2}\S+)", unquote(parts.path))):
        address = re.sub(r"^(https?):/+", r"\1://", kept[1])
        return _paper_id_of_url(f"{address}?{parts.query}" if parts.query else address)
    host = re.sub(r"^(?:www\d?|export|m)\.", "", parts.hostname or "")
    host = "arxiv.org" if _ARXIV_MIRROR.fullmatch(host) else host
    path = unquote(parts.path)
    if (prefix := _ARXIV_HOSTS.get(host)) and (start := re.match(prefix, path, re.IGNORECASE)):
        rest = re.sub(r"(?:\.pdf)?/*$", "", path[start.end() :], flags=re.IGNORECASE)
        found = _ARXIV_FORM.match(rest)
        if found:
            return ArxivId.parse(found[0]).paper_id
    if host == "openreview.net" and parts.path.rstrip("/") in {"/forum", "/pdf", "/note", "/attachment"}:
        identifier = dict(parse_qsl(parts.query)).get("id", "")
        if _OPENREVIEW_ID.fullmatch(identifier):
            return f"openreview:{identifier}"
    if host in {"doi.org", "dx.doi.org"}:
        return _doi_paper_id(path.lstrip("/"))
    if host == "nature.com" and (article := re.fullmatch(r"/articles/([a-z0-9.-]+?)(?:\.pdf)?/*", path)):
        return f"doi:10.1038/{article[1]}"
    query = dict(parse_qsl(parts.query))
    in_query = next((query[name] for name in ("id", "doi") if _DOI.fullmatch(query.get(name, ""))), "")
    publisher = _DOI_IN_PATH.search(path)
    if doi := in_query or (publisher[1] if publisher else ""):
        # Only where a DOI is known to end there: some hold `/full` or `.pdf` themselves, none of these publishers' does.
        return _doi_paper_id(_AFTER_DOI.sub("", doi) or doi)
    if page := _publishers_page(host, path, query):
        return page
    return f"url:{canonical_url(url)}"


# Publishers with several addresses for a paper: a pattern of host and path, and what the one form of them is made of.
_PUBLISHERS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), form)
    for pattern, form in (
        (r"pubmed\.ncbi\.nlm\.nih\.gov/(\d+)|ncbi\.nlm\.nih\.gov/(?:m/)?pubmed/(\d+)|europepmc\.org/\w+/med/(\d+)",
         "url:https://pubmed.ncbi.nlm.nih.gov/{}"),
        (r"(?:(?:pmc\.)?ncbi\.nlm\.nih\.gov(?:/pmc)?|europepmc\.org)/articles?/(?:pmc/)?pmc(\d+)", "url:https://pmc.ncbi.nlm.nih.gov/articles/PMC{}"),
        (r"ieeexplore\.ieee\.org/(?:abstract/)?(?:document|abstract)/(\d+)", "url:https://ieeexplore.ieee.org/document/{}"),
        (r"(?:aclanthology\.(?:org|info)|aclweb\.org/anthology"
         r"|aclanthology\.coli\.uni-saarland\.de)(?:/papers)?/(?:[a-z]/[a-z]\d\d/)?"
         r"([a-z]\d\d-\d{4}|\d{4}\.[a-z0-9]+-[a-z0-9]+\.\d+)(?:v\d)?(?:/.*|\.(?:pdf|bib))?$", "url:https://aclanthology.org/{}"),
        (r"proceedings\.mlr\.press/(v\d+)/([a-z0-9-]+?)(?:/.*|\.(?:html|pdf))?$", "url:https://proceedings.mlr.press/{}/{}.html"),
        (r"(?:papers|proceedings)\.n(?:eur)?ips\.cc/paper(?:_files/paper)?/(\d{4})/(?:hash|file)/([0-9a-f]{32})",
         "url:https://proceedings.neurips.cc/paper/{}/hash/{}"),
        (r"(?:papers|proceedings)\.n(?:eur)?ips\.cc/paper/(\d+-[\w-]+?)(?:\.pdf)?/*$", "url:https://papers.nips.cc/paper/{}"),
        (r"openaccess\.thecvf\.com/(content\w*(?:/\w+)?)/(?:papers|html)/(?:w\d+/)?([\w.-]+?)(?:\.pdf|\.html)?$",
         "url:https://openaccess.thecvf.com/{}/html/{}.html"),
        (r"jmlr\.org/papers/v(?:olume)?(\d+)/([a-z0-9-]+?)(?:/.*|\.(?:html|pdf))?$", "url:https://jmlr.org/papers/v{}/{}.html"),
        (r"semanticscholar\.org/paper/(?:[^/]+/)?([0-9a-f]{40})", "url:https://www.semanticscholar.org/paper/{}"),
        (r"(?:papers\.)?ssrn\.com/abstract=(\d+)", "doi:10.2139/ssrn.{}"),
        (r"sciencedirect\.com/science/article/(?:abs/)?pii/(\w+)|linkinghub\.elsevier\.com/retrieve/pii/(\w+)",
         "url:https://www.sciencedirect.com/science/article/pii/{}"),
        (r"mdpi\.com/(\d{4}-\d{3}[\dx])/(\d+)/(\d+)/(\d+)(?:/.*)?$", "url:https://www.mdpi.com/{}/{}/{}/{}"),
    )
)  # fmt: skip


def _publishers_page(host: str, path: str, query: dict[str, str]) -> str:
    """The canonical id of a paper at a publisher that has several addresses for it; '' for any other page."""
    if host == "ieeexplore.ieee.org" and query.get("arnumber", "").isdigit():
        return f"url:https://ieeexplore.ieee.org/document/{query['arnumber'].lstrip('0')}"
    if host == "papers.ssrn.com" and query.get("abstract_id", "").isdigit():
        return f"doi:10.2139/ssrn.{query['abstract_id']}"
    for pattern, form in _PUBLISHERS:
        if match := pattern.match(host + path):
            return form.format(*(group for group in match.groups() if group))
    return ""


def canonical_url(text: str) -> str:
    """Normal form of an address: https, no fragment, no tracking parameters, no trailing slash.

    Raises IdentifierError as `clean_url` does.
    """
    parts = urlsplit(clean_url(text))
    query = urlencode([(k, v) for k, v in parse_qsl(parts.query, keep_blank_values=True) if not k.startswith("utm_")])
    return urlunsplit(("https", parts.netloc, parts.path.rstrip("/"), query, ""))


def paper_url(identifier: str) -> str:
    """URL of the page of a canonical id; empty for a note without one."""
    scheme, _, value = identifier.partition(":")
    match scheme:
        case "arxiv":
            return f"https://arxiv.org/abs/{value}"
        case "doi":
            return f"https://doi.org/{value}"
        case "openreview":
            return f"https://openreview.net/forum?id={value}"
        case _:
            return "" if value.startswith("note:") else value


def normalised(text: str) -> str:
    """Case-folded letters and digits of a text, to compare titles."""
    return "".join(c for c in text.casefold() if c.isalnum())


def digest_id(text: str) -> str:
    """Id of a paper without a link: a digest of `text`."""
    return "url:note:" + hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]


def title_id(title: str) -> str:
    """Id of a paper known by its title alone; ignores case, blanks and punctuation."""
    return digest_id(normalised(title))


# First path segments that are pages of the forge and not somebody's name.
_NOT_OWNERS = frozenset(
    "about account apps blog collections contact customer-stories datasets docs dashboard enterprise explore features "
    "gist groups help images issues join learn login marketplace models new notifications orgs papers posts pricing "
    "pulls raw readme search security settings showcases signup site snippets solutions spaces sponsors stars tasks "
    "team terms topics trending user users watching wiki".split()
)
_OWNER = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,62})")
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_FORGES = ("github", "gitlab", "bitbucket.org", "codeberg.org", "huggingface.co", "hf.co")
_REPOSITORY_IN_TEXT = re.compile(
    r"(?<![A-Za-z0-9.@-])(?:https?://)?(?:www\.)?(?:"
    r"(?P<host>github\.com|gitlab\.(?:[a-z0-9-]+\.)*[a-z]{2,}|bitbucket\.org|codeberg\.org|huggingface\.co|hf\.co"
    r"|raw\.githubusercontent\.com)/(?P<path>[A-Za-z0-9._~%/\\-]+)"
    r"|(?P<page>[A-Za-z0-9-]{1,39})\.github\.io(?P<page_path>/[A-Za-z0-9._~%/\\-]*)?)",
    re.IGNORECASE,
)
_HOSTS_OF_OTHER_NAMES = {"raw.githubusercontent.com": "github.com", "hf.co": "huggingface.co"}
# Folders of a person's page rather than repositories with pages of their own.
_PAGE_FOLDERS = frozenset("assets blog docs paper papers post posts project projects publication publications research".split())
# Blanks and line breaks that typesetting left inside an address: `https: //github.com`, `github. com/`, `github.com/ owner/name`,
# and `github.com/owner/ Name` where what follows is no English word.
_BROKEN_ADDRESSES = (
    (re.compile(r"(https?)\s*:\s*//\s*(?=(?:www\.)?(?:git|bitbucket|codeberg|huggingface|hf\.co))", re.IGNORECASE), r"\1://"),
    (re.compile(r"\b(github|gitlab|bitbucket)\s?\.\s(com|org)\s?/", re.IGNORECASE), r"\1.\2/"),
    (re.compile(r"((?:github|gitlab)\.com/)\s+(?=[\w.-]+/[\w.-]+)", re.IGNORECASE), r"\1"),
    (re.compile(r"((?:github|gitlab)\.com/[\w.-]+/)\s+(?=[\w.-]*(?:[A-Z][\w.-]*[A-Z]|\d|\w[_-]\w))"), r"\1"),
)
# What a text has in which one of these finds a blank, if that is a space.
_BREAK_MARKS = (" :", " /", "/ ", ". com", ". org")


def repository_url(text: str) -> str:
    """Repository that an address points into, as `https://host/owner/name`.

    `.git`, `tree/…`, `blob/…`, `issues/…`, fragments, trailing dots and a missing scheme make no difference;
    on Hugging Face a data set or space keeps its prefix. A github.io page stands for the repository that it is
    served from, a PDF there for none. Raises IdentifierError where there is no repository in it.
    """
    match = _REPOSITORY_IN_TEXT.match(text.strip())
    if match is None:
        raise IdentifierError(f"{text!r} is no address of a repository")
    if match["page"] and not (match["page_path"] or "").lower().endswith(".pdf"):
        return _repository_of_page(match["page"], match["page_path"] or "")
    host = (match["host"] or "").lower()
    segments = [s for s in (match["path"] or "").replace("\\", "").split("/") if s]
    kind = ""
    host = _HOSTS_OF_OTHER_NAMES.get(host, host)
    if host == "huggingface.co" and segments and segments[0] in {"datasets", "spaces"}:
        kind = segments.pop(0) + "/"
    if len(segments) < 2:
        raise IdentifierError(f"{text!r} names an owner, not a repository")
    owner, names = segments[0], segments[1:]
    if host.startswith("gitlab."):  # groups nest: everything before `-`, `tree` and the like is the project
        stop = next((i for i, s in enumerate(names) if s in {"-", "tree", "blob", "raw", "issues", "wikis"}), len(names))
        names = names[:stop]
    else:
        names = names[:1]
    if names:
        names[-1] = re.sub(r"(?:\.git)?[._~-]*$", "", names[-1])
    well_formed = _OWNER.fullmatch(owner) and names and all(_NAME.fullmatch(n) for n in names)
    if not well_formed or owner.lower() in _NOT_OWNERS:
        raise IdentifierError(f"{text!r} is no address of a repository")
    return f"https://{host}/{kind}{owner}/{'/'.join(names)}"


def _repository_of_page(owner: str, path: str) -> str:
    """Repository of a github.io page: `owner/name` for `owner.github.io/name`, else `owner.github.io`."""
    name = re.sub(r"[._~-]*$", "", path.replace("\\", "").strip("/").split("/")[0])
    if not _NAME.fullmatch(name) or name.lower() in _PAGE_FOLDERS or name.lower().endswith(".html"):
        name = f"{owner.lower()}.github.io"
    return f"https://github.com/{owner}/{name}"


def repositories_in(text: str) -> list[str]:
    """Repositories that a text names, with or without scheme, each once, in order; those of github.io pages last."""
    lower = text.lower()
    if not any(host in lower for host in _FORGES):
        return []
    found: dict[str, str] = {}
    # The pattern tries every character, and an address is part of a word with a stroke, or of a page's.
    pages = "github.io" in lower
    words = [word for word in repair_addresses(text).split() if "/" in word or (pages and "github.io" in word.lower())]
    matches = [match for word in words for match in _REPOSITORY_IN_TEXT.finditer(word)]
    for match in sorted(matches, key=lambda match: match["page"] is not None):  # a page's address tells nothing of upper case
        try:
            url = repository_url(match[0])
        except IdentifierError:
            continue
        found.setdefault(url.lower(), url)
    return list(found.values())


@lru_cache(maxsize=16)  # a text is asked about once, and again for each repository in it
def repair_addresses(text: str) -> str:
    """Repair addresses of forges in a text: remove escapes, and blanks and line breaks inside an address."""
    text = text.replace("\\_", "_")
    lower = text.lower()
    # The patterns try every character, and most texts have nothing torn. (Of all blanks only the space is printable.)
    if text.isprintable() and not any(tear in lower for tear in _BREAK_MARKS):
        return text
    for pattern, whole in _BROKEN_ADDRESSES:
        text = pattern.sub(whole, text)
    return text
