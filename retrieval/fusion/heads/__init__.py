"""The heads, one file each, by name.

HEADS                      their names
head_class(name) -> type   the class of one
load(path) -> Head         the head that Head.save wrote
shipped() -> Head          the one that comes with mmsearch
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path

from mmsearch.index.errors import UsageError
from mmsearch.retrieval.fusion.heads.base import Head, read

HEADS = ("weighted", "product", "concat", "two_stream", "shared", "attention", "autoencoder")
SHIPPED = Path(__file__).parent.parent / "shipped.npz"


def head_class(name: str) -> type[Head]:
    """The class of the head of that name; only its file is imported. UsageError where there is none."""
    if name not in HEADS:
        raise UsageError(f"there is no fusion head {name!r}; there are {', '.join(HEADS)}.")
    found: type[Head] = import_module(f"{__name__}.{name}").HEAD
    return found


def load(path: Path) -> Head:
    """The head in a file that Head.save wrote. HeadInvalid where it is damaged or made for other signals."""
    name, parameters = read(path)
    return head_class(name)(parameters)


@cache
def shipped() -> Head:
    """The head that comes with mmsearch, read when it is first needed."""
    return load(SHIPPED)
