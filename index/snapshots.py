"""Stores on disk: files that are written once, and a note in the catalogue of which of a view's count.

The note lies in the catalogue and not beside the file, so that a catalogue restored from a backup never
takes a newer snapshot for its own: its row ids may mean other vectors by now.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from mmsearch.index.durable import checksum, numbered
from mmsearch.index.items import View
from mmsearch.index.reader import Reader
from mmsearch.index.rows import GravesGone
from mmsearch.index.vectors import VectorStore

# The key under which the library notes which model made its vectors.
FINGERPRINT_KEY = "fingerprint"


class SnapshotUnusable(Exception):
    """Why a snapshot does not count. What it should hold is then derived from the catalogue."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """What the catalogue notes of a file. crc: CRC-32 of its bytes."""

    name: str
    crc: int
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the catalogue notes of a view's store.

    files:      those that hold it.
    last_row:   the greatest row id that the store has seen.
    last_grave: the number of the last removal that it has seen.
    """

    files: tuple[StoredFile, ...]
    last_row: int
    last_grave: int
    dim: int
    fingerprint: str


class Snapshots:
    """The snapshots of a catalogue's views, in a folder of their own."""

    def __init__(self, catalog: Reader, directory: Path, dim: int, store_class: type[VectorStore]) -> None:
        self._catalog = catalog
        self._directory = directory
        self._dim = dim
        self._store_class = store_class

    def load(self, view: View, *, is_read_whole: bool = False) -> tuple[Snapshot, VectorStore]:
        """The snapshot of a view that counts, and its store. Raises SnapshotUnusable.

        is_read_whole: look for damage in files whose time of change is the one that was noted, too.
        """
        snapshot = self.noted(view)
        if snapshot is None:
            raise SnapshotUnusable("there is none")
        if not self._is_of_the_model(snapshot):
            raise SnapshotUnusable("it was made with another model")
        if snapshot.last_grave < self._catalog.graves_floor():
            raise SnapshotUnusable("it has missed removals")
        path = self._directory
        try:
            for file in snapshot.files:
                path = self._directory / file.name
                if (is_read_whole or not _is_untouched(path, file)) and checksum(path) != file.crc:
                    raise SnapshotUnusable(f"{path} is damaged")
            return snapshot, self._store_class.load(self._directory, [file.name for file in snapshot.files])
        except OSError as error:
            raise SnapshotUnusable(f"{path} cannot be read: {error.strerror}") from error
        except (RuntimeError, ValueError) as error:  # the checksum fits, but it was written wrong
            raise SnapshotUnusable(f"{path} holds no vectors") from error

    def noted(self, view: View) -> Snapshot | None:
        """The snapshot of a view that counts, whatever state its files are in; None if there is none."""
        note = json.loads(self._catalog.meta(_key(view)) or "{}")
        if "files" not in note:  # none, or one of a version that kept each view in one file
            return None
        return Snapshot(**note | {"files": tuple(StoredFile(**file) for file in note["files"])})

    def exists(self, snapshot: Snapshot) -> bool:
        """Whether the files of a snapshot are there."""
        return all((self._directory / file.name).exists() for file in snapshot.files)

    def level(self, view: View) -> Snapshot | None:
        """The snapshot that counts, if by its numbers and its files' times it holds just what the catalogue does."""
        noted = self.noted(view)
        if noted is None or not self._is_of_the_model(noted):
            return None
        try:
            if not all(_is_untouched(self._directory / file.name, file) for file in noted.files):
                return None
            buried, last_grave = self._catalog.graves_after(view, noted.last_grave)
        except (FileNotFoundError, GravesGone):
            return None
        added, _ = self._catalog.rows_after(view, noted.last_row, 1)
        # Removals in other views leave the files as they are, but they have seen them.
        return None if len(added) or len(buried) else replace(noted, last_grave=last_grave)

    def spill(self, view: View, store: VectorStore) -> list[str]:
        """Put what no file holds of a store into files, which do not count yet; the names of all that hold it."""
        self._directory.mkdir(parents=True, exist_ok=True)
        return store.save(self._directory, view)

    def write(self, view: View, store: VectorStore, last_row: int, last_grave: int) -> Snapshot:
        """Write what no file holds of a store. The snapshot does not count before `note`."""
        before = self.noted(view)
        known = {file.name: file for file in before.files} if before else {}
        files = tuple(self._described(name, known.get(name)) for name in self.spill(view, store))
        return Snapshot(files, last_row, last_grave, self._dim, self._fingerprint())

    def note(self, snapshots: Mapping[View, Snapshot | None]) -> None:
        """Make these the snapshots that count, None where a view has none, and remove all other files."""
        if any(self.noted(view) != snapshot for view, snapshot in snapshots.items()):
            notes = {_key(view): json.dumps(asdict(each)) if each else "" for view, each in snapshots.items()}
            self._catalog.writer.set_meta(**notes)
        kept = {file.name for each in snapshots.values() if each for file in each.files}
        for view in snapshots:
            for path in numbered(self._directory, view):
                if path.name not in kept:
                    path.unlink(missing_ok=True)
        for leftover in self._directory.glob(".*.tmp"):
            leftover.unlink(missing_ok=True)

    def _described(self, name: str, known: StoredFile | None) -> StoredFile:
        path = self._directory / name
        if known is not None and _is_untouched(path, known):
            return known
        status = path.stat()
        return StoredFile(name, checksum(path), status.st_size, status.st_mtime_ns)

    def _is_of_the_model(self, snapshot: Snapshot) -> bool:
        return (snapshot.dim, snapshot.fingerprint) == (self._dim, self._fingerprint())

    def _fingerprint(self) -> str:
        return self._catalog.meta(FINGERPRINT_KEY) or ""


def _is_untouched(path: Path, file: StoredFile) -> bool:
    """Whether a file is by size and time the one that was written: reading it whole takes longer than a search."""
    status = path.stat()
    return (status.st_size, status.st_mtime_ns) == (file.size_bytes, file.mtime_ns)


def _key(view: View) -> str:
    return f"snapshot_{view}"
