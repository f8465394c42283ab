"""Integrity checks of a catalogue: every row is readable, and references lead to rows that exist."""

from __future__ import annotations

import duckdb

from kb.store.catalogue import Catalogue

# Problems, each counted by its statement. Code of a paper that is gone is harmless; a note never is.
_CHECKS = (
    ("papers have a key that another has", "SELECT count(*) - count(DISTINCT key) FROM papers"),
    ("papers have an id that another has", "SELECT count(*) - count(DISTINCT id) FROM papers"),
    ("papers are not found by their title", "SELECT count(*) FROM papers WHERE title_key <> title_key(title)"),
    ("notes are on a paper that is gone", "SELECT count(*) FROM notes ANTI JOIN papers ON papers.id = notes.paper_id"),
    ("other names lead to a paper that is gone", "SELECT count(*) FROM aliases ANTI JOIN papers ON papers.id = aliases.paper_id"),
)


def catalogue_problems(catalogue: Catalogue) -> list[str]:
    """Problems of a catalogue, in a sentence each; reads every row of every table."""
    found: list[str] = []
    for (table,) in catalogue.connection.read("SELECT table_name FROM duckdb_tables() WHERE NOT temporary ORDER BY table_name"):
        try:
            catalogue.connection.read(f'SELECT bit_xor(hash(t)) FROM "{table}" AS t')
        except duckdb.Error as error:
            found.append(f"the table {table} cannot be read: {str(error).splitlines()[0]}")
    if found:
        return found
    counted = ((int(catalogue.connection.read(sql)[0][0]), what) for what, sql in _CHECKS)
    return [f"{number:,} {what}" for number, what in counted if number]
