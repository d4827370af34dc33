"""What is wrong with a catalogue: with SQLite's file, with what belongs together, and with single items."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmsearch.index.addresses import ITEM_COLUMNS, ITEM_TABLES, item_of
from mmsearch.index.contents import UNEMBEDDED_DIGEST
from mmsearch.index.items import VIEWS
from mmsearch.index.rows import AMONG, listed, unpack

# The key under which the library notes how many dimensions its model's vectors have.
DIM_KEY = "dim"

# Rounding to float16 moves the length of a unit vector by less than this.
_LENGTH_TOLERANCE = 2e-3


def faults(connection: sqlite3.Connection) -> list[str]:
    """What SQLite finds wrong with its own file."""
    found = connection.execute("PRAGMA integrity_check").fetchall()
    return [fault for (fault,) in found if fault != "ok"]


def orphans(connection: sqlite3.Connection) -> list[tuple[str, int, str]]:
    """(table, id, missing parent's table) of every entry whose parent is gone."""
    found = connection.execute("PRAGMA foreign_key_check").fetchall()
    return [(child, id_, parent) for child, id_, parent, _ in found]


def damaged_items(connection: sqlite3.Connection) -> list[tuple[int, Path, str]]:
    """(item id, path, reason) of every item that must be read again, a reason for each."""
    damaged = {**_without_picture(connection), **_with_bad_row(connection)}
    query = f"SELECT {ITEM_COLUMNS} FROM {ITEM_TABLES} WHERE items.id {AMONG}"
    items = map(item_of, connection.execute(query, (listed(damaged),)).fetchall())
    return sorted((item.id, item.path, damaged[item.id]) for item in items)


def _without_picture(connection: sqlite3.Connection) -> dict[int, str]:
    query = (
        "SELECT id FROM items WHERE kind = 'image' AND digest <> ? "
        "AND NOT EXISTS (SELECT 1 FROM rows WHERE rows.item_id = items.id AND rows.view = 'image')"
    )
    found = connection.execute(query, (UNEMBEDDED_DIGEST,)).fetchall()
    return {id_: "the photo has no vector" for (id_,) in found}


def _with_bad_row(connection: sqlite3.Connection) -> dict[int, str]:
    dim = _dim(connection)
    # One after the other: all vectors of a library need not fit into memory.
    found = connection.execute("SELECT id, item_id, view, vector FROM rows")
    return {
        item_id: f"row {id_} {fault}"
        for id_, item_id, view, vector in found
        if (fault := _fault_of_row(view, unpack(vector), dim))
    }


def _fault_of_row(view: str, vector: NDArray[np.float16], dim: int) -> str | None:
    if view not in VIEWS:
        return f"is of an unknown view, {view}"
    if len(vector) != dim:
        return f"has {len(vector)} dimensions instead of {dim}"
    length = float(np.linalg.norm(vector.astype(np.float32)))
    # Written so that NaN fails it.
    if not abs(length - 1) < _LENGTH_TOLERANCE:
        return f"has a vector of length {length:.3g} instead of 1"
    return None


def _dim(connection: sqlite3.Connection) -> int:
    """The number of dimensions that the library says it has, else that most of its vectors have."""
    stated = connection.execute("SELECT value FROM meta WHERE key = ?", (DIM_KEY,)).fetchall()
    if stated:
        return int(stated[0][0])
    query = "SELECT length(vector) FROM rows GROUP BY 1 ORDER BY count(*) DESC LIMIT 1"
    usual = connection.execute(query).fetchall()
    return usual[0][0] // 2 if usual else 0
