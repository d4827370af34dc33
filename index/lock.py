"""One indexer at a time."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from mmsearch.index.errors import LibraryBusy

_LOCK_NAME = "index.lock"
_HOLDER_NAME = "index.holder.json"


@contextmanager
def index_lock(directory: Path, wait_s: float = 0.0) -> Iterator[None]:
    """Keep other indexers out of the library in directory, which is made if it is missing.

    Raises LibraryBusy, naming the holder, where another holds the lock for longer than wait_s seconds, and
    OSError where the directory cannot be written to. The system takes the lock from a process that dies.
    Readers take no lock.
    """
    from filelock import FileLock, Timeout  # a query takes no lock

    directory.mkdir(parents=True, exist_ok=True)
    holder = directory / _HOLDER_NAME
    lock = FileLock(directory / _LOCK_NAME, timeout=wait_s)
    try:
        held = lock.acquire()
    except Timeout:
        raise LibraryBusy(path=directory, holder=_read(holder)) from None
    with held:
        try:
            holder.write_text(_me())
            yield
        finally:
            holder.unlink(missing_ok=True)


def _me() -> str:
    import socket

    since = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    return json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": since})


def _read(holder: Path) -> str:
    """Who holds the lock, in words; not every word where the holder is just coming or going."""
    try:
        found = json.loads(holder.read_text())
        return f"process {found['pid']} on {found['host']}, since {found['since']},"
    except (OSError, ValueError, KeyError):
        return "another process"
