"""An open DuckDB file: the connection that every class of the store shares."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kb.errors import StoreError

Row = tuple[Any, ...]


class Connection:
    """One open file. Reading is safe from many threads; writing is for one."""

    def __init__(self, path: Path, *, read_only: bool) -> None:
        """Open the file; unless `read_only`, it is created if missing. Raises StoreError if it cannot be opened."""
        # An import must leave room for the rest of a laptop; DuckDB's own default is most of the memory.
        config: dict[str, str | bool | int | float | list[str]] = {"memory_limit": "1GB", "preserve_insertion_order": "false"}
        if not read_only:
            config["temp_directory"] = str(path.parent / "spill")
        try:
            self._connection = duckdb.connect(str(path), read_only=read_only, config=config)
            # DuckDB draws one on stdout where it takes the session for an interactive one, in the middle of a `--json`.
            self._connection.execute("SET enable_progress_bar = false")
        except duckdb.Error as error:
            raise StoreError(
                f"{path} cannot be opened ({str(error).splitlines()[0]}). If it is damaged, restore the folder from a "
                "backup, or move it away and ingest your sources again."
            ) from error

    # Reading: a cursor a query, since DuckDB's connections are not to be shared between threads, cursors of one are. -------

    def read(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """All rows of a query."""
        with self._connection.cursor() as cursor:
            return cursor.execute(sql, list(parameters)).fetchall()

    def read_in_parts(self, sql: str, parameters: Sequence[Any], size: int) -> Iterator[list[Row]]:
        """The rows of a query, at most `size` at a time."""
        with self._connection.cursor() as cursor:
            result = cursor.execute(sql, list(parameters))
            while rows := result.fetchmany(size):
                yield rows

    def read_columns(self, sql: str, parameters: Sequence[Any] = ()) -> dict[str, NDArray[Any]]:
        """The columns of a query by name, each of shape (rows,)."""
        with self._connection.cursor() as cursor:
            columns = cursor.execute(sql, list(parameters)).fetchnumpy()
        return {name: np.asarray(column) for name, column in columns.items()}

    def read_arrow(self, sql: str) -> pa.Table:
        """The result of a query as an Arrow table."""
        with self._connection.cursor() as cursor:
            return cursor.sql(sql).to_arrow_table()

    # Writing -------------------------------------------------------------------------------------------------------------

    def write(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Run statements on the connection itself, which sees its temporary tables; returns the rows of the last one."""
        # Fetched to the end: a connection with a result left open takes no other work.
        return self._connection.execute(sql, list(parameters)).fetchall()

    def write_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run a statement once a row of parameters."""
        if rows:
            self._connection.executemany(sql, [list(row) for row in rows]).fetchall()

    def count(self, table: str) -> int:
        """The number of rows of a table, temporary ones included."""
        return int(self.write(f"SELECT count(*) FROM {table}")[0][0])

    @contextmanager
    def registered(self, name: str, rows: pa.Table) -> Iterator[None]:
        """Let statements read an Arrow table under a name while the block runs."""
        self._connection.register(name, rows)
        try:
            yield
        finally:
            self._connection.unregister(name)

    def interrupt(self) -> None:
        """Stop the statement that another thread runs: it raises there."""
        self._connection.interrupt()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()
