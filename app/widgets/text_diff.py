"""Two versions of a text as one: what went is struck out, what came is coloured."""

from __future__ import annotations

from difflib import SequenceMatcher

from app.widgets.markdown import escape, visible

_LONGEST = 1500  # words; longer texts are compared in no bearable time


def difference(before: str, after: str) -> str:
    """Markdown of the change from one text to the other, word by word."""
    old, new = visible(before).split(), visible(after).split()
    if max(len(old), len(new)) > _LONGEST:
        return f"{_gone(old)} {_come(new)}"
    parts: list[str] = []
    for _, a, b, c, d in (op for op in SequenceMatcher(None, old, new, autojunk=False).get_opcodes()):
        if old[a:b] == new[c:d]:
            parts.append(escape(" ".join(new[c:d])))
            continue
        parts += [_gone(old[a:b]), _come(new[c:d])]
    return " ".join(part for part in parts if part)


def _gone(words: list[str]) -> str:
    return f":red[~~{escape(' '.join(words))}~~]" if words else ""


def _come(words: list[str]) -> str:
    return f":green-background[{escape(' '.join(words))}]" if words else ""
