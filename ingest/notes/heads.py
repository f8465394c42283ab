"""The head of a paper's block: the item, line or heading that names it, taken apart.

    * **Longformer**: "Sparse Attention for Long Documents", ACL, 2020 (*AI2*). [[Paper](…)] [[Code](…)]

Every place where a title may stand gives a candidate with a score; the best wins. What is left of the text stays as written.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from ingest.notes.addresses import Address
from ingest.notes.inline import Inline, Link
from ingest.notes.labels import FieldKind, field_of, is_label, leading_state, state_of
from ingest.notes.titles import (
    Title,
    authors_of,
    clean_title,
    is_citation,
    is_titular,
    is_venue,
    split_title,
    venue_and_year,
)

#: What a link points to; `None` where it is no web address.
Resolve = Callable[[Link], Address | None]

_TASK = re.compile(r"\s*\[(?P<mark>[ xX/<>!?-])\]\s+")
_LEAD = re.compile(
    r"(?P<number>[*_]{0,2}(?:\[\d{1,4}\]|\(\d{1,4}\)|#?\d{1,4}(?:[.)、]|:(?=\s))|#\d{1,4}\b)[*_]{0,2}(?=[\s*_\[\"“]"
    r"|[^\x00-\x7f])[.:]?\s*)"
    r"|(?P<date>[*_`]{0,2}[\[(]?(?:19|20)\d\d(?:[-./年]\d{1,2}(?:[-./月]\d{1,2}日?|月)?)?[\])]?[*_`]{0,2}(?:\s*[:：,|–—-]+\s+"
    r"|\s+(?=[\"“\[*\w])))"
    r"|(?P<group>(?:\*\*|__|`)?(?:\[(?P<square>[^\[\]\n]{1,40})\]|【(?P<lenticular>[^【】\n]{1,40})】)(?:\*\*|__|`)?\s*[:：]?\s*)"
    r"|(?P<aside>\((?P<round>[^()\[\]\n]{2,40})\)\s*[:：]?\s*)"
    r"|(?P<kbd><kbd>(?P<key>[^<>\n]{1,40})</kbd>\s*)"
    r"|(?P<code>`(?P<ticked>[^`\n]{1,40})`\s*[:：]?\s*)"
    r"|(?P<star>:[a-z0-9_+-]{2,30}:\s*)"
    r"|(?P<sign>[^\w\s\"“”„«「『《\[【`*_<(\ue000$#'‘\\@]+\s*|\\?-\s+)"
)
_COLON = re.compile(r"[:：]{1,2}[*_`]{0,3}(?!//)\s*")
_BRACKET_LABEL = re.compile(r"\s*[*_]{0,3}[\[【](?P<label>[^\[\]【】\ue000\n]{1,30})[\]】][*_]{0,3}\s*[:：]?\s*")
_QUOTED = re.compile(r"[\"“”„«「『《](?P<title>[^\"“”„«»「」『』《》\ue000\n]{4,300}?)[,.;]?[\"”“»」』》]")
_BOLD = re.compile(r"(?P<mark>\*\*|__)(?P<title>(?=\S)[^\n]{1,400}?\S?)(?P=mark)")
_ITALIC = re.compile(r"(?<![*_\w])(?P<mark>[*_])(?P<title>(?=[^\s*_])[^\n*]{1,400}?)(?P=mark)(?![*_\w])")
_HASHTAG = re.compile(r"(?<![\w/#&?=(])#(?P<tag>[^\W\d_][\w/-]{1,60})(?![\w(])")
_STARS = re.compile(r"(?::star2?:|⭐|★|🌟|☆|\ufe0f)+")
_IMAGE_BADGE = re.compile(r"!\[[^\]]*\]\([^)]*\)")
#: Signs between a title, its links and the remark on it.
SEPARATORS = " \t\r\n-–—:：,，;；、。|*_•·→>/\\"
_LONGEST_TITLE = 300
_LONGEST_LINE_HEAD = 200
_CONNECTED = re.compile(r"[\s,;，、；&+/|)\]]*(?:and|und|et|y|и|和|及|と|및|vs\.?|or)?[\s,;(\[]*", re.IGNORECASE)
_SENTENCE = re.compile(r"(?<=[^\W\d_]{2}|.[)\]?!\d\"”])[.。](?:\s+|$)|(?<=[?!])\s+(?=[A-Z(\[*_])")
_DASH = re.compile(r"\s+(?:[-–—]{1,3}|::|//)\s+|\s*[|｜]\s*|\s{2,}|\s*\ue000")


@dataclass(frozen=True, slots=True)
class Field:
    """A label and its value, such as `**Authors**: Ada Byron`."""

    kind: FieldKind
    label: str
    value: str
    """Plain words."""
    links: tuple[Link, ...]
    line: int
    """0-based."""


@dataclass(slots=True)
class Head:
    """What the text that names a paper says of it."""

    title: Title
    score: int
    """How good a title this is; 0 for none."""
    paper: Link | None
    """The address of the paper, or none."""
    body: str
    """The text apart from the title, as written; the whole text where words stand before the title."""
    is_prose: bool = False
    """Whether the paper is linked from the middle of a sentence."""
    tags: tuple[str, ...] = ()
    further: list[Link] = field(default_factory=list)
    """Further papers that are named in the same breath."""


def read_field(inline: Inline, line: int) -> Field | None:
    """The label and value that a text consists of: `论文：…`, `**Tags**: a, b`, `key:: value`; `None` for any other text."""
    visible = inline.visible()
    newline = visible.find("\n")
    first = visible[: newline if 0 <= newline < _LONGEST_LINE_HEAD else _LONGEST_LINE_HEAD]
    task = _TASK.match(first)
    begin = task.end() if task else 0
    bracket = _BRACKET_LABEL.match(first, begin)
    colon = _COLON.search(first, begin, begin + 80)
    spans = [(begin, colon.start(), colon.end())] if colon else []
    if bracket:
        spans.append((*bracket.span("label"), bracket.end()))
    for start, end, after in spans:
        if "\ue000" in first[start:end].strip("\ue000"):
            continue
        label = inline.words(start, end).strip(" \t*_`[]【】>|-+•")
        kind = field_of(label)
        if kind is None:
            continue
        value = inline.words(after).strip()
        return Field(kind, label, value, tuple(k for k in inline.links if k.start >= start), line)
    return None


def read_head(inline: Inline, resolve: Resolve, *, is_heading: bool = False) -> Head:
    """Take a text apart that may name a paper."""
    source = inline.source
    tags: list[str] = []
    position = 0
    if task := _TASK.match(source):
        tags.append("read" if task["mark"] in "xX" else "reading" if task["mark"] in "/-" else "unread")
        position = task.end()
    while (state := leading_state().match(source, position)) and state.end() > position:
        tags.append(state_of(state["state"]))
        position = state.end()
    begin = position
    visible = inline.visible()
    nicknames: list[str] = []
    venue, year = "", None
    while lead := _LEAD.match(visible, position):
        name = next((lead[g] for g in ("square", "lenticular", "round", "key", "ticked") if lead[g]), "")
        if lead["date"] and (digits := re.search(r"(?:19|20)\d\d", lead[0])):
            year = year or int(digits[0])
        if name:
            words = name.strip(" `*_")
            found, when = venue_and_year(words)
            if found or when:
                venue, year = venue or found, year or when
            elif is_label(words) or state_of(words):
                pass
            elif not lead["round"] and len(words.split()) <= 4 and not _is_end(visible, lead.end()):
                nicknames.append(words)
            else:
                break
        if lead.end() == position:
            break
        position = lead.end()
    papers = [link for link in inline.links if link.start >= begin and _is_paper(resolve, link)]
    best = _best_title(inline, visible, position, papers, is_heading)
    tags += [match["tag"] for match in _HASHTAG.finditer(visible, begin)]
    if best is None:
        return Head(Title(""), 0, _primary(papers, resolve, None), _without_lead(inline, position, papers), False, tuple(tags))
    start, end, title, score, link = best
    if nickname := _bold_nickname(inline, visible, position, start):
        nicknames.append(nickname)
    before = inline.words(position, start).strip(SEPARATORS + "([\"“”'`")
    before = "" if nicknames and before.strip(" *_:[]()") in nicknames else before
    if not venue:
        venue, after_year = _venue_after(inline, visible, end)
        year = year or after_year
    names = authors_of(before, is_before=True) if before else ()
    if names and year is None and (digits := re.search(r"(?<!\d)(?:19|20)\d\d(?!\d)", before)):
        year = int(digits[0])
    is_prose = bool(before) and not names and not is_label(before) and not _is_fact(before)
    if not names:
        names = _authors_after(inline, visible, end)
    body = source[begin:].strip() if before and not is_label(before) else _rest(inline, end, names)
    title = Title(
        title.text,
        tuple(dict.fromkeys([*nicknames, *title.tags])),
        title.authors or names,
        title.venue or venue,
        title.year or year,
    )
    further = _further(inline, papers, link, resolve) if link is not None else []
    primary = _primary([k for k in papers if k not in further], resolve, link)
    return Head(title, score, primary, body, is_prose, tuple(tags), further)


def _is_end(visible: str, position: int) -> bool:
    """Whether only links and signs follow: what stands before is the title, not a nickname."""
    return not re.search(r"\w", visible[position:].replace("\ue000", ""))


def _is_paper(resolve: Resolve, link: Link) -> bool:
    found = resolve(link)
    if found is None:
        return False
    return found.is_paper and (link.is_bare or field_of(link.text) not in {"code", "link"})


def _primary(papers: list[Link], resolve: Resolve, link: Link | None) -> Link | None:
    """The paper's own address: an identifier before a page, among the title's link and those with labels."""
    own = [k for k in papers if k is link or k.is_labelled or k.is_bare]
    candidates = own or papers
    if not candidates:
        return None
    order = ("arxiv", "doi", "openreview")

    def rank(k: Link) -> int:
        found = resolve(k)
        scheme = found.paper_id.partition(":")[0] if found and not found.problem else "url"
        return order.index(scheme) if scheme in order else len(order)

    return min(candidates, key=lambda k: (rank(k), k.start))


# Authors before a title, by their initials: `Byron A, Weber C. …`, `Sun, E., & Byron, A. (2020). …`.
_NAMES_FIRST = re.compile(
    r"(?:[A-ZÀ-Þ][\w'’-]+,? (?:[A-Z]\.?[ -]?){1,3}(?:,? (?:&|and) |, (?:& |and )?|(?=[.(:])))+(?:et al\.?)?"
    r"\s*(?:\(?(?:19|20)\d\d[a-z]?\)?)?[.:,]?\s+(?=[A-Z])"
)
Candidate = tuple[int, int, Title, int, Link | None]


def _best_title(inline: Inline, visible: str, position: int, papers: list[Link], is_heading: bool) -> Candidate | None:
    """Start, end, title, score and link of the best candidate; `None` where no words are a title."""
    found: list[Candidate] = []
    first_paper = papers[0].start if papers else len(visible)
    for link in papers:
        if not (link.is_bare or link.is_labelled) and is_titular(link.text) and not is_citation(link.text):
            found.append((link.start, link.end, split_title(_without_suffix(link.text)), 80, link))
            break
    for match in _QUOTED.finditer(visible, position, position + 1500):
        words = inline.words(match.start("title"), match.end("title"))
        if is_titular(words) and (
            len(words.split()) >= 3 or (not words.isascii() and len(words) >= 6) or match.start() <= position + 2
        ):
            found.append((match.start(), match.end(), Title(clean_title(words).rstrip(" ,.;")), 85 if not found else 75, None))
            break
    for start, end, words in inline.wikilinks:
        if start >= position and is_titular(words) and not any(k.start < start for k in papers):
            found.append((start, end, split_title(words), 78, None))
            break
    bold = next((m for m in _BOLD.finditer(visible, position, position + 1500) if m.start() <= first_paper), None)
    if bold is not None:
        words = inline.words(bold.start("title"), bold.end("title"))
        goes_on = _plain_title(inline, visible, bold.end(), papers)
        few = len(words.split()) <= 2 and words.isascii()
        is_nickname = few and goes_on is not None and len(goes_on[2].text.split()) >= 3 and not _is_fact(goes_on[2].text)
        separator = visible[bold.end() : bold.end() + 2].strip()[:1]
        if is_nickname and (separator in {":", "："} or words.rstrip().endswith((":", "："))) and goes_on is not None:
            combined = _joined(words, goes_on[2])
            found.append((bold.start(), goes_on[1], combined, 72, None))
        elif is_titular(words) and not is_nickname and not is_venue(words.strip("[] ")):
            found.append((bold.start(), bold.end(), split_title(words.rstrip(" .")), 74, None))
    if not found:
        for link in inline.links:
            if link in papers or link.start < position or link.is_bare or link.is_labelled or link.start > position + 3:
                continue
            if is_titular(link.text) and (papers or is_heading):
                found.append((link.start, link.end, split_title(_without_suffix(link.text)), 70, None))
            break
    cited = _NAMES_FIRST.match(visible, position)
    begin = cited.end() if cited and len(visible[cited.end() :].split()) >= 3 else position
    plain = _plain_title(inline, visible, begin, papers) if not any(c[0] <= position + 2 and c[3] >= 72 for c in found) else None
    if plain is not None and not found:
        found.append(plain)
    if not found:
        return None
    return max(found, key=lambda candidate: candidate[3])


def _joined(words: str, rest: Title) -> Title:
    return Title(f"{clean_title(words).rstrip(' :：')}: {rest.text}", rest.tags, rest.authors, rest.venue, rest.year)


def _without_suffix(text: str) -> str:
    """A file's name without its kind."""
    return re.sub(r"\.(?:pdf|md|html?)$", "", text, flags=re.IGNORECASE)


