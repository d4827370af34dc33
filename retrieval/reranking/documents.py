"""Documents as callers hold them, taken apart into the views that the fusion knows."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.index.errors import Unreadable, UsageError
from mmsearch.index.items import VIEWS, View
from mmsearch.retrieval.types import Preprocess

NAME = "name"
_KNOWN = (*VIEWS, NAME)


@dataclass(frozen=True, slots=True)
class Document:
    """What one document holds.

    picture: (S, S, 3) uint8 RGB as the model takes it, None where there is none.
    texts:   what each view but the picture says, as one or more texts.
    name:    words that count as words alone.
    """

    picture: NDArray[np.uint8] | None = None
    texts: Mapping[View, tuple[str, ...]] = field(default_factory=dict)
    name: str = ""

    @property
    def digest(self) -> bytes:
        """The same for the same content, whatever it came as."""
        said = repr((sorted(self.texts.items()), self.name)).encode()
        return hashlib.blake2b(said + (b"" if self.picture is None else self.picture.tobytes())).digest()


def taken_apart(given: Any, preprocess: Preprocess) -> Document:
    """A document in any of the forms that Reranker.rank takes. UsageError for anything else, Unreadable for a picture.

    >>> taken_apart({"caption": "a dog", "name": "rex.jpg"}, Preprocess(size=32)).texts
    {'caption': ('a dog',)}
    """
    if isinstance(given, str):
        given = {"text": given}
    elif not isinstance(given, Mapping):
        given = {"image": given}
    if unknown := [name for name in given if name not in _KNOWN]:
        raise UsageError(f"a document has no view {unknown[0]!r}; its views are {', '.join(_KNOWN)}.")
    views = {name: value for name, value in given.items() if value is not None}
    if not any(name in VIEWS for name in views):
        raise UsageError(f"a document needs at least one of {', '.join(VIEWS)}.")
    texts = {name: _texts(name, views[name]) for name in VIEWS[1:] if name in views}
    picture = _picture(views["image"], preprocess) if "image" in views else None
    return Document(picture, texts, str(views.get(NAME, "")))


def _texts(view: str, value: Any) -> tuple[str, ...]:
    texts = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list | tuple) else ()
    if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        raise UsageError(f"the view {view!r} of a document is a text or a list of texts, and none is empty.")
    return texts


def _picture(value: Any, preprocess: Preprocess) -> NDArray[np.uint8]:
    from PIL.Image import Image  # which costs time that texts do not need

    from mmsearch.retrieval.decode import photos

    source = Path(value).expanduser() if isinstance(value, str | Path) else value
    if not isinstance(source, Path | bytes | np.ndarray | Image):
        raise UsageError(
            f"a document is a text, a picture or a dict of views, not {type(value).__name__}; a picture is a path, "
            "its bytes, a PIL image or an array."
        )
    try:
        return photos.load(source, preprocess)
    except Unreadable as error:
        raise Unreadable(
            f"{source if isinstance(source, Path) else 'a picture'} cannot be used: {error.reason}"
        ) from error
