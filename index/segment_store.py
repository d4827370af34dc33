"""Rows in segments: what a store holds and keeps in files, whatever it is searched by."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from mmsearch.index.durable import unused
from mmsearch.index.exact import check_dim
from mmsearch.index.scan import widen
from mmsearch.index.segments import Segment, joined, settled
from mmsearch.index.vectors import PADDING_ID, Vectors


class SegmentStore:
    """Float16 rows under ids: the very values that the catalogue holds, so nothing is lost."""

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self._segments: list[Segment] = []

    def __len__(self) -> int:
        return sum(map(len, self._segments))

    def add(self, ids: NDArray[np.int64], vectors: Vectors) -> None:
        """Add vectors (N, D) under ids (N,) that are not stored yet. Raises DimensionMismatch."""
        check_dim(vectors, self.dim)
        filed = sum(bool(each.name) for each in self._segments)
        fresh = Segment.of(np.array(ids, np.int64), np.array(vectors, np.float16, order="C"))
        self._segments[filed:] = settled([*self._segments[filed:], fresh])

    def remove(self, ids: NDArray[np.int64]) -> None:
        """Remove the vectors of ids (N,); ids that are not stored are passed over."""
        left = [each.without(ids) for each in self._segments]
        self._segments = [each for each in left if len(each)]

    def get(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """The stored vectors (N, D) of ids (N,); KeyError where one is not stored."""
        found, rows = self._stored(ids)
        if not found.all():
            raise KeyError(int(ids[~found][0]))
        return widen(rows)

    def ids(self) -> NDArray[np.int64]:
        """All stored ids (N,), ascending."""
        return self._ids_after(PADDING_ID)

    def save(self, folder: Path, stem: str) -> list[str]:
        """Write what no file of a folder holds into new ones, STEM-1.rows and so on; the names of all that count."""
        lost = [each for each in self._segments if len(each.gone) or not (folder / each.name).is_file()]
        self._segments = settled([joined([each]) if each in lost else each for each in self._segments])
        for at, segment in enumerate(self._segments):
            if not segment.name:
                self._segments[at] = segment.write(unused(folder, stem, ".rows"))
        return [each.name for each in self._segments]

    @classmethod
    def load(cls, folder: Path, names: Sequence[str]) -> Self:
        """Map what save wrote. The files may be deleted afterwards, but not changed."""
        segments = [Segment.read(folder / name) for name in names]
        dims = {each.vectors.shape[1] for each in segments}
        if len(dims) != 1:
            raise ValueError(f"these files do not belong together: {names}")
        store = cls(dims.pop())
        store._segments = segments
        return store

    def _ids_after(self, last: int) -> NDArray[np.int64]:
        """The stored ids (n,) beyond one, ascending; segments without such are not read."""
        parts = [each.kept_ids() for each in self._segments if len(each.ids) and each.ids[-1] > last]
        # A stable sort passes once over what is in order, as a catalogue gives it.
        ids = np.sort(np.concatenate([np.empty(0, np.int64), *parts]), kind="stable")
        return ids[np.searchsorted(ids, last, side="right") :]

    def _has(self, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of ids (N,) are stored; no row is read."""
        found = np.zeros(len(ids), np.bool_)
        for segment in self._segments:
            found[segment.find(ids)[0]] = True
        return found

    def _stored(self, ids: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.float16]]:
        """Which of ids (N,) are stored, and the rows (N, D) of all, zeros for those that are not."""
        parts = []
        for segment in self._segments:
            mine, places = segment.find(ids)
            if len(mine):
                # By take, which is several times as fast as an index.
                parts.append((mine, segment.vectors.take(places, axis=0)))
            if len(mine) == len(ids):
                return np.ones(len(ids), np.bool_), parts[-1][1] if parts else np.empty((0, self.dim), np.float16)
        found = np.zeros(len(ids), np.bool_)
        rows = np.zeros((len(ids), self.dim), np.float16)
        for mine, some in parts:
            found[mine], rows[mine] = True, some
        return found, rows
