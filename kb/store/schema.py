"""The catalogue's schema: numbered migrations, applied in order, each once."""

from __future__ import annotations

from functools import cache
from importlib import resources

import duckdb

from kb.errors import NewerError


@cache
def _migrations() -> list[tuple[int, str]]:
    folder = resources.files("kb.store").joinpath("migrations")
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)
    return [(int(f.name.removesuffix(".sql")), f.read_text(encoding="utf-8")) for f in files]


def newest_schema() -> int:
    """Number of the last migration that this program knows."""
    return _migrations()[-1][0]


def schema_of(connection: duckdb.DuckDBPyConnection) -> int:
    """Number of the last migration applied to this file; 0 for a new one."""
    exists = connection.execute("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'migrations'").fetchall()
    if not exists[0][0]:
        return 0
    # Fetched to the end: a connection with a result left open takes no other work.
    rows = connection.execute("SELECT max(number) FROM migrations").fetchall()
    return int(rows[0][0]) if rows[0][0] is not None else 0


def migrate(connection: duckdb.DuckDBPyConnection) -> None:
    """Brings a file to the newest schema; raises NewerError for one that is newer than this program."""
    present = schema_of(connection)
    if present > newest_schema():
        raise NewerError(
            f"This knowledge base was written by a newer version (schema {present}, this program knows "
            f"{newest_schema()}). Upgrade: `pip install --upgrade paper-kb`."
        )
    for number, sql in _migrations():
        if number > present:
            connection.execute("BEGIN")
            connection.execute("CREATE TABLE IF NOT EXISTS migrations (number INTEGER NOT NULL)")
            connection.execute(sql)
            connection.execute("INSERT INTO migrations VALUES (?)", [number])
            connection.execute("COMMIT")
