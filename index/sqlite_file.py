"""A file of SQLite as the standard library's driver opens it: read-only transactions, and what its errors mean."""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mmsearch.index.errors import LibraryBusy, LibraryDamaged

BUSY_TIMEOUT_S = 30.0

# What SQLite says, in the words of the operating system, which callers know how to handle.
_OS_ERRORS = {
    "SQLITE_FULL": errno.ENOSPC,
    "SQLITE_IOERR": errno.EIO,
    "SQLITE_READONLY": errno.EROFS,
    "SQLITE_CANTOPEN": errno.EACCES,
    "SQLITE_PERM": errno.EACCES,
}


class _Own(threading.local):
    """What one thread has: the connection that holds on to a state, and answers that hold as long as that state."""

    def __init__(self) -> None:
        self.connection: sqlite3.Connection | None = None
        self.answers: dict[str, list[Any]] = {}


class SqliteFile:
    """A catalogue file and the transactions that read it.

    Usable from many threads: each transaction has a connection of its own.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._idle: list[sqlite3.Connection] = []
        self._own = _Own()

    def close(self) -> None:
        """Close every connection. Closing twice is allowed."""
        with suppress(IndexError):
            while True:
                self._idle.pop().close()

    @contextmanager
    def one_state(self) -> Iterator[None]:
        """Let all that this thread asks meanwhile see one state of the catalogue, whatever others write.

        For as long as a query takes: while a state is held on to, the log of what is written grows.
        """
        if self._own.connection is not None:
            yield
            return
        with self._reading() as connection:
            self._own.connection = connection
            try:
                yield
            finally:
                self._own.connection = None
                self._own.answers.clear()

    def _ask(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        """Every row that one statement gives. It sees one state of the catalogue, as a transaction does."""
        with translated(self.path):
            if self._own.connection is not None:
                return self._own.connection.execute(query, values).fetchall()
            connection = self._connection()
            try:
                return connection.execute(query, values).fetchall()
            finally:
                self._idle.append(connection)

    def _ask_once(self, query: str) -> list[Any]:
        """As `_ask`, but of one state only once."""
        if self._own.connection is None:
            return self._ask(query)
        if query not in self._own.answers:
            self._own.answers[query] = self._ask(query)
        return self._own.answers[query]

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """A transaction that sees one state of the catalogue, whatever others write meanwhile.

        What it asks for is fetched whole: a list that is read half-way would hold on to that state.
        """
        if self._own.connection is not None:
            with translated(self.path):
                yield self._own.connection
            return
        with translated(self.path):
            connection = self._connection()
            try:
                connection.execute("BEGIN")
                yield connection
            finally:
                connection.rollback()
                self._idle.append(connection)

    def _connection(self) -> sqlite3.Connection:
        try:
            return self._idle.pop()  # atomic: no lock is needed
        except IndexError:
            return connect(self.path)


def connect(path: Path, *, create: bool = False) -> sqlite3.Connection:
    """A connection that begins nothing by itself and may wander between threads."""
    return sqlite3.connect(
        _uri(path, create), uri=True, timeout=BUSY_TIMEOUT_S, check_same_thread=False, isolation_level=None
    )


def _uri(path: Path, create: bool) -> str:
    """Where nobody can write, a file is read as it is, without those that SQLite puts beside it."""
    mode = "rwc" if create else "rw"
    if path.exists() and not os.access(path.parent, os.W_OK):
        mode = "ro" if has_log(path) else "ro&immutable=1"
    return f"file:{quote(os.fsencode(path.absolute()))}?mode={mode}"


def has_log(path: Path) -> bool:
    """Whether commits may lie in the write-ahead log that are not in the file yet."""
    log = path.with_name(path.name + "-wal")
    return log.exists() and log.stat().st_size > 0


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raise what the rest of the package knows in place of the driver's errors over the file path."""
    try:
        yield
    except sqlite3.Error as error:
        raise_known(error, path)
        raise


def raise_known(error: BaseException, path: Path) -> None:
    """Raise what the rest of the package knows in place of an error of the driver, if there is such a thing."""
    # Extended codes read SQLITE_IOERR_WRITE and the like.
    name = "_".join(getattr(error, "sqlite_errorname", "").split("_")[:2])
    if name in ("SQLITE_CORRUPT", "SQLITE_NOTADB"):
        raise LibraryDamaged(path=path, detail=str(error)) from error
    if name in ("SQLITE_BUSY", "SQLITE_LOCKED"):
        raise LibraryBusy(path=path, holder="another process") from error
    if name in _OS_ERRORS:
        raise OSError(_OS_ERRORS[name], os.strerror(_OS_ERRORS[name]), str(path)) from error
