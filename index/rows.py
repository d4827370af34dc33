"""The rows of the catalogue: the vectors that indexes are made of, and what an answer says of a row."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fnmatch import translate
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mmsearch.index.addresses import ITEM_COLUMNS, ITEM_TABLES, item_of, read_path
from mmsearch.index.ascending import find
from mmsearch.index.errors import LibraryDamaged
from mmsearch.index.items import VIEWS, ItemFilter, StoredRow, View
from mmsearch.index.vectors import PADDING_ID
from mmsearch.index.versions import Versioned

GRAVES_FLOOR_KEY = "graves_floor"
AMONG = "IN (SELECT value FROM json_each(?))"  # whether a column is one of the values that `listed` gives

_COLUMNS = f"rows.id, rows.view, rows.text, rows.start_s, rows.end_s, rows.char_start, rows.char_end, {ITEM_COLUMNS}"
_TABLES = f"{ITEM_TABLES} JOIN rows ON rows.item_id = items.id"


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

    @classmethod
    def of(cls, found: Sequence[Sequence[float | None]]) -> Self:
        """The facts of N rows: owner, view, hubness and characters of each, None where it is not measured."""
        owners, views, hubness, characters = np.array(found, np.float64).reshape(-1, 4).T
        return cls(
            owners.astype(np.int64), views.astype(np.int64), hubness.astype(np.float32), characters.astype(np.int64)
        )

    @classmethod
    def gone(cls) -> Self:
        """Those of one row that is not stored."""
        return cls.of([(PADDING_ID, 0, None, 0)])

    def followed_by(self, other: Self) -> Self:
        """The facts of these rows and then of others."""
        return type(self)(*(np.concatenate(pair) for pair in zip(self._columns, other._columns, strict=True)))

    def at(self, places: NDArray[np.int64]) -> Self:
        """The facts of the rows at places (M,)."""
        return type(self)(*(column[places] for column in self._columns))

    @property
    def _columns(self) -> tuple[NDArray[Any], ...]:
        return self.owners, self.views, self.hubness, self.characters


_PLACE_OF_VIEW = " ".join(f"WHEN '{view}' THEN {place}" for place, view in enumerate(VIEWS))
_SELECT_FACTS = f"SELECT id, item_id, CASE view {_PLACE_OF_VIEW} ELSE -1 END, hubness, length(text) FROM rows"
_FACTS = f"{_SELECT_FACTS} WHERE id {AMONG} ORDER BY id"
_FACTS_AFTER = f"{_SELECT_FACTS} WHERE id > ? ORDER BY id LIMIT ?"


class GravesGone(LookupError):
    """Removals that a store has not seen are no longer on record; it must be made anew."""


class Rows(Versioned):
    """The part of the catalogue that holds rows."""

    def vectors(self, keys: Collection[str]) -> dict[str, NDArray[np.float16]]:
        """The vector (D,) of each content key that is stored."""
        # The bare column beside max() is that of the row with the greatest id: SQLite documents it.
        query = f"SELECT content_key, vector, max(id) FROM rows WHERE content_key {AMONG} GROUP BY content_key"
        found = self._ask(query, (listed(keys),))
        return {key: unpack(blob) for key, blob, _ in found}

    def rows_after(self, view: View, row_id: int, limit: int) -> tuple[NDArray[np.int64], NDArray[np.float16]]:
        """Ids (N,), ascending, and vectors (N, D) of the first `limit` rows of a view beyond row_id.

        D is 0 where N is. LibraryDamaged where the vectors are not of one length.
        """
        query = "SELECT id, vector FROM rows WHERE view = ? AND id > ? ORDER BY id LIMIT ?"
        found = self._ask(query, (view, row_id, limit))
        blobs = [blob for _, blob in found]
        if len({len(blob) for blob in blobs}) > 1:
            raise LibraryDamaged(path=self.path, detail="it holds vectors of different lengths")
        ids = np.array([id_ for id_, _ in found], np.int64)
        return ids, unpack(b"".join(blobs)).reshape(len(ids), -1 if blobs else 0)

    def graves_after(self, view: View | None, seq: int) -> tuple[NDArray[np.int64], int]:
        """Ids of the rows of a view, of all if None, removed after the removal numbered seq; and the last number given.

        Numbers are counted over all views. GravesGone where removals after seq are no longer on record.
        """
        with self._reading() as connection:
            if seq < _graves_floor(connection):
                raise GravesGone
            query = "SELECT row_id FROM graves WHERE seq > ?1 AND (?2 IS NULL OR view = ?2)"
            buried = connection.execute(query, (seq, view)).fetchall()
            return _ids(buried), _last_grave(connection)

    def graves_floor(self) -> int:
        """The number up to which removals are no longer on record."""
        with self._reading() as connection:
            return _graves_floor(connection)

    def describe(self, row_ids: Collection[int]) -> dict[int, StoredRow]:
        """What is stored beside the vectors of rows; ids that are not stored are left out."""
        query = f"SELECT {_COLUMNS} FROM {_TABLES} WHERE rows.id {AMONG}"
        found = self._ask(query, (listed(row_ids),))
        return {id_: _stored_row(id_, *rest) for id_, *rest in found}

    def rows_of(self, item_id: int) -> list[tuple[StoredRow, NDArray[np.float16]]]:
        """The rows of an item with their vectors (D,), by id."""
        query = f"SELECT rows.vector, {_COLUMNS} FROM {_TABLES} WHERE rows.item_id = ? ORDER BY rows.id"
        found = self._ask(query, (item_id,))
        return [(_stored_row(*columns), unpack(vector)) for vector, *columns in found]

    def facts(self, row_ids: NDArray[np.int64]) -> RowFacts:
        """What candidates need to know of rows, in the order of row_ids (N,)."""
        found = self._ask(_FACTS, (listed(row_ids.tolist()),))
        ids = np.array([id_ for id_, *_ in found], np.int64)
        facts = RowFacts.of([each for _, *each in found]).followed_by(RowFacts.gone())
        stored, places = find(ids, row_ids)
        return facts.at(np.where(stored, places, -1))

    def facts_after(self, row_id: int, limit: int) -> tuple[NDArray[np.int64], RowFacts]:
        """Ids (N,), ascending, and facts of the first `limit` rows beyond row_id."""
        found = self._ask(_FACTS_AFTER, (row_id, limit))
        return np.array([id_ for id_, *_ in found], np.int64), RowFacts.of([each for _, *each in found])

    def rows_of_items(self, item_ids: NDArray[np.int64], view: View) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Ids (N,), ascending, of the rows that items have in a view, and the item ids (N,) that own them."""
        # "+": left to itself SQLite goes through all rows of the view, whose ids are in order already.
        query = f"SELECT id, item_id FROM rows WHERE item_id {AMONG} AND +view = ? ORDER BY id"
        found = self._ask(query, (listed(item_ids.tolist()), view))
        both = np.array(found, np.int64).reshape(-1, 2)
        return both[:, 0], both[:, 1]

    def select(self, view: View, items: ItemFilter) -> NDArray[np.int64]:
        """Ids (N,), ascending, of the rows of a view whose items pass a filter."""
        of_view = "SELECT id FROM rows WHERE view = ?"
        with self._reading() as connection:
            if items.is_open:
                return _ids(connection.execute(f"{of_view} ORDER BY id", (view,)).fetchall())
            wanted = listed(_matching_items(connection, items))
            return _ids(connection.execute(f"{of_view} AND item_id {AMONG} ORDER BY id", (view, wanted)).fetchall())

    def select_items(self, items: ItemFilter) -> NDArray[np.int64]:
        """Ids (N,), ascending, of the items that pass a filter."""
        with self._reading() as connection:
            return np.array(sorted(_matching_items(connection, items)), np.int64)


