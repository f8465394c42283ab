"""The catalogue's schema: numbered migrations, applied in order, each once."""

from __future__ import annotations

from functools import cache
from importlib import resources

from kb.errors import NewerError
from kb.store.connection import Connection


@cache
def _migrations() -> list[tuple[int, str]]:
    folder = resources.files("kb.store").joinpath("migrations")
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)
    return [(int(f.name.removesuffix(".sql")), f.read_text(encoding="utf-8")) for f in files]


def newest_schema() -> int:
    """Number of the last migration that this program knows."""
    return _migrations()[-1][0]


def schema_of(connection: Connection) -> int:
    """Number of the last migration applied to this file; 0 for a new one."""
    exists = connection.read("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'migrations'")
    if not exists[0][0]:
        return 0
    rows = connection.read("SELECT max(number) FROM migrations")
    return int(rows[0][0]) if rows[0][0] is not None else 0


def migrate(connection: Connection) -> None:
    """Apply the missing migrations, each in a transaction. Raises NewerError if the file is newer than this program."""
    present = schema_of(connection)
    if present > newest_schema():
        raise NewerError(
            f"This knowledge base was written by a newer version (schema {present}, this program knows "
            f"{newest_schema()}). Upgrade: `pip install --upgrade paper-kb`."
        )
    for number, sql in _migrations():
        if number > present:
            connection.write("BEGIN")
            connection.write("CREATE TABLE IF NOT EXISTS migrations (number INTEGER NOT NULL)")
            connection.write(sql)
            connection.write("INSERT INTO migrations VALUES (?)", [number])
            connection.write("COMMIT")