def _plain_title(inline: Inline, visible: str, position: int, papers: list[Link]) -> Candidate | None:
    """The words before the first link or separator; lacking these, the words behind the link of the paper."""
    while position < len(visible) and visible[position] in SEPARATORS:
        position += 1
    own = _plain_span(inline, visible, position)
    if own is not None:
        return own
    link = next((k for k in papers if k.start <= position + 3), None) or (papers[0] if papers else None)
    if link is None or link.is_bare:
        return None
    after = link.end
    while after < len(visible) and (visible[after] in SEPARATORS + ")]}" or visible[after] == "\ue000"):
        after += 1
    later = _plain_span(inline, visible, after)
    if later is None:
        return None
    return (
        (later[0], later[1], later[2], 50, later[4]) if len(later[2].text.split()) >= 2 or not later[2].text.isascii() else None
    )


def _plain_span(inline: Inline, visible: str, position: int) -> Candidate | None:
    limit = min(len(visible), position + _LONGEST_TITLE + 100)
    newline = visible.find("\n", position, limit)
    limit = newline if newline >= 0 and "\ue000" in visible[newline:] and newline - position > 3 else limit
    end = limit
    for link in inline.links:
        if link.start >= position and link.start < end:
            end = link.start
            break
    sentence = next(
        (m for m in _SENTENCE.finditer(visible, position, end) if not _is_abbreviation(visible, position, m.start())), None
    )
    if sentence and len(visible[position : sentence.start()].split()) >= 2:
        end = min(end, sentence.start() + (1 if visible[sentence.start()] in " \t" else 0))
    for dash in _DASH.finditer(visible, position, end):
        left = visible[position : dash.start()].strip()
        right = visible[dash.end() : end].strip()
        if not left:
            continue
        is_bar = "|" in dash[0] or "｜" in dash[0] or "  " in dash[0]
        if (
            is_bar
            or dash[0].strip() in {"::", "//"}
            or len(left.split()) >= 3
            or not right
            or _is_fact(right)
            or not left.isascii()
            or right[:1].islower()
        ):
            end = dash.start()
            break
    words = inline.words(position, end).strip()
    opening = words.rstrip(" \t([<{-–—:：,|")
    if not opening:
        return None
    text = opening.strip(SEPARATORS + "([<")
    if not is_titular(text) or len(text) > _LONGEST_TITLE:
        return None
    cited = re.match(r"(?P<names>.{3,200}?\bet\.?\s+al\.?),?\s*(?:\((?P<year>(?:19|20)\d\d)\w?\)[.,]?)?\s+(?P<rest>\S.+)", words)
    if cited and is_titular(cited["rest"]):
        return position + words.find(cited["rest"]), end, split_title(cited["rest"].rstrip(" .")), 60, None
    return position, end, split_title(text), 60, None


