"""The vector indexes of a library: one store a view, derived from the catalogue and kept level with it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmsearch.index.items import VIEWS, ItemFilter, View
from mmsearch.index.lexicon import Lexicon
from mmsearch.index.reader import Reader
from mmsearch.index.row_store import RowStore
from mmsearch.index.row_table import RowTable
from mmsearch.index.rows import GravesGone
from mmsearch.index.snapshots import Snapshot, Snapshots, SnapshotUnusable
from mmsearch.index.vectors import Neighbours, Vectors, VectorStore

# Rows taken from the catalogue at a time: 10 MB of vectors of 256 dimensions.
_CHUNK = 20_000

# New rows that a run holds in memory before it puts them into files: a gigabyte of 512 dimensions.
_SPILLED = 1 << 20

# Captions and texts that an index is calibrated on, and their views.
_ASKED = 128
_WORDED: tuple[View, ...] = ("caption", "text", "audio_caption")


@dataclass(slots=True)
class _Held:
    """The store of one view, and how much of the catalogue it has seen.

    version:  of the catalogue, when the store was level with it.
    snapshot: the one that holds just what the store holds; None where none does.
    """

    store: VectorStore
    last_row: int
    last_grave: int
    version: int = -1
    snapshot: Snapshot | None = None


def store_class(device: str) -> type[VectorStore]:
    """The class of the stores of a device: on a GPU, or the first of several, where one is named."""
    if not device.startswith("cuda"):
        return RowStore
    from mmsearch.index.device_store import on_device

    return on_device(device.split(",")[0])


class Indexes:
    """Searches the views of a catalogue. Every call first takes in what was committed since the last one.

    lexicon: searches the words of its texts and names.
    rows:    knows the facts of its rows. dim: of their vectors.
    Usable from many threads, one at a time, and beside another process that indexes.
    """

    def __init__(self, catalog: Reader, directory: Path, dim: int, store_class: type[VectorStore] = RowStore) -> None:
        self.lexicon = Lexicon(catalog)
        self.rows = RowTable(catalog)
        self._catalog = catalog
        self.dim = dim
        self._store_class = store_class
        self._snapshots = Snapshots(catalog, directory, dim, store_class)
        self._held: dict[View, _Held] = {}
        self._lock = threading.RLock()

    def search(
        self, view: View, queries: NDArray[np.float32], k: int, allowed: NDArray[np.int64] | None = None
    ) -> Neighbours:
        """The k best rows of a view, or of those whose id is in allowed (M,), for queries (Q, D)."""
        with self._lock:
            return self._level(view).store.search(queries, k, allowed)

    def vectors(self, view: View, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """The vectors (N, D) of rows; zeros for a row that is gone, since another process may remove it any time."""
        with self._lock:
            store = self._level(view).store
            try:
                return store.get(ids)
            except KeyError:
                found = np.isin(ids, store.ids())
                vectors = np.zeros((len(ids), self.dim), np.float32)
                vectors[found] = store.get(ids[found])
                return vectors

    def count(self, view: View) -> int:
        """The number of rows of a view."""
        with self._lock:
            return len(self._level(view).store)

    def save(self, bank: Callable[[], Vectors | None] = lambda: None) -> None:
        """Write a snapshot of every view that changed; the catalogue may be compacted after it, not before.

        bank: vectors of texts such as are asked, on which large indexes are calibrated where the catalogue holds few.
        """
        with self._lock:
            self._snapshots.note({view: self._saved(view, bank) for view in VIEWS})

    def rebuild(self, bank: Callable[[], Vectors | None] = lambda: None) -> None:
        """Derive every store from the catalogue anew, and save them, as save does."""
        with self._lock:
            self._held = {view: self._derived(view) for view in VIEWS}
            self.save(bank)

    def plans(self) -> dict[View, str]:
        """By what each view that has rows is searched, and why."""
        with self._lock:
            stores = {view: self._level(view).store for view in VIEWS}
            return {view: store.plan() for view, store in stores.items() if len(store)}

    def close(self) -> None:
        """Give back memory, on a GPU too; the next search takes it again."""
        with self._lock:
            for held in self._held.values():
                held.store.close()
            self._held.clear()

    def problems(self) -> list[str]:
        """What is wrong with the snapshots on disk, a sentence each; empty when all is well."""
        return [
            f"the index of the view {view} {problem}; `mmsearch repair` rebuilds it"
            for view in VIEWS
            if (problem := self._problem(view))
        ]

    def _level(self, view: View, *, may_write: bool = False) -> _Held:
        """The store of a view, level with the catalogue; may_write: files of its rows, where memory would be short."""
        # Out of the dictionary meanwhile: a store that fails half-way is not used again.
        held = self._held.pop(view, None)
        while True:
            held = held or self._opened(view)
            try:
                self._catch_up(view, held, may_write)
            except GravesGone:
                # Another process has compacted the catalogue, and written snapshots before that.
                held = None
                continue
            self._held[view] = held
            return held

    def _opened(self, view: View) -> _Held:
        try:
            snapshot, store = self._snapshots.load(view)
        except SnapshotUnusable:
            return self._derived(view)
        return _Held(store, snapshot.last_row, snapshot.last_grave, snapshot=snapshot)

    def _derived(self, view: View) -> _Held:
        return _Held(self._store_class(self.dim), 0, self._catalog.graves_floor())

    def _catch_up(self, view: View, held: _Held, may_write: bool = False) -> None:
        version = self._catalog.versions().rows
        if held.version == version:
            return
        added = 0
        while True:
            ids, vectors = self._catalog.rows_after(view, held.last_row, _CHUNK)
            if not len(ids):
                break
            held.snapshot = None
            added += len(ids)
            held.store.add(ids, vectors)
            held.last_row = int(ids[-1])
            if may_write and added >= _SPILLED:
                self._snapshots.spill(view, held.store)
                added = 0
        buried, last_grave = self._catalog.graves_after(view, held.last_grave)
        if len(buried):
            held.snapshot = None
            held.store.remove(buried)
        held.last_grave = last_grave
        held.version = version

    def _questions(self, bank: Callable[[], Vectors | None]) -> Vectors:
        """Vectors (B, D) such as are asked: of captions and texts, else of a bank. Pictures flatter an index."""
        asked = [self._catalog.rows_after(view, 0, _ASKED)[1].reshape(-1, self.dim) for view in _WORDED]
        texts = np.concatenate(asked)
        known = bank() if len(texts) < _ASKED else None
        if known is not None:
            return known[:: max(1, len(known) // _ASKED)]
        return texts if len(texts) else self._catalog.rows_after("image", 0, _ASKED)[1]

    def _saved(self, view: View, bank: Callable[[], Vectors | None]) -> Snapshot | None:
        """The snapshot of a view as it is now, written if need be; None for a view without rows."""
        if view not in self._held and (level := self._snapshots.level(view)):
            return level
        held = self._level(view, may_write=True)
        if not len(held.store):
            return None
        if held.snapshot is None or not self._snapshots.exists(held.snapshot):
            held.store.prepare(lambda: self._questions(bank))
            held.snapshot = self._snapshots.write(view, held.store, held.last_row, held.last_grave)
        # Removals in other views leave the files as they are, but they have seen them.
        held.snapshot = replace(held.snapshot, last_row=held.last_row, last_grave=held.last_grave)
        return held.snapshot

    def _problem(self, view: View) -> str | None:
        rows = self._catalog.select(view, ItemFilter())
        try:
            snapshot, store = self._snapshots.load(view, is_read_whole=True)
        except SnapshotUnusable as reason:
            return f"cannot be used ({reason})" if len(rows) else None
        held = _Held(store, snapshot.last_row, snapshot.last_grave, snapshot=snapshot)
        self._catch_up(view, held)
        if held.snapshot is None:
            return "is behind the catalogue"
        if not np.array_equal(store.ids(), rows):
            return "holds other rows than the catalogue"
        return None if self._agrees(view, store) else "holds other vectors than the catalogue"

    def _agrees(self, view: View, store: VectorStore) -> bool:
        """Whether a store with the right ids holds the catalogue's vectors."""
        last = 0
        while True:
            ids, vectors = self._catalog.rows_after(view, last, _CHUNK)
            if not len(ids):
                return True
            if not np.array_equal(store.get(ids), vectors.astype(np.float32)):
                return False
            last = int(ids[-1])
