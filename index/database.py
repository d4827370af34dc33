"""The SQLite file under the catalogue: how it is opened, what a transaction is, what its errors mean."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from sqlalchemy import Connection, Engine, ExceptionContext, QueuePool, create_engine, event

from mmsearch.index import schema
from mmsearch.index.errors import LibraryBusy, LibraryDamaged, LibraryNotFound

BUSY_TIMEOUT_S = 30.0

# What SQLite says, in the words of the operating system, which callers know how to handle.
_OS_ERRORS = {
    "SQLITE_FULL": errno.ENOSPC,
    "SQLITE_IOERR": errno.EIO,
    "SQLITE_READONLY": errno.EROFS,
    "SQLITE_CANTOPEN": errno.EACCES,
    "SQLITE_PERM": errno.EACCES,
}


class Database:
    """A catalogue file and its transactions.

    Usable from many threads: each transaction has a connection of its own.
    """

    def __init__(self, engine: Engine, path: Path) -> None:
        self.path = path
        self._engine = engine

    @classmethod
    def open(cls, path: Path, create: bool = True) -> Self:
        """Open the catalogue in the file path; make it, or bring it to the present schema, as needed.

        Raises LibraryNotFound (with create=False), LibraryDamaged, SchemaTooNew and OSError.
        """
        if not create and not path.exists():
            raise LibraryNotFound(path=path.parent)
        database = cls(_engine(path, create), path)
        try:
            database._prepare(create)
        except BaseException:
            database.close()
            raise
        return database

    def _prepare(self, create: bool) -> None:
        with self._reading() as connection:
            found = schema.stored_version(connection, self.path)
        if found is None and not create:
            raise LibraryNotFound(path=self.path.parent)
        if found is None:
            # Readers go on while a writer writes. The file remembers this mode.
            self._alone("PRAGMA journal_mode = WAL")
        if found != schema.known_version():
            with self._writing() as connection:
                schema.migrate(connection, self.path)

    def close(self) -> None:
        """Close every connection. Closing twice is allowed."""
        self._engine.dispose()

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        """A transaction that sees one state of the catalogue, whatever others write meanwhile."""
        with self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """A transaction that writes: all of it is kept, or nothing. It waits for other writers first."""
        # One that began by reading would fail, without waiting, where another has written in between.
        immediate = self._engine.connect().execution_options(begin="BEGIN IMMEDIATE")
        with immediate as connection, connection.begin():
            yield connection

    def _alone(self, statement: str) -> list[Any]:
        """Run one statement outside any transaction and give its first row."""
        with self._engine.connect().execution_options(begin="") as connection:
            result = connection.exec_driver_sql(statement)
            return list(result.first() or ()) if result.returns_rows else []


def _engine(path: Path, create: bool) -> Engine:
    def connect() -> sqlite3.Connection:
        return sqlite3.connect(
            _uri(path, create),
            uri=True,
            timeout=BUSY_TIMEOUT_S,
            check_same_thread=False,
            isolation_level=None,  # the driver begins nothing by itself; _begin does
        )

    engine = create_engine("sqlite://", creator=connect, poolclass=QueuePool)
    event.listen(engine, "connect", _configure)
    event.listen(engine, "begin", _begin)
    event.listen(engine, "handle_error", lambda context: _translate(context, path))
    return engine


def _uri(path: Path, create: bool) -> str:
    """Where nobody can write, a file is read as it is, without those that SQLite puts beside it."""
    mode = "rwc" if create else "rw"
    if path.exists() and not os.access(path.parent, os.W_OK):
        mode = "ro" if _is_in_use(path) else "ro&immutable=1"
    return f"file:{quote(os.fsencode(path.absolute()))}?mode={mode}"


def _is_in_use(path: Path) -> bool:
    """Whether commits may lie in the write-ahead log that are not in the file yet."""
    log = path.with_name(path.name + "-wal")
    return log.exists() and log.stat().st_size > 0


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


def _translate(context: ExceptionContext, path: Path) -> None:
    """Raise what the rest of the package knows in place of the driver's error."""
    error = context.original_exception
    # Extended codes read SQLITE_IOERR_WRITE and the like.
    name = "_".join(getattr(error, "sqlite_errorname", "").split("_")[:2])
    if name in ("SQLITE_CORRUPT", "SQLITE_NOTADB"):
        raise LibraryDamaged(path=path, detail=str(error)) from error
    if name in ("SQLITE_BUSY", "SQLITE_LOCKED"):
        raise LibraryBusy(path=path, holder="another process") from error
    if name in _OS_ERRORS:
        raise OSError(_OS_ERRORS[name], os.strerror(_OS_ERRORS[name]), str(path)) from error
