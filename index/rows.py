"""The rows of the catalogue: the vectors that indexes are made of, and what an answer says of a row."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import translate
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Select, func, literal_column, select

from mmsearch.index import schema
from mmsearch.index.contents import among, item_of, select_items
from mmsearch.index.database import Database
from mmsearch.index.errors import LibraryDamaged
from mmsearch.index.items import VIEWS, ItemFilter, StoredRow, View
from mmsearch.index.vectors import PADDING_ID

GRAVES_FLOOR_KEY = "graves_floor"


@dataclass(frozen=True, slots=True)
class RowFacts:
    """What is known of N rows.

    owners:     (N,) int64 item ids, -1 where the row is not stored.
    views:      (N,) int64 place of the row's view in VIEWS.
    hubness:    (N,) float32, NaN where it is not measured yet.
    characters: (N,) int64 length of the row's text.
    """

    owners: NDArray[np.int64]
    views: NDArray[np.int64]
    hubness: NDArray[np.float32]
    characters: NDArray[np.int64]


# The facts of a row that is not stored.
_GONE = (PADDING_ID, VIEWS[0], None, 0)


class GravesGone(LookupError):
    """Removals that a store has not seen are no longer on record; it must be made anew."""


class Rows(Database):
    """The part of the catalogue that holds rows."""

    def vectors(self, keys: Collection[str]) -> dict[str, NDArray[np.float16]]:
        """The vector (D,) of each content key that is stored."""
        columns = schema.rows.c
        with self._reading() as connection:
            # The bare column beside max() is that of the row with the greatest id: SQLite documents it.
            found = connection.execute(
                select(columns.content_key, columns.vector, func.max(columns.id))
                .where(among(columns.content_key, keys))
                .group_by(columns.content_key)
            )
            return {key: unpack(blob) for key, blob, _ in found}

    def rows_after(self, view: View, row_id: int, limit: int) -> tuple[NDArray[np.int64], NDArray[np.float16]]:
        """Ids (N,), ascending, and vectors (N, D) of the first `limit` rows of a view beyond row_id.

        D is 0 where N is. LibraryDamaged where the vectors are not of one length.
        """
        columns = schema.rows.c
        with self._reading() as connection:
            found = connection.execute(
                select(columns.id, columns.vector)
                .where(columns.view == view, columns.id > row_id)
                .order_by(columns.id)
                .limit(limit)
            ).all()
        blobs = [blob for _, blob in found]
        if len({len(blob) for blob in blobs}) > 1:
            raise LibraryDamaged(path=self.path, detail="it holds vectors of different lengths")
        ids = np.array([id_ for id_, _ in found], np.int64)
        return ids, unpack(b"".join(blobs)).reshape(len(ids), -1 if blobs else 0)

    def graves_after(self, view: View, seq: int) -> tuple[NDArray[np.int64], int]:
        """Ids of the rows of a view removed after the removal numbered seq, and the last number given.

        Numbers are counted over all views. GravesGone where removals after seq are no longer on record.
        """
        graves = schema.graves.c
        with self._reading() as connection:
            if seq < _graves_floor(connection):
                raise GravesGone
            buried = connection.scalars(select(graves.row_id).where(graves.seq > seq, graves.view == view)).all()
            return np.array(buried, np.int64), _last_number(connection, schema.graves.name)

    def graves_floor(self) -> int:
        """The number up to which removals are no longer on record."""
        with self._reading() as connection:
            return _graves_floor(connection)

    def version(self) -> int:
        """A number that grows whenever rows come or go, so that indexes know when to catch up."""
        # Every new row and every removal takes a number, and numbers are never given twice.
        with self._reading() as connection:
            return _last_number(connection, schema.rows.name, schema.graves.name)

    def describe(self, row_ids: Collection[int]) -> dict[int, StoredRow]:
        """What is stored beside the vectors of rows; ids that are not stored are left out."""
        query = _select_rows().where(among(schema.rows.c.id, row_ids))
        with self._reading() as connection:
            found = connection.execute(query).mappings()
            return {row["row_id"]: _stored_row(row) for row in found}

    def rows_of(self, item_id: int) -> list[tuple[StoredRow, NDArray[np.float16]]]:
        """The rows of an item with their vectors (D,), by id."""
        query = _select_rows().add_columns(schema.rows.c.vector).where(schema.rows.c.item_id == item_id)
        with self._reading() as connection:
            found = connection.execute(query.order_by(schema.rows.c.id)).mappings()
            return [(_stored_row(row), unpack(row["vector"])) for row in found]

    def facts(self, row_ids: NDArray[np.int64]) -> RowFacts:
        """What candidates need to know of rows, in the order of row_ids (N,)."""
        columns = schema.rows.c
        wanted = select(columns.id, columns.item_id, columns.view, columns.hubness, func.length(columns.text))
        with self._reading() as connection:
            found = connection.execute(wanted.where(among(columns.id, row_ids.tolist())))
            known = {id_: fact for id_, *fact in found}
        facts = [known.get(id_, _GONE) for id_ in row_ids.tolist()]
        return RowFacts(
            owners=np.array([owner for owner, *_ in facts], np.int64),
            views=np.array([VIEWS.index(view) for _, view, *_ in facts], np.int64),
            hubness=np.array([np.nan if value is None else value for *_, value, _ in facts], np.float32),
            characters=np.array([characters for *_, characters in facts], np.int64),
        )

    def rows_of_items(self, item_ids: NDArray[np.int64], view: View) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Ids (N,), ascending, of the rows that items have in a view, and the item ids (N,) that own them."""
        columns = schema.rows.c
        wanted = select(columns.id, columns.item_id).where(among(columns.item_id, item_ids.tolist()))
        # "+": left to itself SQLite goes through all rows of the view, whose ids are in order already.
        of_view = literal_column("+rows.view") == view
        with self._reading() as connection:
            found = connection.execute(wanted.where(of_view).order_by(columns.id)).all()
        both = np.array([tuple(pair) for pair in found], np.int64).reshape(-1, 2)
        return both[:, 0], both[:, 1]

    def select(self, view: View, items: ItemFilter) -> NDArray[np.int64]:
        """Ids (N,), ascending, of the rows of a view whose items pass a filter."""
        query = select(schema.rows.c.id).where(schema.rows.c.view == view).order_by(schema.rows.c.id)
        with self._reading() as connection:
            if not items.is_open:
                query = query.where(among(schema.rows.c.item_id, _matching_items(connection, items)))
            return np.array(connection.scalars(query).all(), np.int64)

    def select_items(self, items: ItemFilter) -> NDArray[np.int64]:
        """Ids (N,), ascending, of the items that pass a filter."""
        with self._reading() as connection:
            return np.array(sorted(_matching_items(connection, items)), np.int64)


