"""The versions of the catalogue's schema: which one a file has, and the steps from an older one to the present."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from mmsearch.index import words_schema
from mmsearch.index.errors import LibraryDamaged

VERSION_KEY = "schema_version"

# MIGRATIONS[i] holds the statements that lift version i + 1 to version i + 2. A new catalogue is made from
# the tables below, in the present version; an old one goes through every step that it lacks.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE judgements (id INTEGER NOT NULL, root_id INTEGER NOT NULL, path TEXT NOT NULL, "
        "query TEXT NOT NULL, is_good BOOLEAN NOT NULL, judged_at TEXT NOT NULL, PRIMARY KEY (id), "
        "UNIQUE (root_id, path, query), FOREIGN KEY(root_id) REFERENCES roots (id) ON DELETE CASCADE)",
    ),
    (
        "ALTER TABLE rows ADD COLUMN hubness FLOAT",
        "CREATE INDEX rows_unmeasured ON rows (id) WHERE hubness IS NULL",
        *words_schema.STATEMENTS,
    ),
)


def known_version() -> int:
    """The schema version that this code writes."""
    return 1 + len(MIGRATIONS)


def stored_version(connection: sqlite3.Connection, path: Path) -> int | None:
    """The schema version of the catalogue, None if it is empty; LibraryDamaged if it is something else."""
    names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    if not names:
        return None
    if ("meta",) not in names:
        raise LibraryDamaged(path=path, detail="it is a database of something else")
    found = connection.execute("SELECT value FROM meta WHERE key = ?", (VERSION_KEY,)).fetchall()
    if not found or not found[0][0].isdigit():
        raise LibraryDamaged(path=path, detail="it does not say its schema version")
    return int(found[0][0])
