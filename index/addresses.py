"""Where the files of a catalogue are: its roots, and the items at and below a path."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmsearch.index.items import Item, Root
from mmsearch.index.sqlite_file import SqliteFile

# The columns that item_of takes, and the tables that they come from.
ITEM_COLUMNS = (
    "items.id, roots.path, items.path, items.kind, items.size_bytes, items.mtime_ns, items.digest, items.taken_at, "
    "items.metadata"
)
ITEM_TABLES = "items JOIN roots ON roots.id = items.root_id"


class Addresses(SqliteFile):
    """The part of the catalogue that knows paths."""

    def roots(self) -> list[Root]:
        """All roots, by path."""
        with self._reading() as connection:
            return read_roots(connection)

    def item_at(self, path: Path) -> Item | None:
        """The item of the file at an absolute path."""
        found = self.items_under(path)
        return found[0] if found and found[0].path == path else None

    def items_under(self, path: Path) -> list[Item]:
        """The items at and below an absolute path, by path."""
        with self._reading() as connection:
            items = [item for root in read_roots(connection) for item in _items_below(connection, root, path)]
        return sorted(items, key=lambda item: item.path)


def read_roots(connection: sqlite3.Connection) -> list[Root]:
    """All roots, by path, as a transaction sees them."""
    found = connection.execute("SELECT id, path FROM roots ORDER BY path").fetchall()
    return [Root(id_, Path(read_path(path))) for id_, path in found]


def item_of(columns: Sequence[Any]) -> Item:
    """The item of ITEM_COLUMNS."""
    id_, root, path, kind, size_bytes, mtime_ns, digest, taken_at, metadata = columns
    file = Path(read_path(root), read_path(path))
    return Item(id_, file, kind, size_bytes, mtime_ns, digest, taken_at, json.loads(metadata))


def stored_path(path: str) -> str | bytes:
    """What is stored of a path: its bytes where it is not UTF-8, so that it comes back as the same Python string."""
    return os.fsencode(path) if any("\ud800" <= character <= "\udfff" for character in path) else path


def read_path(stored: str | bytes) -> str:
    """The path that was stored."""
    return os.fsdecode(stored) if isinstance(stored, bytes) else stored


def _items_below(connection: sqlite3.Connection, root: Root, path: Path) -> list[Item]:
    query = f"SELECT {ITEM_COLUMNS} FROM {ITEM_TABLES} WHERE items.root_id = ?"
    if root.path.is_relative_to(path):
        found = connection.execute(query, (root.id,))
    elif path.is_relative_to(root.path):
        relative = path.relative_to(root.path).as_posix()
        # "0" is the character after "/": what is between the two is what starts with "relative/".
        bounds = [f"{relative}/", f"{relative}0"]
        as_bytes = [os.fsencode(each) for each in bounds]  # of names that are not UTF-8, in any folder
        within = "items.path > ? AND items.path < ?"
        found = connection.execute(
            f"{query} AND (items.path = ? OR {within} OR {within})",
            (root.id, stored_path(relative), *map(stored_path, bounds), *as_bytes),
        )
    else:
        return []
    return [item_of(columns) for columns in found.fetchall()]
