"""How the months compare: papers by category, the share that has code, and the words that rise in titles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from kb.store import Catalogue
from kb.store.monthly import MonthCount, Trends

_MONTHS_BEFORE = 3  # with whose mean a month is compared
_WHOLE = 25  # day of the month from which on its papers are taken to be nearly all here
OTHER = "other"


@dataclass(frozen=True, slots=True)
class Rise:
    """A category, or words in titles, and its papers in the month and on average in the three months before."""

    name: str
    papers: int
    before: float


@dataclass(frozen=True, slots=True)
class Month:
    """What was published in a month."""

    first: date
    papers: int
    with_code: int
    categories: dict[str, int]
    """Papers by primary category, in the order of the whole span's largest; all but those as OTHER, the last."""


def by_month(catalogue: Catalogue, months: int, categories: int = 8) -> list[Month]:
    """The last months with papers, so many at most, the oldest first; a month between them without papers is there too."""
    newest = catalogue.newest()
    if newest is None:
        return []
    last = newest.replace(day=1)
    counts = Trends(catalogue).monthly(months_later(last, 1 - months), months_later(last, 1))
    if not counts:
        return []
    total: Counter[str] = Counter()
    for count in counts:
        total[count.category] += count.papers
    largest = [category for category, _ in sorted(total.items(), key=lambda item: (-item[1], item[0])) if category][:categories]
    found: list[Month] = []
    first = min(count.month for count in counts)
    while first <= last:
        found.append(_month(first, [count for count in counts if count.month == first], largest))
        first = months_later(first, 1)
    return found


def _month(first: date, counts: Sequence[MonthCount], largest: Sequence[str]) -> Month:
    by_category = {count.category: count.papers for count in counts}
    papers = sum(by_category.values())
    shown = {category: by_category.get(category, 0) for category in largest}
    return Month(first, papers, sum(count.with_code for count in counts), shown | {OTHER: papers - sum(shown.values())})


def last_whole_month(catalogue: Catalogue) -> date | None:
    """The newest month whose papers are nearly all here; the newest at all where there is but one."""
    newest = catalogue.newest()
    if newest is None:
        return None
    month = newest.replace(day=1)
    before = months_later(month, -1)
    whole = newest.day >= _WHOLE or not len(Trends(catalogue).published(before, month))
    return month if whole else before


def largest_categories(trends: Trends, month: date, k: int = 8) -> tuple[Rise, ...]:
    """The month's largest categories, the largest first."""
    before = months_later(month, -_MONTHS_BEFORE)
    now, past = trends.by_category(month, months_later(month, 1)), trends.by_category(before, month)
    largest = sorted(now, key=lambda c: (-now[c], c))[:k]
    return tuple(Rise(c, now[c], past.get(c, 0) / _MONTHS_BEFORE) for c in largest)


def rising_words(trends: Trends, month: date, k: int = 8) -> tuple[Rise, ...]:
    """The pairs of words that rose most in titles, against the mean of the three months before, the steepest first."""
    before, end = months_later(month, -_MONTHS_BEFORE), months_later(month, 1)
    words, past = trends.title_words(month, end), trends.title_words(before, month)
    papers, papers_before = (sum(trends.by_category(*span).values()) for span in ((month, end), (before, month)))
    scale = papers / max(papers_before / _MONTHS_BEFORE, 1.0)  # a larger month lifts every word
    smooth = 3.0  # papers; so that a word new with three papers does not beat all
    risen = sorted(
        (w for w in words if words[w] >= 5 and not set(w.split()) & _EMPTY),
        key=lambda w: (-(words[w] + smooth) / (scale * past.get(w, 0) / _MONTHS_BEFORE + smooth), w),
    )
    apart: list[str] = []
    for pair in risen:  # of `model predictive` and `predictive control`, the same titles most likely, the steeper alone
        if len(apart) < k and not any(set(pair.split()) & set(other.split()) for other in apart):
            apart.append(pair)
    return tuple(Rise(w, words[w], past.get(w, 0) / _MONTHS_BEFORE) for w in apart)


_EMPTY = frozenset(
    "a all an and are as at be but by can do does for from has have how in into is it its less more most new not of on or our "
    "than that the their they this to toward towards under using via we what when where which why with without you your".split()
)


def months_later(month: date, months: int) -> date:
    """The first day of the month so many months later, or earlier."""
    years, index = divmod(month.year * 12 + month.month - 1 + months, 12)
    return date(years, index + 1, 1)
