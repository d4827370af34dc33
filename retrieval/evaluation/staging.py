"""Judged sets as libraries: recorded as indexing records files, so that all that follows is the product's own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmsearch.index.catalog import Catalog
from mmsearch.index.errors import Unreadable
from mmsearch.index.indexes import Indexes
from mmsearch.index.items import Kind, Root, View
from mmsearch.retrieval import hubs, naming
from mmsearch.retrieval.embedding import Embedder
from mmsearch.retrieval.encoders import registry
from mmsearch.retrieval.evaluation.judged import JudgedItem, JudgedQuery, JudgedSet
from mmsearch.retrieval.evaluation.remembering import Remembering
from mmsearch.retrieval.evaluation.unchanging import Unchanging
from mmsearch.retrieval.opening import CATALOG_NAME, VECTORS_NAME
from mmsearch.retrieval.types import Decoded, File, Passage, Read, Task

_ROOT = "files"  # below the library; nothing is there
_TOLD: tuple[View, ...] = ("caption", "text", "audio_caption")
_BATCH = 500


@dataclass(frozen=True, slots=True)
class Staged:
    """A library made of a judged set.

    ids:     (I,) int64 the item id of each of the set's items.
    queries: the set's, with item ids for what is relevant.
    """

    catalog: Unchanging
    indexes: Indexes
    ids: NDArray[np.int64]
    queries: tuple[JudgedQuery, ...]


@contextmanager
def stage(judged: JudgedSet, encoder: Remembering, folder: Path, *, model: str = registry.BUNDLED) -> Iterator[Staged]:
    """A library in an empty folder, open until the context ends; `Library.open(folder)` takes it as well.

    model: the name that it notes for the encoder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    catalog = Unchanging.open(folder / CATALOG_NAME)
    try:
        catalog.set_meta(model=model, fingerprint=encoder.card.fingerprint, dim=str(encoder.card.dim))
        root = catalog.add_root(folder / _ROOT)
        _record(catalog, encoder, list(_reads(judged.items, encoder, root)))
        hubs.level(catalog, hubs.provide(model, folder / VECTORS_NAME, lambda: encoder))
        known = catalog.known(root.id)
        ids = np.array([known[item.name].item_id for item in judged.items], np.int64)
        place = dict(enumerate(ids.tolist()))
        queries = tuple(query.moved(place) for query in judged.queries)
        yield Staged(catalog, Indexes(catalog, folder / VECTORS_NAME, encoder.card.dim), ids, queries)
    finally:
        catalog.close()


def _record(catalog: Catalog, encoder: Remembering, reads: Sequence[Read]) -> None:
    embedder = Embedder(catalog, encoder, max_megapixels=0)
    for start in range(0, len(reads), _BATCH):
        catalog.record(*embedder.embed(reads[start : start + _BATCH]))


def _reads(items: Sequence[JudgedItem], encoder: Remembering, root: Root) -> Iterator[Read]:
    """What reading the file of each item would have given."""
    photos = encoder.photos(list({item.photo: None for item in items if item.photo is not None}))
    for item in items:
        file = File(root, item.name, _kind(item), size_bytes=0, mtime_ns=0)
        told = ((view, getattr(item, view)) for view in _TOLD)
        passages = tuple(Passage(view, text) for view, text in told if text is not None)
        vector = None
        if item.photo is not None:
            if item.photo not in photos:
                raise Unreadable(f"{item.photo} cannot be read as a photo")
            vector = photos[item.photo].astype(np.float16)
        digest = str(item.photo or item.name)  # names the vector; nothing else looks at it
        yield Read(Task(file, "", (), None), digest, Decoded(None, passages), vector)


def _kind(item: JudgedItem) -> Kind:
    kind = naming.kind_of(item.name)
    if kind is None:
        raise ValueError(f"no kind of file is called {item.name}")
    return kind
