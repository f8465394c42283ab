"""Configuration file of a knowledge base, `config.toml` in its folder: followed categories and scheduled jobs.

categories = ["cs.CL", "cs.LG"]       # what `kb ingest arxiv`, `kb ingest oai` and `kb doctor` take without a choice
contact = "you@example.org"           # sent to arXiv with each request, so that it can write to you before it blocks you

[[job]]
run = "ingest oai"                    # any command of kb
at = "06:30"                          # local time
days = "mon-fri"                      # a day, a range, or several with commas; every day where it is left out
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.items import Array

from ingest.arxiv.api import category_query
from kb.errors import QueryError, StoreError
from kb.files import make_private, replace_file
from kb.store import Home

_DAY = "(?:mon|tue|wed|thu|fri|sat|sun)"
_WEEK = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAYS = re.compile(rf"{_DAY}(?:-{_DAY})?(?:,{_DAY}(?:-{_DAY})?)*")
_EXAMPLES = {"run": "ingest oai", "at": "06:30", "days": "mon-fri"}
_CONTACT = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+|https?://[!-~]+", re.ASCII)
_TIME = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")


@dataclass(frozen=True, slots=True)
class Job:
    """Scheduled command of `kb`."""

    run: str
    at: str
    """Local time of day, such as `06:30`."""
    days: str = "mon-sun"

    @property
    def arguments(self) -> list[str]:
        """Arguments of `kb`."""
        return shlex.split(self.run)

    @property
    def weekdays(self) -> frozenset[int]:
        """Days of the week on which the job runs, as `date.weekday` counts them."""
        numbers: set[int] = set()
        for part in self.days.split(","):
            first, _, last = part.partition("-")
            numbers.update(range(_WEEK.index(first), _WEEK.index(last or first) + 1))
        return frozenset(numbers)

    def next_time(self, after: datetime) -> datetime:
        """First time of the job after a moment, both with a time zone.

        Each day has one such time, in the machine's zone. One that the clock skips in spring comes as much later; of one
        that comes twice in autumn, the first counts.
        """
        hour, minute = map(int, self.at.split(":"))
        day = after.astimezone().date()
        while True:
            # A time without a zone is the machine's own, which `timestamp` alone takes forward where the clock skips it.
            found = datetime.fromtimestamp(datetime.combine(day, time(hour, minute)).timestamp(), UTC).astimezone()
            if found > after and day.weekday() in self.weekdays:
                return found
            day += timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Configuration:
    """Contents of the configuration file."""

    categories: tuple[str, ...] = ()
    jobs: tuple[Job, ...] = ()
    contact: str = ""

    @classmethod
    def of(cls, home: Home) -> Configuration:
        """Read `config.toml` in the knowledge base's folder; empty without one.

        Raises StoreError, with the line, if the file cannot be read or has a wrong value.
        """
        path = home.configuration
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return cls()
        except (OSError, UnicodeDecodeError) as error:
            raise StoreError(f"{path} cannot be read: {error}.") from error
        try:
            values = tomllib.loads(text)
        except (ValueError, RecursionError) as error:
            raise StoreError(f"{path} is no TOML: {error}.") from None
        return _Reader(path, text).configuration(values)


def follow(home: Home, categories: Sequence[str]) -> None:
    """Set the categories of the configuration file, which is created if there is none.

    All else that the user wrote stays, comments included. Raises QueryError for what cannot be a category, and StoreError
    if the file is wrong already; it is then left as it is.
    """
    for category in categories:
        category_query(category)
    present = Configuration.of(home).categories
    path = home.configuration
    make_private(home.path)
    document = tomlkit.parse(path.read_text(encoding="utf-8") if path.exists() else "")
    if present:
        stored = document["categories"]
        assert isinstance(stored, Array)  # Configuration.of has seen that it is one
        for category in [c for c in present if c not in categories]:
            stored.remove(category)
        for category in categories:
            if category not in present:
                stored.append(category)
    else:
        document.pop("categories", None)
        text = tomlkit.document()
        text["categories"] = list(categories)
        # Before the first table: what stands below one belongs to it.
        document = tomlkit.parse(tomlkit.dumps(text) + tomlkit.dumps(document))
    replace_file(path, tomlkit.dumps(document), mode=0o600)


class _Reader:
    """Validator of the file's values; its errors name the line."""

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._lines = text.splitlines()

    def configuration(self, values: dict[str, Any]) -> Configuration:
        for name in values.keys() - {"categories", "contact", "job"}:
            raise self._error(f"{name!r} is unknown; known are 'categories', 'contact' and [[job]]", name)
        categories = values.get("categories", [])
        if not isinstance(categories, list) or not all(isinstance(c, str) for c in categories):
            raise self._error('categories is a list, such as ["cs.CL", "cs.LG"]', "categories")
        for category in categories:
            try:
                category_query(category)
            except QueryError as error:
                raise self._error(str(error).removesuffix("."), "categories") from None
        contact = values.get("contact", "")
        if not isinstance(contact, str) or (contact and not _CONTACT.fullmatch(contact)):
            raise self._error("contact is an e-mail address or a web address, such as 'you@example.org'", "contact")
        tables = values.get("job", [])
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            raise self._error("a job begins with [[job]], in double brackets", "job")
        jobs: list[Job] = []
        for number, table in enumerate(tables):
            job = self._job(table, number)
            if any(other.run == job.run for other in jobs):
                raise self._error(f"{job.run!r} is there twice; give one job several days", "run", number)
            jobs.append(job)
        return Configuration(tuple(categories), tuple(jobs), contact)

    def _job(self, table: Any, number: int) -> Job:  # noqa: ANN401
        for name in table.keys() - {"run", "at", "days"}:
            raise self._error(f"{name!r} is unknown; a job has 'run', 'at' and 'days'", name, number)
        for name in ("run", "at"):
            if name not in table:
                raise self._error(f"the job has no {name!r}", "job", number)
        for name in table:
            if not isinstance(table[name], str):
                raise self._error(f"{name} is a text in quotes, such as {_EXAMPLES[name]!r}", name, number)
        run, at, days = table["run"], table["at"], table.get("days", "mon-sun").lower().replace(" ", "")
        if not _TIME.fullmatch(at):
            raise self._error(f"{at!r} is no time of day, such as '06:30'", "at", number)
        if not _DAYS.fullmatch(days):
            raise self._error(f"{days!r} are no days, such as 'mon-fri' or 'tue,sat'", "days", number)
        for first, last in re.findall(rf"({_DAY})-({_DAY})", days):
            if _WEEK.index(first) > _WEEK.index(last):
                raise self._error(f"{first}-{last} goes over the end of the week: write '{first}-sun,mon-{last}'", "days", number)
        try:
            words = shlex.split(run)
        except ValueError as error:
            raise self._error(f"{run!r} is no command: {error}", "run", number) from None
        if not words or words[0] == "kb":
            raise self._error("run is a command without 'kb' before it, such as 'ingest oai'", "run", number)
        return Job(run, at, days)

    def _error(self, reason: str, key: str, job: int | None = None) -> StoreError:
        """Error at the line of a key, in the job of that number if it is given."""
        at = 0
        if job is not None:
            starts = [n for n, line in enumerate(self._lines) if re.match(r"\s*\[\[\s*job\s*\]\]", line)]
            at = starts[job] if job < len(starts) else 0  # jobs can be written otherwise, if less legibly
        found = (n for n in range(at, len(self._lines)) if re.match(rf"\s*\[*[\s\"']*{re.escape(key)}\b", self._lines[n]))
        return StoreError(f"{self._path}:{next(found, at) + 1}: {reason}.")