def _is_abbreviation(visible: str, start: int, stop: int) -> bool:
    """Whether the stop before a blank ends an abbreviation or an initial."""
    word = visible[start:stop].rsplit(None, 1)[-1] if visible[start:stop].split() else ""
    return len(word.strip("(")) <= 1 or word.lower() in {
        "al",
        "et",
        "vs",
        "e.g",
        "i.e",
        "dr",
        "fig",
        "proc",
        "no",
        "vol",
        "st",
        "approx",
    }


def _bold_nickname(inline: Inline, visible: str, position: int, start: int) -> str:
    """The nickname set in bold before the title: `**Longformer**: "…"`."""
    bold = _BOLD.match(visible, position)
    if bold is None or bold.end() > start:
        return ""
    words = inline.words(bold.start("title"), bold.end("title")).strip(" :：[]")
    return words if 0 < len(words.split()) <= 4 and not is_label(words) and not is_venue(words) else ""


def _is_fact(text: str) -> bool:
    """Whether a text consists of a venue, a year or names."""
    venue, year = venue_and_year(text.strip(SEPARATORS + "()[]`*_."))
    return bool(venue or year) or bool(authors_of(text))


_FACTS = re.compile(r"[|,;·(\[`]|\*{1,2}|<kbd>|</kbd>|[)\]]|\.\s|\s[-–—]\s")


