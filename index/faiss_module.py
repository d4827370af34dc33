"""FAISS, imported when it is first needed."""

from __future__ import annotations

from typing import Any


def faiss() -> Any:
    """The module; untyped, since its stubs lack half of what is used here."""
    import faiss as module

    return module
