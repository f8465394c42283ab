"""Whether a repository that a note names is the paper's own: judged by its label, its place, the words around it, and its name.

A note names tools, rivals, ports and the reader's own repository as well: without a word or a name that says so, none is the
paper's.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from ingest.code.evidence import Judgement, is_named_like, is_owned, is_placeholder
from ingest.notes.inline import Inline, Link
from ingest.notes.labels import field_of, is_label
from ingest.notes.page import Page
from kb.papers import Author, Mention, Note

_OFFICIAL = re.compile(
    r"\bofficial|\bauthors?['’]?s?\b.*\b(?:code|implementation)|官方|公式|공식|официальн|offiziell|officiel|oficial",
    re.IGNORECASE,
)
_OTHER = re.compile(
    r"\bun-?official|non-?official|third[- ]party|\bre-?implement|\breproduc|\breplicat|\bports?\b|\bported|\bcommunity\b"
    r"|\bsimple implementation|\bminimal"
    r"|\bunofficial|\bother implementation|\balternative|\bmy (?:own )?(?:implementation|code|version|notes?|review|repo)"
    r"|\bour (?:notes?|review)"
    r"|非官方|复现|復現|第三方|个人实现|비공식|재구현|非公式|再現実装|再実装|неофициальн|inoffiziell|non officiel|no oficial",
    re.IGNORECASE,
)
_READERS_OWN = re.compile(
    r"\b(?:my|our)\b|\breview\b|\bnotes?\b|\bblog|\bslides?\b|\bsummary\b|\bannotated|笔记|解读|解説|리뷰|정리|заметки|обзор",
    re.IGNORECASE,
)
_USED = re.compile(
    r"\b(?:us(?:es?|ed|ing)|based (?:up)?on|buil[dt]\w* (?:up)?on|on top of|compar\w+|baselines?|borrow\w*|adapted from"
    r"|fork(?:ed)? (?:of|from)|similar to"
    r"|inspired by|relies on|requires?|implemented (?:in|with|using)|see also|related|tools?|librar(?:y|ies)|frameworks?"
    r"|alternatives?|competitors?|evaluated (?:on|with)"
    r"|trained with|extends?|leaderboard|awesome|collection|list of)\b"
    r"|使用|基于|对比|相关|参考|工具|사용|기반|관련|参考|関連|利用|использ|verwendet"
    r"|basiert|utilise|basado|usa\b",
    re.IGNORECASE,
)
_CODE = re.compile(
    r"\b(?:codes?|codebase|source|implementation|repo(?:sitory)?|github|open[- ]?sourced?|released?|available)\b"
    r"|代码|源码|开源|코드"
    r"|구현|コード|実装|код\b|реализаци|quellcode|código",
    re.IGNORECASE,
)
_FRAMEWORKS = frozenset(
    "pytorch tensorflow torch caffe keras jax mxnet matlab theano paddle paddlepaddle tf chainer flax lua".split()
)
_DEEP = re.compile(r"/(?:blob|issues?|pull|wiki|discussions|releases|tree)/", re.IGNORECASE)
_PARENTHESISED = re.compile(r"\(([^()]{2,40})\)")
_SENTENCE_END = re.compile(r"[.;!?。；]\s")


def judge_repositories(page: Page, notes: Sequence[Note]) -> list[Note]:
    """The notes with every repository that they name judged."""
    spread = Counter(
        m.target.lower() for note in notes for m in {m.target: m for m in note.mentions if m.kind == "repository"}.values()
    )
    return [_judged(page, note, spread) if any(m.kind == "repository" for m in note.mentions) else note for note in notes]


def _judged(page: Page, note: Note, spread: Counter[str]) -> Note:
    found: list[tuple[Mention, str, str]] = []
    for mention in note.mentions:
        if mention.kind != "repository":
            found.append((mention, "", ""))
            continue
        inline, link = _place(page, mention)
        judgement, label = _judge(note, mention, inline, link, spread[mention.target.lower()])
        found.append(
            (replace(mention, confidence=judgement.confidence, evidence=judgement.evidence), label, mention.target.lower())
        )
    return replace(note, mentions=tuple(_only_one(found)))


def _only_one(found: Sequence[tuple[Mention, str, str]]) -> list[Mention]:
    """Of several that are equally labelled as code the first stays likely, unless a name or `official` speaks for a later one."""
    best = max((m.confidence for m, _, target in found if target), default=0.0)
    kept: list[Mention] = []
    first = ""
    for mention, label, target in found:
        if not target or mention.confidence < 0.5:
            kept.append(mention)
        elif not first and (mention.confidence == best or label != "framework"):
            first = target
            kept.append(mention)
        elif target == first or "named like" in mention.evidence or "official" in mention.evidence or "owned" in mention.evidence:
            kept.append(mention)
        else:
            kept.append(replace(mention, confidence=0.4, evidence=mention.evidence + ", another comes before it"))
    return kept


def _place(page: Page, mention: Mention) -> tuple[Inline | None, Link | None]:
    """The paragraph that holds a mention, and its link there."""
    line = mention.line - 1
    for first, _, text in page.paragraphs_on(line, line + 1):
        inline = page.inline(text, first)
        for link in inline.links:
            if link.line == mention.line and link.text == mention.text:
                return inline, link
    return None, None


def _judge(note: Note, mention: Mention, inline: Inline | None, link: Link | None, notes_naming: int) -> tuple[Judgement, str]:
    """How sure it is that a repository is the note's paper's own, and what kind of label it has."""
    url = mention.target
    if is_placeholder(url):
        return Judgement(0.05, "a placeholder"), ""
    before, label = _around(inline, link) if inline is not None and link is not None else ("", mention.text)
    words = f"{before} {label}"
    href = link.href if link is not None else url
    named = is_named_like(url, note.title) or any(
        is_named_like(url, f"{tag}: {note.title}") for tag in note.tags[:2] if len(tag) > 2
    )
    owned = is_owned(url, [Author.from_name(name) for name in note.authors])
    reasons: list[str] = []
    kind = ""
    aside = _PARENTHESISED.search(label)
    is_framework = label.casefold().split("(")[0].strip() in _FRAMEWORKS
    if mention.text == note.title or (note.url and href == note.url):
        confidence, reason = 0.6, "the note is on a page of it"
    elif _OTHER.search(words):
        return Judgement(0.2, "the note says that it is another implementation"), "other"
    elif _OFFICIAL.search(words):
        confidence, reason, kind = 0.9, "the note calls it official", "official"
    elif _READERS_OWN.search(label) or (_DEEP.search(href) and not is_label(label) and not _CODE.search(words)):
        return Judgement(0.15, "a page in somebody's repository"), "page"
    elif is_framework and aside is not None and not _FRAMEWORKS & {aside[1].casefold()}:
        return Judgement(0.3, "the note names another author of it"), "other"
    elif _USED.search(before[-80:]) and field_of(label) != "code":
        confidence, reason, kind = 0.3, "the note speaks of use", "used"
    elif _USED.search(before[-80:]):
        confidence, reason, kind = 0.4, "the note speaks of use", "used"
    elif is_framework:
        confidence, reason, kind = 0.65, "linked by its framework", "framework"
    elif field_of(label) == "code" or _CODE.search(words):
        confidence, reason, kind = 0.8, "the note labels it as code", "code"
    else:
        confidence, reason = 0.35, "the note names it"
    reasons.append(reason)
    if notes_naming >= 3 and not named:
        return Judgement(min(confidence, 0.3), f"{reason}, as {notes_naming} notes of the file do"), kind
    if named:
        confidence += 0.25
        reasons.append("named like the paper")
    if owned:
        confidence += 0.2
        reasons.append("owned by an author")
    if kind == "used" and not owned:
        confidence = min(confidence, 0.45)
    return Judgement(round(min(0.95, confidence), 2), ", ".join(reasons)), kind


def _around(inline: Inline, link: Link) -> tuple[str, str]:
    """The words before a link in its sentence, and its own."""
    line_start = inline.source.rfind("\n", 0, link.start) + 1
    earlier = max((k.end for k in inline.links if k.end <= link.start), default=0)
    before = inline.words(max(line_start, earlier), link.start)
    if earlier and not re.search(r"\w", before):  # `[[Code](…)] [[PyTorch](…)]`: each link by its own label
        before = ""
    before = _SENTENCE_END.split(before)[-1]
    label = "" if link.is_bare else link.text
    return before, label