def _venue_after(inline: Inline, visible: str, end: int) -> tuple[str, int | None]:
    """The first venue and year in the text behind the title."""
    tail = inline.text(end, min(len(visible), end + 600))
    venue, year = "", None
    for part in _FACTS.split(tail):
        found, when = venue_and_year(part.strip(" .,*_`'\"“”"))
        venue, year = venue or found, year or when
    return venue, year


def _authors_after(inline: Inline, visible: str, end: int) -> tuple[str, ...]:
    """The names in italics, between bars or in brackets, or at once behind the title."""
    tail = visible[end : end + 800]
    for match in _ITALIC.finditer(tail):
        names = authors_of(inline.words(end + match.start("title"), end + match.end("title")), is_set_apart=True)
        if names:
            return names
    for part in re.split(r"[|()\n]|\s[-–—]\s|\ue000+|\[\[?|\]\]?", tail)[:6]:
        words = part.strip(SEPARATORS + ".")
        if words and (names := authors_of(words)):
            return names
    return ()


def _further(inline: Inline, papers: list[Link], first: Link, resolve: Resolve) -> list[Link]:
    """The papers that are linked right behind the first: `[A](…), [B](…): compared`."""
    found: list[Link] = []
    own = resolve(first)
    end = first.end
    for link in papers:
        if link.start < end:
            continue
        if (
            not _CONNECTED.fullmatch(inline.source[end : link.start])
            or link.is_labelled
            or link.is_bare
            or is_citation(link.text)
        ):
            break
        where = resolve(link)
        if where is not None and own is not None and where.paper_id != own.paper_id and is_titular(link.text):
            found.append(link)
        end = link.end
    return found


