"""Stores on disk: one file a view and generation, and a note in the catalogue of which file counts.

The note lies in the catalogue and not beside the file, so that a catalogue restored from a backup never
takes a newer snapshot for its own: its row ids may mean other vectors by now.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from mmsearch.index.durable import checksum
from mmsearch.index.items import View
from mmsearch.index.reader import Reader
from mmsearch.index.vectors import VectorStore

# The key under which the library notes which model made its vectors.
FINGERPRINT_KEY = "fingerprint"


class SnapshotUnusable(Exception):
    """Why a snapshot does not count. What it should hold is then derived from the catalogue."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the catalogue notes of a store's file.

    last_row:   the greatest row id that the store has seen.
    last_grave: the number of the last removal that it has seen.
    crc:        CRC-32 of the file.
    """

    generation: int
    last_row: int
    last_grave: int
    dim: int
    fingerprint: str
    crc: int


class Snapshots:
    """The snapshots of a catalogue's views, in a folder of their own."""

    def __init__(self, catalog: Reader, directory: Path, dim: int, store_class: type[VectorStore]) -> None:
        self._catalog = catalog
        self._directory = directory
        self._dim = dim
        self._store_class = store_class

    def load(self, view: View) -> tuple[Snapshot, VectorStore]:
        """The snapshot of a view that counts, and its store. Raises SnapshotUnusable."""
        snapshot = self.noted(view)
        if snapshot is None:
            raise SnapshotUnusable("there is none")
        if (snapshot.dim, snapshot.fingerprint) != (self._dim, self._fingerprint()):
            raise SnapshotUnusable("it was made with another model")
        if snapshot.last_grave < self._catalog.graves_floor():
            raise SnapshotUnusable("it has missed removals")
        path = self._path(view, snapshot.generation)
        try:
            if checksum(path) != snapshot.crc:
                raise SnapshotUnusable(f"{path} is damaged")
            return snapshot, self._store_class.load(path)
        except OSError as error:
            raise SnapshotUnusable(f"{path} cannot be read: {error.strerror}") from error
        except (RuntimeError, ValueError) as error:  # the checksum fits, but it was written wrong
            raise SnapshotUnusable(f"{path} holds no vectors") from error

    def noted(self, view: View) -> Snapshot | None:
        """The snapshot of a view that counts, whatever state its file is in; None if there is none."""
        note = self._catalog.meta(_key(view))
        return Snapshot(**json.loads(note)) if note else None

    def exists(self, view: View, snapshot: Snapshot) -> bool:
        """Whether the file of a snapshot is there."""
        return self._path(view, snapshot.generation).exists()

    def write(self, view: View, store: VectorStore, last_row: int, last_grave: int) -> Snapshot:
        """Write a store into a file of a new generation. It does not count before `note`."""
        self._directory.mkdir(parents=True, exist_ok=True)
        generation = 1 + max((int(path.stem.split("-")[1]) for path in self._files(view)), default=0)
        path = self._path(view, generation)
        store.save(path)
        return Snapshot(generation, last_row, last_grave, self._dim, self._fingerprint(), checksum(path))

    def note(self, snapshots: Mapping[View, Snapshot | None]) -> None:
        """Make these the snapshots that count, None where a view has none, and remove all other files."""
        if any(self.noted(view) != snapshot for view, snapshot in snapshots.items()):
            notes = {_key(view): json.dumps(asdict(each)) if each else "" for view, each in snapshots.items()}
            self._catalog.writer.set_meta(**notes)
        kept = {self._path(view, each.generation) for view, each in snapshots.items() if each}
        for view in snapshots:
            for path in self._files(view) - kept:
                path.unlink(missing_ok=True)
        for leftover in self._directory.glob(".*.tmp"):
            leftover.unlink(missing_ok=True)

    def _files(self, view: View) -> set[Path]:
        return set(self._directory.glob(f"{view}-*.faiss"))

    def _path(self, view: View, generation: int) -> Path:
        return self._directory / f"{view}-{generation}.faiss"

    def _fingerprint(self) -> str:
        return self._catalog.meta(FINGERPRINT_KEY) or ""


def _key(view: View) -> str:
    return f"snapshot_{view}"