def unpack(blob: bytes) -> NDArray[np.float16]:
    """The values (D,) of a stored vector."""
    return np.frombuffer(blob, "<f2")


def _graves_floor(connection: Connection) -> int:
    floor = connection.scalar(select(schema.meta.c.value).where(schema.meta.c.key == GRAVES_FLOOR_KEY))
    return int(floor or 0)


def _last_number(connection: Connection, *tables: str) -> int:
    """The sum of the last numbers that AUTOINCREMENT has given in tables."""
    listed = ", ".join(f"'{table}'" for table in tables)
    counted = connection.exec_driver_sql(f"SELECT sum(seq) FROM sqlite_sequence WHERE name IN ({listed})")
    return counted.scalar() or 0


def _select_rows() -> Select[Any]:
    columns = schema.rows.c
    return (
        select_items()
        .join(schema.rows, columns.item_id == schema.items.c.id)
        .add_columns(
            columns.id.label("row_id"),
            columns.view,
            columns.text,
            columns.start_s,
            columns.end_s,
            columns.char_start,
            columns.char_end,
        )
    )


def _stored_row(row: Mapping[Any, Any]) -> StoredRow:
    return StoredRow(
        id=row["row_id"],
        view=row["view"],
        text=row["text"],
        start_s=row["start_s"],
        end_s=row["end_s"],
        char_start=row["char_start"],
        char_end=row["char_end"],
        item=item_of(row),
    )


def _matching_items(connection: Connection, wanted: ItemFilter) -> Sequence[int]:
    columns = schema.items.c
    query = select(columns.id, schema.roots.c.path, columns.path).join_from(schema.items, schema.roots)
    if wanted.kinds:
        query = query.where(columns.kind.in_(wanted.kinds))
    if wanted.after:
        query = query.where(columns.taken_at >= wanted.after)
    if wanted.before:
        query = query.where(columns.taken_at < wanted.before)
    found = connection.execute(query)
    if not wanted.path_glob:
        return [id_ for id_, _, _ in found]
    pattern = _pattern(wanted.path_glob)
    return [id_ for id_, root, path in found if pattern.match(f"{root.rstrip('/')}/{path}")]


def _pattern(glob: str) -> re.Pattern[str]:
    """Matches an absolute path that matches glob as a whole or from any slash on.

    >>> bool(_pattern("beach/*.jpg").match("/photos/beach/rex.jpg"))
    True
    >>> bool(_pattern("each/*.jpg").match("/photos/beach/rex.jpg"))
    False
    """
    return re.compile(f"(?s:.*/)?{translate(glob)}")
