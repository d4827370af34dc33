"""An encoder that makes each vector once, also from one run to the next."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmsearch.index.errors import Unreadable
from mmsearch.retrieval import files
from mmsearch.retrieval.adapting.captioned import OnSkip, embed_photos
from mmsearch.retrieval.encoders.base import Encoder
from mmsearch.retrieval.types import Skipped

Rows = NDArray[np.float32]


class Remembering:
    """Towers whose rows are kept by what they were made of: the bytes of a photo, or a text.

    folder: where `save` writes them, a file for each model; None keeps them as long as this object lives.
    """

    def __init__(self, encoder: Encoder, folder: Path | None = None) -> None:
        self.card = encoder.card
        self._encoder = encoder
        self._file = None if folder is None else folder / f"vectors-{self.card.fingerprint[:16]}.npz"
        self._rows: dict[str, Rows] = {}
        if self._file is not None and self._file.exists():
            with np.load(self._file) as kept:
                self._rows = dict(zip(kept["keys"].tolist(), kept["rows"], strict=True))

    def texts(self, texts: Sequence[str]) -> Rows:
        """(N, D) rows of N texts."""
        keys = {text: f"text:{_digest(text)}" for text in texts}
        fresh = [text for text, key in keys.items() if key not in self._rows]
        if fresh:
            self._rows |= zip((keys[text] for text in fresh), self._encoder.texts(fresh), strict=True)
        return self._stacked([keys[text] for text in texts])

    def images(self, pixels: NDArray[np.uint8]) -> Rows:
        """(N, D) rows of N pictures; these are not remembered."""
        return self._encoder.images(pixels)

    def photos(
        self,
        paths: Sequence[Path],
        on_skip: OnSkip = lambda skipped: None,
        say: Callable[[str], None] = lambda step: None,
    ) -> dict[Path, Rows]:
        """The row (D,) of each photo that can be read; the others go to on_skip."""
        keys = dict(_photo_keys(paths, on_skip))
        fresh = [path for path, key in keys.items() if key not in self._rows]
        kept, _, rows = embed_photos(fresh, self._encoder, on_skip, say)
        self._rows |= zip((keys[path] for path in kept), rows, strict=True)
        return {path: self._rows[key] for path, key in keys.items() if key in self._rows}

    def spans(self, text: str) -> list[tuple[int, int]]:
        """As the encoder's."""
        return self._encoder.spans(text)

    def close(self) -> None:
        """Close the encoder."""
        self._encoder.close()

    def save(self) -> None:
        """Write what is remembered into the folder, in place of what was there."""
        if self._file is None:
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        beside = self._file.with_suffix(".part")
        with beside.open("wb") as stream:
            np.savez(stream, keys=np.array(list(self._rows)), rows=self._stacked(list(self._rows)))
        beside.replace(self._file)

    def _stacked(self, keys: Sequence[str]) -> Rows:
        return np.array([self._rows[key] for key in keys], np.float32).reshape(len(keys), self.card.dim)


def _photo_keys(paths: Sequence[Path], on_skip: OnSkip) -> Iterator[tuple[Path, str]]:
    for path in paths:
        try:
            yield path, f"image:{files.digest(path)}"
        except Unreadable as error:
            on_skip(Skipped(path, error.reason))


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