def unpack(blob: bytes) -> NDArray[np.float16]:
    """The values (D,) of a stored vector."""
    return np.frombuffer(blob, "<f2")


def listed(values: Collection[int] | Collection[str]) -> str:
    """Many values, of any number, as the one parameter of AMONG."""
    return json.dumps(list(values))


def _ids(found: Sequence[tuple[int]]) -> NDArray[np.int64]:
    return np.array([id_ for (id_,) in found], np.int64)


def _graves_floor(connection: sqlite3.Connection) -> int:
    found = connection.execute("SELECT value FROM meta WHERE key = ?", (GRAVES_FLOOR_KEY,)).fetchall()
    return int(found[0][0]) if found else 0


def _last_grave(connection: sqlite3.Connection) -> int:
    found = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'graves'").fetchall()
    return found[0][0] if found else 0


def _stored_row(
    id_: int,
    view: View,
    text: str,
    start_s: float | None,
    end_s: float | None,
    char_start: int | None,
    char_end: int | None,
    *item: Any,
) -> StoredRow:
    return StoredRow(id_, view, text, start_s, end_s, char_start, char_end, item_of(item))


def _matching_items(connection: sqlite3.Connection, wanted: ItemFilter) -> list[int]:
    conditions, values = ["1"], [str(kind) for kind in wanted.kinds]
    if wanted.kinds:
        conditions.append(f"kind IN ({', '.join('?' * len(wanted.kinds))})")
    for condition, bound in (("taken_at >= ?", wanted.after), ("taken_at < ?", wanted.before)):
        if bound:
            conditions.append(condition)
            values.append(bound)
    query = f"SELECT items.id, roots.path, items.path FROM {ITEM_TABLES} WHERE {' AND '.join(conditions)}"
    found = connection.execute(query, values).fetchall()
    if not wanted.path_glob:
        return [id_ for id_, _, _ in found]
    pattern = _pattern(wanted.path_glob)
    return [id_ for id_, root, path in found if pattern.match(f"{read_path(root).rstrip('/')}/{read_path(path)}")]


def _pattern(glob: str) -> re.Pattern[str]:
    """Matches an absolute path that matches glob as a whole or from any slash on.

    >>> bool(_pattern("beach/*.jpg").match("/photos/beach/rex.jpg"))
    True
    >>> bool(_pattern("each/*.jpg").match("/photos/beach/rex.jpg"))
    False
    """
    return re.compile(f"(?s:.*/)?{translate(glob)}")
