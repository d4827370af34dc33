"""The tables of the catalogue, and the numbered steps from an older version of them to the present one."""

from __future__ import annotations

import os
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
    select,
    text,
    update,
)
from sqlalchemy.types import TypeDecorator

from mmsearch.index import words_schema
from mmsearch.index.errors import LibraryDamaged, SchemaTooNew

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


class PathText(TypeDecorator[str]):
    """A path. Where it is not UTF-8 its bytes are stored, so that it comes back as the same Python string."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> Any:
        """The string itself, or its bytes where it holds surrogate escapes."""
        return os.fsencode(value) if value and not _is_unicode(value) else value

    def process_result_value(self, value: Any, dialect: Dialect) -> str | None:
        """The string that was stored."""
        return os.fsdecode(value) if isinstance(value, bytes) else value


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


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


def known_version() -> int:
    """The schema version that this code writes."""
    return 1 + len(MIGRATIONS)


def stored_version(connection: Connection, path: Path) -> int | None:
    """The schema version of the catalogue, None if it is empty; LibraryDamaged if it is something else."""
    names = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table'").scalars().all()
    if not names:
        return None
    if "meta" not in names:
        raise LibraryDamaged(path=path, detail="it is a database of something else")
    found = connection.scalar(select(meta.c.value).where(meta.c.key == VERSION_KEY))
    if found is None or not found.isdigit():
        raise LibraryDamaged(path=path, detail="it does not say its schema version")
    return int(found)


def migrate(connection: Connection, path: Path) -> None:
    """Bring the catalogue to the present version within the connection's transaction.

    Raises SchemaTooNew where a newer mmsearch wrote it, and LibraryDamaged where it is no catalogue.
    """
    found = stored_version(connection, path)
    known = known_version()
    if found is None:
        tables.create_all(connection)
        for statement in words_schema.STATEMENTS:
            connection.exec_driver_sql(statement)
        connection.execute(insert(meta), {"key": VERSION_KEY, "value": str(known)})
        return
    if found > known:
        raise SchemaTooNew(path=str(path), found=found, known=known)
    for step in MIGRATIONS[found - 1 :]:
        for statement in step:
            connection.exec_driver_sql(statement)
    if found < known:
        connection.execute(update(meta).where(meta.c.key == VERSION_KEY).values(value=str(known)))
