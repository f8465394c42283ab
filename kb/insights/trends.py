"""Monthly trends: papers by category, the share with code, and rising title words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from kb.store import Catalogue
from kb.store.monthly import MonthCount, MonthlyCounts

_BASELINE_MONTHS = 3  # baseline: the mean of this many months before
_COMPLETE_FROM_DAY = 25  # a month whose newest paper is from this day or later counts as complete
OTHER = "other"


@dataclass(frozen=True, slots=True)
class Rise:
    """A category or pair of title words: papers of the month, and the monthly mean of the three months before."""

    name: str
    papers: int
    before: float


@dataclass(frozen=True, slots=True)
class Month:
    """Counts of one month."""

    first: date
    papers: int
    with_code: int
    categories: dict[str, int]
    """Papers by primary category, the largest of the whole span first; the rest as OTHER, last."""


def by_month(catalogue: Catalogue, months: int, categories: int = 8) -> list[Month]:
    """Counts of at most the last `months` months, oldest first; empty months in between are included."""
    newest = catalogue.newest()
    if newest is None:
        return []
    last = newest.replace(day=1)
    counts = MonthlyCounts(catalogue).monthly(months_later(last, 1 - months), months_later(last, 1))
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
    """First day of the newest complete month; of the newest month if there is only one. `None` without papers."""
    newest = catalogue.newest()
    if newest is None:
        return None
    month = newest.replace(day=1)
    before = months_later(month, -1)
    whole = newest.day >= _COMPLETE_FROM_DAY or not len(MonthlyCounts(catalogue).published(before, month))
    return month if whole else before


def largest_categories(trends: MonthlyCounts, month: date, k: int = 8) -> tuple[Rise, ...]:
    """The month's k largest categories, largest first."""
    before = months_later(month, -_BASELINE_MONTHS)
    now, past = trends.by_category(month, months_later(month, 1)), trends.by_category(before, month)
    largest = sorted(now, key=lambda c: (-now[c], c))[:k]
    return tuple(Rise(c, now[c], past.get(c, 0) / _BASELINE_MONTHS) for c in largest)


def rising_words(trends: MonthlyCounts, month: date, k: int = 8) -> tuple[Rise, ...]:
    """The k word pairs in titles that rose most against the mean of the three months before, steepest first."""
    before, end = months_later(month, -_BASELINE_MONTHS), months_later(month, 1)
    words, past = trends.title_words(month, end), trends.title_words(before, month)
    papers, papers_before = (sum(trends.by_category(*span).values()) for span in ((month, end), (before, month)))
    scale = papers / max(papers_before / _BASELINE_MONTHS, 1.0)  # corrects for a larger month
    smooth = 3.0  # additive smoothing, in papers: a new pair with three papers must not win
    risen = sorted(
        (w for w in words if words[w] >= 5 and not set(w.split()) & _STOP_WORDS),
        key=lambda w: (-(words[w] + smooth) / (scale * past.get(w, 0) / _BASELINE_MONTHS + smooth), w),
    )
    kept: list[str] = []
    for pair in risen:  # `model predictive` and `predictive control` come from the same titles: keep the steeper
        if len(kept) < k and not any(set(pair.split()) & set(other.split()) for other in kept):
            kept.append(pair)
    return tuple(Rise(w, words[w], past.get(w, 0) / _BASELINE_MONTHS) for w in kept)


_STOP_WORDS = frozenset(
    "a all an and are as at be but by can do does for from has have how in into is it its less more most new not of on or our "
    "than that the their they this to toward towards under using via we what when where which why with without you your".split()
)


def months_later(month: date, months: int) -> date:
    """First day of the month `months` later; negative for earlier."""
    years, index = divmod(month.year * 12 + month.month - 1 + months, 12)
    return date(years, index + 1, 1)
