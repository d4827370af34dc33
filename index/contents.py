"""What the catalogue holds of each file: its item with rows, or why it was passed over."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, fields
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Executable,
    Table,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)

from mmsearch.index import schema
from mmsearch.index.items import NewFailure, NewItem, NewRow
from mmsearch.index.roots import Roots
from mmsearch.index.rows import listed

# What an item is marked with when its vectors are to be made again: no file looks like that.
UNEMBEDDED_DIGEST = ""
_UNEMBEDDED_MTIME_NS = -1

_ITEM_COLUMNS = [each.name for each in fields(NewItem) if each.name != "rows"]
_ROW_COLUMNS = [each.name for each in fields(NewRow)]


class Contents(Roots):
    """The part of the catalogue that holds items. Relative paths have forward slashes."""

    def record(self, items: Sequence[NewItem], failures: Sequence[NewFailure] = ()) -> None:
        """Store items with their rows, and failures, in place of what their paths held; all or nothing."""
        replaced: list[NewItem | NewFailure] = [*items, *failures]
        addresses = [{"at_root": each.root_id, "at_path": each.path} for each in replaced]
        with self._writing() as connection:
            for table in (schema.items, schema.failures):
                _run(connection, delete(table).where(*_at(table)), addresses)
            ids = _stored(connection, items)
            rows = [_row_values(id_, row) for id_, item in zip(ids, items, strict=True) for row in item.rows]
            _run(connection, insert(schema.rows), rows)
            now = datetime.now(UTC).isoformat(timespec="seconds")
            failed = [asdict(failure) | {"failed_at": now} for failure in failures]
            _run(connection, insert(schema.failures), failed)

    def touch(self, stats: Sequence[tuple[int, int, int]]) -> None:
        """Note the new (item id, size_bytes, mtime_ns) of files whose content is the same."""
        with self._writing() as connection:
            _run(
                connection,
                update(schema.items)
                .where(schema.items.c.id == bindparam("item"))
                .values(size_bytes=bindparam("size"), mtime_ns=bindparam("mtime")),
                [{"item": item, "size": size, "mtime": mtime} for item, size, mtime in stats],
            )

    def forget(self, item_ids: Collection[int]) -> None:
        """Remove items with their rows; ids that are not stored are passed over."""
        with self._writing() as connection:
            connection.execute(delete(schema.items).where(among(schema.items.c.id, item_ids)))

    def unembed(self) -> None:
        """Remove every row and mark every item as unread, so that the next run embeds all files again."""
        with self._writing() as connection:
            connection.execute(delete(schema.rows))
            connection.execute(update(schema.items).values(digest=UNEMBEDDED_DIGEST, mtime_ns=_UNEMBEDDED_MTIME_NS))


def among(column: ColumnElement[Any], values: Collection[int] | Collection[str]) -> ColumnElement[bool]:
    """Whether a column is one of many values, of any number: they travel as one parameter."""
    each = func.json_each(listed(values)).table_valued("value")
    return column.in_(select(each.c.value))


def _at(table: Table) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return table.c.root_id == bindparam("at_root"), table.c.path == bindparam("at_path")


def _run(connection: Connection, statement: Executable, values: Sequence[Mapping[str, Any]]) -> None:
    """Run a statement once for each of values; not at all for none, where SQLAlchemy would run it bare."""
    if values:
        connection.execute(statement, values)


def _stored(connection: Connection, items: Sequence[NewItem]) -> Sequence[int]:
    """Store items without their rows, in one statement; the ids that they got."""
    made = insert(schema.items).returning(schema.items.c.id, sort_by_parameter_order=True)
    return connection.scalars(made, [_item_values(item) for item in items]).all() if items else []


def _item_values(item: NewItem) -> dict[str, Any]:
    return {name: getattr(item, name) for name in _ITEM_COLUMNS} | {"metadata": dict(item.metadata)}


def _row_values(item_id: int, row: NewRow) -> dict[str, Any]:
    values = {name: getattr(row, name) for name in _ROW_COLUMNS}
    return values | {"item_id": item_id, "vector": row.vector.astype("<f2").tobytes()}
