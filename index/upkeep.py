"""Counting, checking, mending and compacting the catalogue."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, delete, exists, func, insert, select, table, text

from mmsearch.index import schema, words
from mmsearch.index.contents import UNEMBEDDED_DIGEST, Contents, among, item_of, select_items
from mmsearch.index.errors import LibraryDamaged
from mmsearch.index.items import VIEWS, Counts
from mmsearch.index.rows import GRAVES_FLOOR_KEY, Rows, unpack
from mmsearch.index.words_schema import REMAIN_KEY

# Rounding to float16 moves the length of a unit vector by less than this.
_LENGTH_TOLERANCE = 2e-3

_CHUNK = 10_000

# The key under which the library notes how many dimensions its model's vectors have.
DIM_KEY = "dim"


class Upkeep(Contents, Rows):
    """The part of the catalogue that looks after it."""

    def counts(self) -> Counts:
        """How much is stored."""
        items, rows = schema.items, schema.rows
        with self._reading() as connection:
            kinds = connection.execute(select(items.c.kind, func.count()).group_by(items.c.kind))
            views = connection.execute(select(rows.c.view, func.count()).group_by(rows.c.view))
            failures = connection.scalar(select(func.count()).select_from(schema.failures))
            silent = connection.scalar(select(func.count()).select_from(items).where(_is_uncaptioned()))
            return Counts(
                items={kind: count for kind, count in kinds},  # noqa: C416  # dict() does not type-check
                rows={view: count for view, count in views},  # noqa: C416
                failures=failures or 0,
                uncaptioned=silent or 0,
            )

    def uncaptioned(self) -> list[Path]:
        """The clips that have no caption, and so no row by which a query could find them."""
        query = select(schema.roots.c.path, schema.items.c.path).join_from(schema.items, schema.roots)
        with self._reading() as connection:
            found = connection.execute(query.where(_is_uncaptioned()))
            return sorted(Path(root, path) for root, path in found)

    def problems(self) -> list[str]:
        """What is wrong with the catalogue, a sentence each; empty when all is well."""
        try:
            with self._reading() as connection:
                return [
                    *(f"the catalogue is damaged: {fault}" for fault in _faults(connection)),
                    *words.faults(connection),
                    *(f"{child} {id_} has lost its {parent}" for child, id_, parent in _orphans(connection)),
                    *(f"{path}: {reason}" for _, path, reason in _damaged_items(connection)),
                ]
        except LibraryDamaged as error:
            return [str(error)]

    def mend(self) -> list[str]:
        """Mend what `problems` finds and say how. Damaged items go, to be read again by the next run."""
        done = []
        with self._writing() as connection:
            if _faults(connection):
                connection.exec_driver_sql("REINDEX")
                done.append("the lookup tables of the catalogue were rebuilt")
            for child, id_, parent in _orphans(connection):
                connection.execute(delete(table(child)).where(text("rowid = :id")), {"id": id_})
                done.append(f"{child} {id_}, which had lost its {parent}, was removed")
            if words.faults(connection):
                words.refill(connection)
                done.append("the index of words was made anew")
            for item_id, path, reason in _damaged_items(connection):
                connection.execute(delete(schema.items).where(schema.items.c.id == item_id))
                done.append(f"{path} was removed, to be read again by the next `mmsearch index`: {reason}")
        return done

    def compact(self) -> None:
        """Take what was removed off the disk. Call it when the indexes are saved: they rely on the graves.

        Where another process reads for long, the graves stay, and so does what the next call has to do.
        """
        if self._has_remains():
            with self._writing() as connection:
                words.merge(connection)
                connection.execute(delete(schema.meta).where(schema.meta.c.key == REMAIN_KEY))
            # secure_delete wipes what is deleted, but not the copies that rearranged pages leave behind.
            self._alone("VACUUM")
        # (whether something stood in the way, pages in the log, pages moved)
        is_blocked, *_ = self._alone("PRAGMA wal_checkpoint(TRUNCATE)")
        if is_blocked:
            return
        with self._writing() as connection:
            last = connection.scalar(select(func.max(schema.graves.c.seq)))
            if last is not None:
                connection.execute(
                    insert(schema.meta).prefix_with("OR REPLACE"),
                    {"key": GRAVES_FLOOR_KEY, "value": str(last)},
                )
                connection.execute(delete(schema.graves).where(schema.graves.c.seq <= last))

    def _has_remains(self) -> bool:
        # Every removed row left a grave, and graves go last; a removed item without rows left a note.
        noted = exists().where(schema.meta.c.key == REMAIN_KEY)
        with self._reading() as connection:
            return bool(connection.scalar(select(exists().select_from(schema.graves) | noted)))


def _is_uncaptioned() -> ColumnElement[bool]:
    items = schema.items.c
    return (items.kind == "audio") & ~exists().where(schema.rows.c.item_id == items.id)


def _faults(connection: Connection) -> list[str]:
    """What SQLite finds wrong with its own file."""
    found = connection.exec_driver_sql("PRAGMA integrity_check").scalars()
    return [fault for fault in found if fault != "ok"]


def _orphans(connection: Connection) -> list[tuple[str, int, str]]:
    """(table, id, missing parent's table) of every entry whose parent is gone."""
    found = connection.exec_driver_sql("PRAGMA foreign_key_check")
    return [(child, id_, parent) for child, id_, parent, _ in found]


def _damaged_items(connection: Connection) -> list[tuple[int, Path, str]]:
    """(item id, path, reason) of every item that must be read again, a reason for each."""
    damaged = {**_without_picture(connection), **_with_bad_row(connection)}
    query = select_items().where(among(schema.items.c.id, damaged))
    items = map(item_of, connection.execute(query).mappings())
    return sorted((item.id, item.path, damaged[item.id]) for item in items)


def _without_picture(connection: Connection) -> dict[int, str]:
    items, rows = schema.items.c, schema.rows.c
    found = connection.scalars(
        select(items.id).where(
            items.kind == "image",
            items.digest != UNEMBEDDED_DIGEST,
            ~exists().where(rows.item_id == items.id, rows.view == "image"),
        )
    )
    return dict.fromkeys(found, "the photo has no vector")


def _with_bad_row(connection: Connection) -> dict[int, str]:
    rows = schema.rows.c
    dim = _dim(connection)
    found = connection.execute(
        select(rows.id, rows.item_id, rows.view, rows.vector).execution_options(yield_per=_CHUNK)
    )
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


def _dim(connection: Connection) -> int:
    """The number of dimensions that the library says it has, else that most of its vectors have."""
    stated = connection.scalar(select(schema.meta.c.value).where(schema.meta.c.key == DIM_KEY))
    if stated is not None:
        return int(stated)
    length_bytes = func.length(schema.rows.c.vector)
    usual = connection.scalar(select(length_bytes).group_by(length_bytes).order_by(func.count().desc()))
    return (usual or 0) // 2
