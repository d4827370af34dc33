"""The tables of the catalogue, and how a file comes to hold them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import (
    DDL,
    JSON,
    BigInteger,
    Boolean,
    Column,
    Connection,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    event,
    insert,
    text,
    update,
)
from sqlalchemy.types import TypeDecorator

from mmsearch.index import migrations, words_schema
from mmsearch.index.addresses import read_path, stored_path
from mmsearch.index.errors import SchemaTooNew


class PathText(TypeDecorator[str]):
    """A path, as mmsearch.index.addresses stores it."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> Any:
        """What is stored of a path."""
        return None if value is None else stored_path(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> str | None:
        """The path that was stored."""
        return None if value is None else read_path(value)


tables = MetaData()

meta = Table("meta", tables, Column("key", Text, primary_key=True), Column("value", Text, nullable=False))

roots = Table(
    "roots",
    tables,
    Column("id", Integer, primary_key=True),
    Column("path", PathText, nullable=False, unique=True),
    sqlite_autoincrement=True,
)


def _of_root() -> Column[int]:
    return Column("root_id", ForeignKey("roots.id", ondelete="CASCADE"), nullable=False)


items = Table(
    "items",
    tables,
    Column("id", Integer, primary_key=True),
    _of_root(),
    Column("path", PathText, nullable=False),
    Column("kind", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("mtime_ns", BigInteger, nullable=False),
    Column("companions", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("taken_at", Text, nullable=False),
    Column("metadata", JSON, nullable=False),
    UniqueConstraint("root_id", "path"),
    sqlite_autoincrement=True,
)

# Ids are never used twice (AUTOINCREMENT): a vector index that still holds a removed row must not take a
# new row for it.
rows = Table(
    "rows",
    tables,
    Column("id", Integer, primary_key=True),
    Column("item_id", ForeignKey("items.id", ondelete="CASCADE"), nullable=False),
    Column("view", Text, nullable=False),
    Column("content_key", Text, nullable=False, index=True),
    Column("vector", LargeBinary, nullable=False),
    Column("text", Text, nullable=False),
    Column("start_s", Float),
    Column("end_s", Float),
    Column("char_start", Integer),
    Column("char_end", Integer),
    Column("hubness", Float),  # NULL until it is measured
    Index("rows_by_item", "item_id", "view"),
    Index("rows_by_view", "view"),
    Index("rows_unmeasured", "id", sqlite_where=text("hubness IS NULL")),
    sqlite_autoincrement=True,
)

graves = Table(
    "graves",
    tables,
    Column("seq", Integer, primary_key=True),
    Column("row_id", Integer, nullable=False),
    Column("view", Text, nullable=False),
    sqlite_autoincrement=True,
)

# A trigger, so that no statement, and no cascade, removes a row without the indexes hearing of it.
event.listen(
    rows,
    "after_create",
    DDL(  # type: ignore[no-untyped-call]
        "CREATE TRIGGER bury_row AFTER DELETE ON rows BEGIN "
        "INSERT INTO graves (row_id, view) VALUES (old.id, old.view); END"
    ),
)

failures = Table(
    "failures",
    tables,
    _of_root(),
    Column("path", PathText, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("mtime_ns", BigInteger, nullable=False),
    Column("companions", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("failed_at", Text, nullable=False),
    UniqueConstraint("root_id", "path"),
)

excludes = Table(
    "excludes",
    tables,
    _of_root(),
    Column("path", PathText, nullable=False),
    UniqueConstraint("root_id", "path"),
)

captions = Table(
    "captions",
    tables,
    Column("id", Integer, primary_key=True),
    _of_root(),
    Column("path", PathText, nullable=False),
    Column("source", PathText, nullable=False),
    Column("view", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("start_s", Float),
    Column("end_s", Float),
    Index("captions_by_root", "root_id", "source"),
)

# By address rather than by item: a file that is read again becomes a new item, and is still what was judged.
judgements = Table(
    "judgements",
    tables,
    Column("id", Integer, primary_key=True),
    _of_root(),
    Column("path", PathText, nullable=False),
    Column("query", Text, nullable=False),
    Column("is_good", Boolean, nullable=False),
    Column("judged_at", Text, nullable=False),
    UniqueConstraint("root_id", "path", "query"),
)

# Every table whose rows are addressed by root and relative path.
ADDRESSED = (items, failures, excludes, captions, judgements)


def migrate(connection: Connection, found: int | None, path: Path) -> None:
    """Bring the catalogue from the version found, None if it is empty, to the present one, in a transaction.

    Raises SchemaTooNew where a newer mmsearch wrote it.
    """
    known = migrations.known_version()
    if found is None:
        tables.create_all(connection)
        for statement in words_schema.STATEMENTS:
            connection.exec_driver_sql(statement)
        connection.execute(insert(meta), {"key": migrations.VERSION_KEY, "value": str(known)})
        return
    if found > known:
        raise SchemaTooNew(path=str(path), found=found, known=known)
    for step in migrations.MIGRATIONS[found - 1 :]:
        for statement in step:
            connection.exec_driver_sql(statement)
    if found < known:
        connection.execute(update(meta).where(meta.c.key == migrations.VERSION_KEY).values(value=str(known)))
