"""mmsearch: search your own photos, texts and sounds by what is in them, on your own machine.

>>> from mmsearch import Library
>>> with Library.open("lib") as library:  # doctest: +SKIP
...     library.index(["./photos"])
...     hits = library.query("a dog on a beach", k=10)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmsearch.index.errors import MmsearchError
    from mmsearch.retrieval.library import Library
    from mmsearch.retrieval.reranking.reranker import Reranker
    from mmsearch.retrieval.types import Hit, IndexReport

__version__ = "0.1.0"
__all__ = ["Hit", "IndexReport", "Library", "MmsearchError", "Reranker", "__version__"]

_HOMES = {
    "Hit": "mmsearch.retrieval.types",
    "IndexReport": "mmsearch.retrieval.types",
    "Library": "mmsearch.retrieval.library",
    "MmsearchError": "mmsearch.index.errors",
    "Reranker": "mmsearch.retrieval.reranking.reranker",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for, so that `import mmsearch` costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'mmsearch' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
