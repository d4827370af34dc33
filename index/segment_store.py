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
from mmsearch.index.table import Table, table_of
from mmsearch.index.vectors import Vectors


class SegmentStore:
    """Float16 rows under ids: the very values that the catalogue holds, so nothing is lost."""

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self._segments: list[Segment] = []
        self._cached: Table | None = None

    def __len__(self) -> int:
        return sum(map(len, self._segments))

    def add(self, ids: NDArray[np.int64], vectors: Vectors) -> None:
        """Add vectors (N, D) under ids (N,) that are not stored yet. Raises DimensionMismatch."""
        check_dim(vectors, self.dim)
        filed = sum(bool(each.name) for each in self._segments)
        fresh = Segment(np.array(ids, np.int64), np.array(vectors, np.float16, order="C"))
        self._segments[filed:] = settled([*self._segments[filed:], fresh])
        self._cached = None

    def remove(self, ids: NDArray[np.int64]) -> None:
        """Remove the vectors of ids (N,); ids that are not stored are passed over."""
        left = [each.without(ids) for each in self._segments]
        self._segments = [each for each in left if len(each)]
        self._cached = None

    def get(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """The stored vectors (N, D) of ids (N,); KeyError where one is not stored."""
        found, places = self._table().find(ids)
        if not found.all():
            raise KeyError(int(ids[~found][0]))
        return widen(self._rows(places))

    def ids(self) -> NDArray[np.int64]:
        """All stored ids (N,), ascending."""
        return self._table().ids.copy()

    def save(self, folder: Path, stem: str) -> list[str]:
        """Write what no file of a folder holds into new ones, STEM-1.rows and so on; the names of all that count."""
        lost = [each for each in self._segments if len(each.gone) or not (folder / each.name).is_file()]
        self._segments = settled([joined([each]) if each in lost else each for each in self._segments])
        for at, segment in enumerate(self._segments):
            if not segment.name:
                self._segments[at] = segment.write(unused(folder, stem, ".rows"))
        self._cached = None
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

    def _table(self) -> Table:
        if self._cached is None:
            self._cached = table_of(self._segments)
        return self._cached

    def _rows(self, places: NDArray[np.int64]) -> NDArray[np.float16]:
        """The rows (N, D) at places (N,)."""
        # By take, which is several times as fast as an index.
        if len(self._segments) == 1:
            return self._segments[0].vectors.take(places, axis=0)
        found = np.empty((len(places), self.dim), np.float16)
        ends = np.cumsum([len(each.ids) for each in self._segments], dtype=np.int64)
        owners = np.searchsorted(ends, places, side="right")
        for owner, segment in enumerate(self._segments):  # not of np.unique, which imports numpy.ma: 10 ms of a query
            mine = owners == owner
            inside = places[mine] - (ends[owner] - len(segment.ids))
            found[mine] = segment.vectors.take(inside, axis=0)
        return found
