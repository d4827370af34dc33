"""FAISS, imported when it is first needed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def faiss() -> Any:
    """The module; untyped, since its stubs lack half of what is used here."""
    import faiss as module

    return module


@contextmanager
def threads_for(queries: int) -> Iterator[None]:
    """Let FAISS search for one query by one thread: it is done before a second is awake, or waits for it."""
    before = faiss().omp_get_max_threads()
    if queries == 1:
        faiss().omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss().omp_set_num_threads(before)
