"""Confidence that a repository is a paper's own, from the words around it, its name and its owner.

A text that names a repository nearly always names the authors' own, unless words of use stand right before it (`using`,
`based on`, `compared with`) without a word of release.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from kb.identifiers import repair_addresses
from kb.papers import Author

_WORK = (
    r"(?:(?:source[ -]?)?codes?(?:base)?|implementations?|software|toolkits?|toolbox|librar(?:y|ies)|packages?|models?|"
    r"checkpoints?|weights|data(?:[ -]?sets?)?|benchmarks?|corpus|corpora|resources?|scripts?|demos?|repositor(?:y|ies)|repo|"
    r"materials?|projects?|framework|system|tools?|app|notebooks?|experiments?|simulator|annotations|website|page|plugin|git)"
)
_RELEASE_VERB = (
    r"(?:avail\w*|accessible|releas\w+|found|access\w*|obtained|open[- ]?sourc\w+|publish\w*|provid\w+|download\w*|distributed|"
    r"hosted|share[sd]?|public\w*|maintain\w*|exists?|visit|see|located|made|open|host)"
)
# All are matched against the part of a sentence that stands before the address.
_RELEASE_PATTERNS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"\b(?:{_WORK}|we|authors?)\b.*\b{_RELEASE_VERB}\b",
        r"\b(?:avail\w*|accessible|released|open[- ]?sourced|download\w*)\b",
        rf"\b(?:{_WORK}|links?|url|availability|github)(?: \w+)?(?: (?:link|url|at|in|on|here|release|is|are))*\s*[:\-–(\[]*$",
        rf"\b(?:our|by us|this (?:paper|work|article|study))\b.*\b{_WORK}\b|contributed by us",
        r"\bsee(?: also)?:?$",
    )
)
_RELEASE_AFTER = re.compile(
    r"^[^.;]{0,40}\b(?:contains|provides|hosts|for (?:the )?(?:code|source|implementation|data)|is our|will be released|public)"
)
_USE_PATTERN = re.compile(
    r"\b(?:us(?:es?|ed|ing)|based (?:up)?on|buil[dt]\w* (?:up)?on|on top of|with the help of|implemented (?:in|with|using)|"
    r"adapted from|modified from|fork(?:ed)? (?:of|from)|derived from|borrow\w* from|extends?|extending|"
    r"compar(?:ed|ison|es?|ing) (?:to|with|against)|outperform\w*|baselines?|such as|collected from|taken from|crawled from|"
    r"mined from|evaluated on|tested on|applied to|incorporated in|integrated in(?:to)?|original|third[- ]party|existing|"
    r"powered by|thanks to|leaderboards?|rank(?:s|ed))\b.{0,45}$",
    re.IGNORECASE,
)
# What a project page must be said to hold for its repository to count as the paper's code.
_CODE_WORD = re.compile(
    r"\b(?:codes?|codebase|source|implementations?|software|data|data[ -]?sets?|models?|weights|checkpoints|benchmarks?|corpus|"
    r"resources?|open[- ]?sourced?)\b",
    re.IGNORECASE,
)
# "Code: …, website: …" says of the second address what it is.
_PAGE_LABEL = re.compile(r"[,;]\s*(?:\w+\s){0,2}(?:web\s?site|web\s?page|homepage|page|demos?|videos?)\s*:\s*$", re.IGNORECASE)
# The beginning of an address itself. (Looking behind spares the try at every letter of every word.)
_PARTIAL_URL = re.compile(r"(?:https?:\s?//\S*|(?<![^\s:(\[{])[^\s:(\[{]*)$")
_SENTENCE_END = re.compile(r"(?:[.;?!]|\|\|)\s+(?=\S)")
_NAME_CHARACTER = re.compile(r"[\w-]")
_PLACEHOLDERS = frozenset("xxx xxxx your-name yourname username user owner anonymous-authors example-user".split())


@dataclass(frozen=True, slots=True)
class Judgement:
    """Confidence, from 0 to 1, that a repository is the paper's own, and the reasons for it."""

    confidence: float
    evidence: str


def judge_mention(url: str, title: str, authors: Sequence[Author], text: str) -> Judgement:
    """Judge a repository that an abstract or comment names; `url` is canonical, `text` the abstract or comment."""
    text = repair_addresses(text)
    page = _is_page(url, text)
    before, after = _around(url, text, page)
    reasons: list[str] = []
    if is_placeholder(url):
        return Judgement(0.05, "a placeholder")
    released = any(pattern.search(before) for pattern in _RELEASE_PATTERNS) or bool(_RELEASE_AFTER.search(after))
    if page:
        if released and _CODE_WORD.search(before) and not before.endswith(".") and not _PAGE_LABEL.search(before):
            return Judgement(0.7, "its page, where the text says that it is released, is served from there")
        return Judgement(0.4, "its project page is served from there")
    leaderboard = "leaderboard" in url.lower() and "leaderboard" not in title.lower()
    # An address behind a full stop stands alone: the sentence before it speaks of something else.
    used = leaderboard or (not before.endswith((".", "?", "!")) and bool(_USE_PATTERN.search(before)))
    if released:
        reasons.append("the text says that it is released there")
    if used:
        reasons.append("the text speaks of use")
    confidence = 0.95 if released and not used else 0.8 if released else 0.3 if used else 0.7
    named, owned = is_named_like(url, title), is_owned(url, authors)
    if named:
        reasons.append("named like the paper")
    if owned:
        reasons.append("owned by an author")
    confidence = min(0.99, confidence + 0.25 * named + 0.25 * owned)
    return Judgement(round(confidence, 2), ", ".join(reasons) or "the text names it")


