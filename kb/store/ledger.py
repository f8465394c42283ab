"""The ledger: version history of papers, withdrawals, and the progress of harvests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import pairwise

import pyarrow as pa

from kb.papers import Skipped, Version
from kb.store.catalogue import IN_CATEGORIES, Catalogue


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """A version that withdrew its paper."""

    version: int
    noticed: date | None
    """Date of the record that reported it."""
    reason: str
    """What the record's comments say; empty where they say nothing."""


@dataclass(frozen=True, slots=True)
class TextChange:
    """A title or abstract before and after a new version."""

    field: str
    """'title' or 'abstract'."""
    before_version: int
    after_version: int
    """The next version whose text is known."""
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class History:
    """Versions, text changes and withdrawals of a paper."""

    versions: tuple[Version, ...] = ()
    changes: tuple[TextChange, ...] = ()
    """The oldest first."""
    withdrawals: tuple[Withdrawal, ...] = ()
    """A paper whose last version is among them is withdrawn now."""


@dataclass(frozen=True, slots=True)
class Harvest:
    """Progress of the harvest of one source. All times are UTC, without zone."""

    source: str
    """Such as `oai:cs:cs:CL` or `api:cat:cs.CL`."""
    began: datetime | None = None
    """What is older was not asked for; `None`: everything was."""
    reached: datetime | None = None
    """Everything up to here is published."""
    finished: datetime | None = None
    """When a run last came to its end; `None`: none ever did."""
    asked_from: datetime | None = None
    """Where the window of an unfinished run begins."""
    token: str = ""
    expires: datetime | None = None
    in_progress: bool = False
    """Whether a run was stopped before its end."""


@dataclass(frozen=True, slots=True)
class Pending:
    """A record that a source has and did not give, by its id or by the time of its submission (UTC, without zone)."""

    paper_id: str = ""
    first: datetime | None = None
    last: datetime | None = None


_HARVEST = "source, began, reached, finished, asked_from, token, expires, in_progress"
_STAMPS = pa.schema([("paper_id", pa.string()), ("datestamp", pa.date32())])