def _rest(inline: Inline, end: int, names: tuple[str, ...]) -> str:
    """The source behind the title, as written; nothing where it only holds links by their labels, a venue and a year."""
    source = inline.source
    if not is_telling(inline, end, names):
        return ""
    start = end
    while start < len(source) and source[start] in SEPARATORS + ")]>.":
        start += 1
    if source[start : start + 1] == "(" or not source[start:]:
        return source[start:].strip()
    link = next((k for k in inline.links if k.start <= start < k.end), None)
    if link is None or link.start == start:
        # The paper's own address in front says nothing that the note does not hold otherwise.
        while (
            link is not None
            and (link.is_bare or link.is_labelled)
            and field_of(link.text) in {"paper", None}
            and link.start == start
        ):
            start = link.end
            while start < len(source) and source[start] in SEPARATORS + ")]>.":
                start += 1
            link = next((k for k in inline.links if k.start == start), None)
    return source[start:].strip()


def is_telling(inline: Inline, start: int, names: tuple[str, ...] = ()) -> bool:
    """Whether the text from a place on says more than labels of links, venue, year, stars and authors."""
    text = _HASHTAG.sub(" ", _STARS.sub(" ", inline.text(start)))
    if any(not (k.is_labelled or k.is_bare) for k in inline.links if k.start >= start):
        return True
    for part in _FACTS.split(text):
        words = part.strip(SEPARATORS + "()[]{}<>.'\"“”`⭐")
        if not words or is_label(words) or is_venue(words) or re.fullmatch(r"[\W\d_]*", words):
            continue
        venue, year = venue_and_year(words)
        if venue or year:
            continue
        if names and words in ", ".join(names):
            continue
        return True
    return False


def _without_lead(inline: Inline, position: int, papers: list[Link]) -> str:
    """The text of an entry without a title: what stands around the address."""
    source = inline.source
    start = position
    while start < len(source) and source[start] in SEPARATORS:
        start += 1
    link = next((k for k in papers if k.start <= start + 1), None)
    if link is not None:
        return _rest(inline, link.end, ())
    return source[start:].strip() if is_telling(inline, start) else ""
