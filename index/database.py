"""The catalogue's file for those who write to it: how it is made, and what a transaction is."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, cast

from sqlalchemy import Connection, Engine, QueuePool, create_engine, event

from mmsearch.index import migrations, schema
from mmsearch.index.errors import LibraryNotFound
from mmsearch.index.sqlite_file import SqliteFile, connect, raise_known, translated


class Database(SqliteFile):
    """A catalogue file and the transactions that write to it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._engine = _engine(path)

    @classmethod
    def open(cls, path: Path, create: bool = True) -> Self:
        """Open the catalogue in the file path; make it, or bring it to the present schema, as needed.

        Raises LibraryNotFound (with create=False), LibraryDamaged, SchemaTooNew and OSError.
        """
        if not create and not path.exists():
            raise LibraryNotFound(path=path.parent)
        if not path.exists():
            with translated(path):
                connect(path, create=True).close()
        database = cls(path)
        try:
            database._prepare(create)
        except BaseException:
            database.close()
            raise
        return database

    def _prepare(self, create: bool) -> None:
        with self._reading() as connection:
            found = migrations.stored_version(connection, self.path)
        if found is None and not create:
            raise LibraryNotFound(path=self.path.parent)
        if found is None:
            # Readers go on while a writer writes. The file remembers this mode.
            self._alone("PRAGMA journal_mode = WAL")
        if found != migrations.known_version():
            with self._writing() as connection:
                found = migrations.stored_version(plain(connection), self.path)
                schema.migrate(connection, found, self.path)

    def close(self) -> None:
        """Close every connection. Closing twice is allowed."""
        self._engine.dispose()
        super().close()

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """A transaction that writes: all of it is kept, or nothing. It waits for other writers first."""
        # One that began by reading would fail, without waiting, where another has written in between.
        immediate = self._engine.connect().execution_options(begin="BEGIN IMMEDIATE")
        with translated(self.path), immediate as connection, connection.begin():
            yield connection

    def _alone(self, statement: str) -> list[Any]:
        """Run one statement outside any transaction and give its first row."""
        with self._engine.connect().execution_options(begin="") as connection:
            result = connection.exec_driver_sql(statement)
            return list(result.first() or ()) if result.returns_rows else []


def plain(connection: Connection) -> sqlite3.Connection:
    """The driver's own connection, to ask within a transaction that writes what others ask without one."""
    return cast(sqlite3.Connection, connection.connection.driver_connection)


def _engine(path: Path) -> Engine:
    engine = create_engine("sqlite://", creator=lambda: connect(path), poolclass=QueuePool)
    event.listen(engine, "connect", _configure)
    event.listen(engine, "begin", _begin)
    event.listen(engine, "handle_error", lambda context: raise_known(context.original_exception, path))
    return engine


def _configure(connection: sqlite3.Connection, record: object) -> None:
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA secure_delete = ON")
    # FULL: a commit outlives a power cut. With NORMAL the file may fall back to an older commit and hand out
    # row ids again that a saved vector index already holds under other vectors.
    connection.execute("PRAGMA synchronous = FULL")


def _begin(connection: Connection) -> None:
    statement = connection.get_execution_options().get("begin", "BEGIN")
    if statement:
        connection.exec_driver_sql(statement)