class Ledger:
    """The ledger of one open catalogue."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._connection = catalogue.connection

    # Papers --------------------------------------------------------------------------------------------------------

    def history(self, identifier: str) -> History:
        """Versions, changed texts and withdrawals of the paper with this canonical id; empty where there is none."""
        read = self._connection.read
        rows = read("SELECT title, abstract, versions FROM papers WHERE id = ?", [identifier])
        if not rows:
            return History()
        title, abstract, versions = rows[0]
        texts = read("SELECT version, title, abstract FROM former_texts WHERE paper_id = ? ORDER BY version", [identifier])
        texts.append((len(versions), title, abstract))
        changes = [
            TextChange(field, before[0], after[0], before[column], after[column])
            for before, after in pairwise(texts)
            for column, field in ((1, "title"), (2, "abstract"))
            if before[column] != after[column]
        ]
        withdrawals = read("SELECT version, noticed, reason FROM withdrawals WHERE paper_id = ? ORDER BY version", [identifier])
        return History(tuple(Version(**v) for v in versions), tuple(changes), tuple(Withdrawal(*row) for row in withdrawals))

    def withdraw(self, identifiers: Sequence[str], noticed: date, reason: str) -> int:
        """Mark papers whose record arXiv deleted as withdrawn; returns how many were not marked before."""
        rows = self._connection.write(
            "UPDATE papers SET withdrawn = TRUE WHERE id IN (SELECT unnest(?)) AND NOT withdrawn RETURNING id, len(versions)",
            [list(identifiers)],
        )
        self._connection.write_many(
            "INSERT INTO withdrawals VALUES (?, ?, ?, ?)", [(identifier, n, noticed, reason) for identifier, n in rows]
        )
        return len(rows)

    def known_by_notes(self) -> list[str]:
        """Canonical ids of the arXiv papers that only notes tell of."""
        rows = self._connection.read("SELECT id FROM papers WHERE origin = 'notes' AND starts_with(id, 'arxiv:') ORDER BY key")
        return [identifier for (identifier,) in rows]

    def papers_by_day(self, category: str, first: date, last: date) -> dict[date, int]:
        """Number of papers of a category, or archive, by the day on which version 1 was submitted."""
        rows = self._connection.read(
            f"SELECT published, count(*) FROM papers WHERE published BETWEEN ? AND ? AND {IN_CATEGORIES} GROUP BY published",
            [first, last, [category], [category]],
        )
        return {day: int(n) for day, n in rows}

    def first_day(self, category: str) -> date | None:
        """The day on which the oldest paper of a category was submitted."""
        rows = self._connection.read(f"SELECT min(published) FROM papers WHERE {IN_CATEGORIES}", [[category], [category]])
        return rows[0][0]  # type: ignore[no-any-return]

    # Datestamps ----------------------------------------------------------------------------------------------------

    def record_datestamps(self, stamps: Iterable[tuple[str, date]]) -> None:
        """Record the latest datestamp of each record received."""
        with self._connection.registered("stamp_rows", _stamp_rows(stamps)):
            self._connection.write(
                """CREATE OR REPLACE TEMP TABLE stamped AS
                   SELECT paper_id, max(datestamp) AS datestamp FROM (FROM stamp_rows UNION ALL
                       SELECT datestamps.* FROM datestamps SEMI JOIN stamp_rows USING (paper_id)) GROUP BY paper_id;
                   DELETE FROM datestamps USING stamped WHERE datestamps.paper_id = stamped.paper_id;
                   INSERT INTO datestamps SELECT paper_id, datestamp FROM stamped; DROP TABLE stamped"""
            )

    def not_received(self, stamps: Iterable[tuple[str, date]]) -> list[tuple[str, date]]:
        """Those of these records that were never received, or only with an older datestamp."""
        with self._connection.registered("stamp_rows", _stamp_rows(stamps)):
            return self._connection.write(
                """SELECT DISTINCT stamp_rows.paper_id, stamp_rows.datestamp FROM stamp_rows LEFT JOIN datestamps
                   ON datestamps.paper_id = stamp_rows.paper_id AND datestamps.datestamp >= stamp_rows.datestamp
                   WHERE datestamps.paper_id IS NULL ORDER BY 2, 1"""
            )

    def held(self, category: str, since: date) -> list[str]:
        """Ids of the papers of a category, or archive, whose record came with this datestamp or a later one."""
        rows = self._connection.read(
            f"""SELECT DISTINCT id FROM papers JOIN datestamps ON paper_id = id
                WHERE datestamp >= ? AND {IN_CATEGORIES} ORDER BY id""",
            [since, [category], [category]],
        )
        return [identifier for (identifier,) in rows]

    def arxiv_papers(self, category: str, since: date) -> list[str]:
        """Ids of arXiv's papers of a category, or archive, submitted on this day or later; the newest first."""
        rows = self._connection.read(
            f"SELECT id FROM papers WHERE origin = 'arxiv' AND published >= ? AND {IN_CATEGORIES} ORDER BY published DESC, id",
            [since, [category], [category]],
        )
        return [identifier for (identifier,) in rows]

    # Harvests ------------------------------------------------------------------------------------------------------

    def harvest(self, source: str) -> Harvest:
        """Progress of the harvest of this source; empty if there was none."""
        rows = self._connection.read(f"SELECT {_HARVEST} FROM harvests WHERE source = ?", [source])
        return Harvest(*rows[0]) if rows else Harvest(source)

    def harvests(self) -> list[Harvest]:
        """Every harvest that has published anything."""
        return [Harvest(*row) for row in self._connection.read(f"SELECT {_HARVEST} FROM harvests ORDER BY source")]

    def save_harvest(self, harvest: Harvest) -> None:
        """Store the progress of a harvest, replacing the earlier one of its source."""
        self._connection.write("DELETE FROM harvests WHERE source = ?", [harvest.source])
        values = [getattr(harvest, name.strip()) for name in _HARVEST.split(",")]
        self._connection.write(f"INSERT INTO harvests ({_HARVEST}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)

    def pending(self, source: str) -> list[Pending]:
        """Records that the next harvest of this source has to ask for again."""
        rows = self._connection.read(
            "SELECT paper_id, first, last FROM pending WHERE source = ? ORDER BY paper_id, first", [source]
        )
        return [Pending(*row) for row in rows]

    def keep_pending(self, source: str, pending: Sequence[Pending]) -> None:
        """Put these in place of the pending records of this source."""
        self._connection.write("DELETE FROM pending WHERE source = ?", [source])
        self._connection.write_many(
            "INSERT INTO pending VALUES (?, ?, ?, ?)", [(source, item.paper_id, item.first, item.last) for item in pending]
        )

    def skipped(self, run: int, limit: int = 50) -> list[Skipped]:
        """The first records that a run skipped, with reasons."""
        rows = self._connection.read("SELECT source, line, reason FROM skipped WHERE run = ? LIMIT ?", [run, limit])
        return [Skipped(*row) for row in rows]

    def quiet_days(self, category: str) -> set[date]:
        """Days confirmed by arXiv to have no papers of a category."""
        return {day for (day,) in self._connection.read("SELECT day FROM quiet_days WHERE category = ?", [category])}

    def confirm_quiet(self, category: str, days: Iterable[date]) -> None:
        """Record days that arXiv confirmed to have no papers of a category."""
        new = sorted(set(days) - self.quiet_days(category))
        self._connection.write_many("INSERT INTO quiet_days VALUES (?, ?)", [(category, day) for day in new])


def _stamp_rows(stamps: Iterable[tuple[str, date]]) -> pa.Table:
    return pa.Table.from_pylist([{"paper_id": p, "datestamp": d} for p, d in stamps], schema=_STAMPS)
