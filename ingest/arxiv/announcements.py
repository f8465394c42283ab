"""arXiv's announcement calendar: Sunday to Thursday at 20:00 US Eastern time, except around holidays.

A day wrongly taken for a holiday delays the alarm of an outage by a day; one wrongly taken for a working day is a false
alarm. So doubtful days count as holidays.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import holidays

_EASTERN = ZoneInfo("America/New_York")
_ANNOUNCED = time(20, 0)
# The feeds follow within hours: OAI-PMH at about 22:30. Until midnight nothing is missed yet.
_GRACE = timedelta(hours=4)
_EVENINGS = frozenset({6, 0, 1, 2, 3})  # Sunday to Thursday, as date.weekday() counts


@cache
def _public_holidays(year: int) -> frozenset[date]:
    return frozenset(holidays.country_holidays("US", years=year))


def is_holiday(day: date) -> bool:
    """True on US public holidays, the day after Thanksgiving, and from 24 December to 1 January."""
    if (day.month, day.day) >= (12, 24) or (day.month, day.day) == (1, 1):
        return True
    after_thanksgiving = day.month == 11 and day.weekday() == 4 and 23 <= day.day <= 29
    return after_thanksgiving or day in _public_holidays(day.year)


def announcements(after: datetime, before: datetime) -> list[datetime]:
    """Announcements whose papers must be in the feeds, made after `after` and out by `before`; all UTC without zone."""
    found: list[datetime] = []
    day = after.date() - timedelta(days=2)
    while day <= before.date():
        # No announcement on the evening of a holiday, nor on the evening before one.
        if day.weekday() in _EVENINGS and not is_holiday(day) and not is_holiday(day + timedelta(days=1)):
            made = datetime.combine(day, _ANNOUNCED, _EASTERN).astimezone(UTC).replace(tzinfo=None)
            if after < made and made + _GRACE <= before:
                found.append(made)
        day += timedelta(days=1)
    return found


def is_working_day(day: date) -> bool:
    """True from Monday to Friday, except on holidays. Papers are submitted on the other days too, but fewer."""
    return day.weekday() < 5 and not is_holiday(day)


def quiet_reason(after: datetime, before: datetime) -> str:
    """Reason why no announcement was due between two moments (UTC, without zone)."""
    days = {after.date() + timedelta(days=n) for n in range((before.date() - after.date()).days + 1)}
    if any(is_holiday(day) for day in days):
        return "a holiday"
    if any(day.weekday() >= 5 for day in days):
        return "the weekend"
    return "no announcement since the last run"
