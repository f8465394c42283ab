"""Word diff of two texts as Markdown: deletions struck out, insertions coloured."""

from __future__ import annotations

from difflib import SequenceMatcher

from app.widgets.markdown import escape, visible

_MAX_WORDS = 1500  # longer texts take seconds to compare


def difference(before: str, after: str) -> str:
    """Markdown of the changes from `before` to `after`, word by word."""
    old, new = visible(before).split(), visible(after).split()
    if max(len(old), len(new)) > _MAX_WORDS:
        return f"{_deleted(old)} {_inserted(new)}"
    parts: list[str] = []
    for _, a, b, c, d in (op for op in SequenceMatcher(None, old, new, autojunk=False).get_opcodes()):
        if old[a:b] == new[c:d]:
            parts.append(escape(" ".join(new[c:d])))
            continue
        parts += [_deleted(old[a:b]), _inserted(new[c:d])]
    return " ".join(part for part in parts if part)


def _deleted(words: list[str]) -> str:
    return f":red[~~{escape(' '.join(words))}~~]" if words else ""


def _inserted(words: list[str]) -> str:
    return f":green-background[{escape(' '.join(words))}]" if words else ""
