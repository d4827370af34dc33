"""An adapter: a linear map over the rows of each tower, which turns a model towards its user's own captions.

It is a file of the model directory, applied after the towers, so it is the same for ONNX and for torch, and the
fingerprint covers it. The maps have no constant term: two adapters one after the other are again one.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mmsearch.index.errors import ModelInvalid
from mmsearch.retrieval.encoders.batches import unit_rows
from mmsearch.retrieval.encoders.model_directory import ADAPTER, ModelDirectory

Rows = NDArray[np.float32]
Tower = Callable[[NDArray[Any]], Rows]


@dataclass(frozen=True, slots=True)
class Adapter:
    """The map of each tower's rows: a row becomes `row @ map`, scaled to unit length.

    text, image: (D, D) float32.
    """

    text: Rows
    image: Rows

    @classmethod
    def identity(cls, dim: int) -> Self:
        """The adapter that changes nothing."""
        return cls(np.eye(dim, dtype=np.float32), np.eye(dim, dtype=np.float32))

    def then(self, later: Adapter) -> Adapter:
        """The adapter that does what this one and then the later one does."""
        return Adapter(self.text @ later.text, self.image @ later.image)


def adapted(model: ModelDirectory, text: Tower, image: Tower) -> tuple[Tower, Tower]:
    """The model's towers with its adapter after them; as they are where it has none."""
    if model.adapter is None:
        return text, image
    adapter = read(model.adapter, model.card.dim)
    return _after(text, adapter.text), _after(image, adapter.image)


def read(path: Path, dim: int) -> Adapter:
    """The adapter that write wrote; ModelInvalid where it is damaged or not for rows of dim dimensions."""
    try:
        with np.load(path, allow_pickle=False) as maps:
            adapter = Adapter(maps["text"], maps["image"])
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ModelInvalid(model=str(path.parent), reason=f"{path.name} cannot be read: {error}") from error
    shapes = {adapter.text.shape, adapter.image.shape}
    if shapes != {(dim, dim)}:
        listed = " and ".join(map(str, sorted(shapes)))
        raise ModelInvalid(
            model=str(path.parent), reason=f"{path.name} has maps of {listed}, but model.json says {dim} dimensions"
        )
    return adapter


def write(adapter: Adapter, directory: Path) -> None:
    """Write the adapter into a model directory; equal adapters make equal files."""
    np.savez(directory / ADAPTER, text=adapter.text, image=adapter.image)


def _after(tower: Tower, turn: Rows) -> Tower:
    return lambda batch: unit_rows(tower(batch) @ turn)
