"""What a library is opened with: its folder, its catalogue, and the model that it is bound to."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mmsearch.index.errors import LibraryNotFound, ModelMismatch
from mmsearch.index.reader import Reader
from mmsearch.retrieval.encoders import registry
from mmsearch.retrieval.encoders.base import Encoder, ModelCard
from mmsearch.retrieval.scopes import absolute

if TYPE_CHECKING:
    from mmsearch.retrieval.embedding import Embedder

CATALOG_NAME = "catalog.sqlite"
VECTORS_NAME = "vectors"
HEADS_NAME = "fusion"


@dataclass(frozen=True, slots=True)
class Model:
    """A model as a library knows it: by a name, or by the absolute path of its directory.

    device: where it computes, as `Library.open` was told, a GPU named as the model is placed.
    """

    name: str
    card: ModelCard
    device: str

    def __str__(self) -> str:
        return f"{self.card.name} ({self.card.fingerprint[:8]})"


class Towers:
    """The encoders of a model, one a device, each loaded when it is first needed. Usable from many threads."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._loaded: dict[str, Encoder] = {}
        self._lock = threading.Lock()

    def on(self, device: str) -> Encoder:
        """The encoder on a device, or where `registry.place` says. Raises as it does."""
        with self._lock:
            place = registry.place(self._model, device)
            if place not in self._loaded:
                self._loaded[place] = registry.load(self._model, device=place)
            return self._loaded[place]

    def close(self) -> None:
        """Give back sessions and device memory; what is asked for later is loaded again."""
        with self._lock:
            for encoder in self._loaded.values():
                encoder.close()
            self._loaded.clear()


def default_path() -> Path:
    """Where the library is when nobody says: MMSEARCH_LIBRARY, or the user's data directory."""
    if named := os.environ.get("MMSEARCH_LIBRARY"):
        return Path(named)
    from platformdirs import user_data_path

    return user_data_path("mmsearch") / "library"


def open_catalog(path: Path, create: bool) -> Reader:
    """The catalogue in the folder of a library. Raises as `Library.open` does."""
    if not create and not (path / CATALOG_NAME).exists():
        raise LibraryNotFound(path=path)
    if create:
        path.mkdir(parents=True, exist_ok=True)
    return Reader.open(path / CATALOG_NAME, create=create)


def choose(catalog: Reader, named: str | None, device: str, switch: bool) -> Model:
    """The model of that name, or of the environment, or the catalogue's own, or the bundled one.

    Raises ModelMismatch where the catalogue holds vectors of another, unless it is to switch, and as the registry does.
    """
    stored = catalog.meta("model")
    name = _known_by(registry.chosen(named, stored))
    model = Model(name, registry.card(name), device if device == "auto" else registry.place(name, device))
    fingerprint = catalog.meta("fingerprint")
    if fingerprint not in (None, model.card.fingerprint) and not switch:
        raise ModelMismatch(stored=f"{stored} ({fingerprint[:8]})", wanted=str(model))
    return model


def bind(catalog: Reader, model: Model, rebuild: bool) -> None:
    """Tie a catalogue to the model that it is to be indexed with, and unlearn every vector for a rebuild."""
    stored, card = catalog.meta("fingerprint"), model.card
    if stored not in (None, card.fingerprint) and not rebuild:
        raise ModelMismatch(stored=stored[:8], wanted=str(model))
    if rebuild:
        catalog.writer.unembed()
    if stored != card.fingerprint:
        catalog.writer.set_meta(model=model.name, fingerprint=card.fingerprint, dim=str(card.dim))


@contextmanager
def opened_embedder(
    catalog: Reader, model: Model, towers: Towers, max_megapixels: float, workers: int
) -> Iterator[Embedder]:
    """What reads files and embeds them, imported and opened until the context ends; workers as feed_for takes them."""
    from mmsearch.retrieval.embedding import Embedder
    from mmsearch.retrieval.feeding import feed_for

    place, encoder = registry.place(model.name, model.device), towers.on(model.device)
    with feed_for(place, registry.find(model.name), encoder, max_megapixels, workers) as feed:
        yield Embedder(catalog.writer, encoder, max_megapixels, feed)


def _known_by(model: str) -> str:
    """The name of a model, or the absolute path of a model directory: it must mean the same from everywhere."""
    return model if registry.find(model).name == model else str(absolute(model))