def judge_listed(
    url: str, title: str, authors: Sequence[Author], *, official: bool | None, mentioned: bool | None, alone: bool
) -> Judgement:
    """Judge a repository that an archive lists for a paper; `alone` if the archive lists no other for it.

    `official` and `mentioned` are the archive's own fields, `None` where it does not say.
    """
    if is_placeholder(url):
        return Judgement(0.05, "a placeholder")
    # Where an archive lists several for a paper, other people's implementations are among them: without more each is a mention.
    # The only one was the paper's own in 33 of 40 read by hand that had nothing else for them.
    confidence = 0.95 if official else 0.9 if mentioned else 0.65 if alone else 0.45
    listed = "the only one listed by the archive" if alone else "listed by the archive"
    reasons = ["official by the archive" if official else listed]
    if mentioned:
        reasons.append("named in the paper")
    if is_named_like(url, title):
        confidence += 0.3
        reasons.append("named like the paper")
    if is_owned(url, authors):
        confidence += 0.3
        reasons.append("owned by an author")
    return Judgement(round(min(0.99, confidence), 2), ", ".join(reasons))


def _is_page(url: str, text: str) -> bool:
    """True if the text names the repository only by its github.io page."""
    path = url.split("/", 3)[3].lower()
    text = text.lower()
    if f"{path.partition('/')[0]}.github.io" not in text:
        return False
    # A pattern of each path would have to be compiled, which takes longer than all the rest.
    place = text.find(path)
    while place >= 0:
        if not _NAME_CHARACTER.match(text, place + len(path)):
            return False
        place = text.find(path, place + 1)
    return True


def _around(url: str, text: str, page: bool) -> tuple[str, str]:
    """Words before and after the place where the text names the repository, or its page."""
    path = url.split("/", 3)[3].lower()
    if page:
        path = f"{path.partition('/')[0]}.github.io"
    place = text.lower().find(path)
    if place < 0:
        return text[-160:], ""
    before = _PARTIAL_URL.sub("", text[:place][-200:])
    before = re.sub(r"https?://\S*[^\s.,;)}\]]", "", before)  # the dots of another address end no sentence
    before = re.sub(r"\\(?:url|href|texttt|code|footnote)?\{?\s*$", "", before).replace("e.g.", "such as").rstrip()
    # "… is available. https://…" belongs together, so a sentence that ends right before the address still counts.
    parts = _SENTENCE_END.split(before)
    return parts[-1], re.sub(r"^\S*", "", text[place:][:200])


def _letters(text: str) -> str:
    if text.isascii():  # nearly always, and five times as fast
        return text if text.isalnum() and text.islower() else "".join(filter(str.isalnum, text.lower()))
    decomposed = unicodedata.normalize("NFKD", text)
    return re.sub(r"[^a-z0-9]", "", decomposed.encode("ascii", "ignore").decode().casefold())


def is_placeholder(url: str) -> bool:
    """True for an address that only shows the form of one, such as `github.com/username/your-repo`."""
    owner, _, name = url.split("/", 3)[3].lower().partition("/")
    return owner in _PLACEHOLDERS or set(owner) == {"x"} or name in {"xxx", "your-repo", "repo-name"}


def is_named_like(url: str, title: str) -> bool:
    """True if the repository's name is the title's nickname, or made of the title's words or initials."""
    name = url.rsplit("/", 1)[1]
    bare = _letters(re.sub(r"(?i)[-_.](?:pytorch|tensorflow|tf|jax|code|official|release|public|py|jl|matlab)$", "", name))
    if len(bare) < 3:
        return False
    nickname, colon, _ = title.partition(":")
    if colon and len(_letters(nickname)) >= 3 and (_letters(nickname) in bare or bare in _letters(nickname)):
        return True
    if len(bare) >= 5 and bare in _letters(title):
        return True
    if any(len(w := _letters(raw)) >= 3 and w in bare for raw in title.split() if any(map(str.isupper, raw[1:]))):
        return True
    words = [word for part in re.split(r"[\s\-–—:/,]+", title) if (word := _letters(part))]
    content = [w for w in words if len(w) > 3]
    if sum(w in bare for w in content) >= 2:
        return True
    initials = "".join(w[0] for w in words)
    return 3 <= len(bare) <= len(initials) and bare in initials


def is_owned(url: str, authors: Sequence[Author]) -> bool:
    """True if the owner's name contains an author's family name, with a part of the given name if it is short."""
    owner = _letters(url.split("/", 3)[3].split("/")[0].removeprefix("datasets"))
    for author in authors:
        family = _letters(author.family)
        if len(family) < 2 or family not in owner:
            continue
        given = _letters(author.given)
        if len(family) >= 4 or (len(given) >= 3 and given[:4] in owner):
            return True
    return False
