"""Segments: runs of rows, in memory or in files that are written once and never changed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from mmsearch.index.ascending import find, is_among
from mmsearch.index.durable import replace_file

# Rows of a file: one that is removed costs writing so many anew, and a search looks into so many at a time.
SEGMENT_ROWS = 1 << 17

# What a file begins with: the form, the number of rows and that of dimensions.
_FORM = int.from_bytes(b"mmrows01", "little")
_HEAD_BYTES = 64


Chunk = tuple[NDArray[np.int64], NDArray[np.float16]]  # ids (n,) and rows (n, D)


def _none() -> NDArray[np.int64]:
    return np.empty(0, np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """Rows under ids, some of which may be gone.

    ids:     (N,) int64, ascending.
    vectors: (N, D) float16, mapped where a file holds them.
    gone:    places of the rows that were removed, ascending.
    name:    of the file that holds ids and vectors; empty where none does.
    """

    ids: NDArray[np.int64]
    vectors: NDArray[np.float16]
    gone: NDArray[np.int64] = field(default_factory=_none)
    name: str = ""

    def __len__(self) -> int:
        return len(self.ids) - len(self.gone)

    @classmethod
    def of(cls, ids: NDArray[np.int64], vectors: NDArray[np.float16]) -> Self:
        """A segment in memory of ids (N,) in any order with their rows (N, D), of which it may keep the arrays."""
        if np.all(ids[1:] > ids[:-1]):  # as a catalogue gives them
            return cls(ids, vectors)
        order = np.argsort(ids)
        return cls(ids[order], vectors[order])

    def find(self, ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Which of ids (M,), in any order, are there: their places among them, (n,), and in the segment, (n,)."""
        if not len(self.ids):
            return _none(), _none()
        near = np.flatnonzero((ids >= self.ids[0]) & (ids <= self.ids[-1]))
        there, places = find(self.ids, ids[near])
        if len(self.gone):
            there &= ~is_among(places, self.gone)
        return (near, places) if there.all() else (near[there], places[there])

    def kept(self) -> NDArray[np.int64]:
        """The places of the rows that are there, ascending."""
        return np.delete(np.arange(len(self.ids)), self.gone)

    def kept_ids(self) -> NDArray[np.int64]:
        """The ids of the rows that are there, in their order."""
        return np.delete(self.ids, self.gone) if len(self.gone) else self.ids

    def kept_rows(self) -> Chunk:
        """The rows that are there, with their ids."""
        return self.kept_ids(), self.vectors[self.kept()] if len(self.gone) else self.vectors

    def without(self, ids: NDArray[np.int64]) -> Self:
        """This segment less the rows of ids (M,)."""
        gone = np.union1d(self.gone, np.flatnonzero(np.isin(self.ids, ids)))
        return self if len(gone) == len(self.gone) else replace(self, gone=gone)

    def write(self, path: Path) -> Self:
        """Put the rows into a file, and give the segment that is mapped from it."""
        replace_file(path, self._fill)
        return self.read(path)

    def _fill(self, file: BinaryIO) -> None:
        head = np.zeros(_HEAD_BYTES // 8, "<i8")
        head[:3] = _FORM, len(self.ids), self.vectors.shape[1]
        for part in (head, self.ids.astype("<i8", copy=False), self.vectors.astype("<f2", copy=False)):
            file.write(np.ascontiguousarray(part).data.cast("B") if part.size else b"")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Map what write put there. ValueError where it is something else, OSError where it cannot be read."""
        with path.open("rb") as file:
            head = np.frombuffer(file.read(_HEAD_BYTES), "<i8")
        if len(head) != _HEAD_BYTES // 8 or head[0] != _FORM:
            raise ValueError(f"{path} is no segment")
        count, dim = int(head[1]), int(head[2])
        if path.stat().st_size != _HEAD_BYTES + count * (8 + 2 * dim):
            raise ValueError(f"{path} is cut short")
        if not count:
            return cls(_none(), np.empty((0, dim), np.float16), name=path.name)
        mapped = np.memmap(path, np.uint8, "r")
        ids, vectors = np.split(np.asarray(mapped[_HEAD_BYTES:]), [8 * count])
        return cls(ids.view("<i8"), vectors.view("<f2").reshape(count, dim), name=path.name)


def joined(segments: list[Segment]) -> Segment:
    """One segment in memory of the rows of several that are there."""
    return Segment.of(
        np.concatenate([each.kept_ids() for each in segments]),
        np.concatenate([each.kept_rows()[1] for each in segments]),
    )


def settled(segments: list[Segment]) -> list[Segment]:
    """The same rows in fewer segments: a short one takes in those before it that are not twice as long.

    So a row is copied some log N times, and the number of segments that are not full grows as slowly.
    """
    done: list[Segment] = []
    for segment in segments:
        taken = [segment]
        size = len(segment)
        while done and len(done[-1]) <= 2 * size and size + len(done[-1]) <= SEGMENT_ROWS:
            size += len(done[-1])
            taken.insert(0, done.pop())
        if size:
            done.append(joined(taken) if len(taken) > 1 else segment)
    return done
