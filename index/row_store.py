"""The store that a library uses: float16 rows, mapped from files that are only added and removed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from mmsearch.index.durable import unused
from mmsearch.index.exact import best, check_dim, cosines, stack
from mmsearch.index.scan import products, widen
from mmsearch.index.segments import Segment, joined, settled
from mmsearch.index.vectors import PADDING_ID, PADDING_SCORE, Neighbours, Vectors

# Scores closer than this may be ties: BLAS and FAISS add up in another order than `cosines`.
ROUNDING = 1e-5

# Scores that a scan holds at a time: 64 MB of them.
_HELD_SCORES = 1 << 24


# How many more than k a coarse index is asked for at first.
_MARGIN = 32

_Ranked = tuple[NDArray[np.int64], NDArray[np.float32]]  # ids and scores, best first, at most k of each


class _Table(NamedTuple):
    """Where each row is. A place counts the rows of all segments, those that are gone as well.

    stored: (M,) the id at each place, PADDING_ID where the row is gone.
    ids:    (N,) those that are there, ascending.
    places: (N,) of ids; None where they are 0 to N - 1.
    """

    stored: NDArray[np.int64]
    ids: NDArray[np.int64]
    places: NDArray[np.int64] | None

    def find(self, ids: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Which of ids (M,) are there, and the places of those that are."""
        at = np.searchsorted(self.ids, ids)
        found = at < len(self.ids)
        found[found] = self.ids[at[found]] == ids[found]
        return found, at[found] if self.places is None else self.places[at[found]]


class RowStore:
    """Float16 rows in segments: the very values that the catalogue holds, so nothing is lost.

    A coarse index, or a scan of all rows in whatever order BLAS adds up, names more rows than are asked for. These are
    scored in float32 and sorted by the convention, so that the answers are those of ExactStore on the same values. A
    loaded store stays on the disk until it is searched.
    """

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self._segments: list[Segment] = []
        self._cached: _Table | None = None

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
        self._segments = [each.without(ids) for each in self._segments]
        self._cached = None

    def search(self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.int64] | None = None) -> Neighbours:
        """The k best of all stored vectors, or of those whose id is in allowed (M,), for queries (Q, D)."""
        check_dim(queries, self.dim)
        queries = np.ascontiguousarray(queries, np.float32)
        found = self._by_coarse(queries, k, allowed)
        left = [at for at, each in enumerate(found) if each is None]
        for at, ids in zip(left, self._scanned(queries[left], k, allowed), strict=True):
            found[at] = self._rank(queries[at], ids, k)
        return stack([each for each in found if each is not None], k)

    def _nearest(
        self, queries: NDArray[np.float32], count: int, allowed: NDArray[np.int64] | None
    ) -> tuple[Neighbours, float] | None:
        """At least count ids with the best scores of a coarse index, and how much less than a cosine a score may be.

        The latter is -inf where nothing is known of it. None where the rows themselves are to be scanned.
        """
        return None

    def _by_coarse(
        self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.int64] | None
    ) -> list[_Ranked | None]:
        """The k best of each query, where a coarse index names them and those that tie with the last of them."""
        done: list[_Ranked | None] = [None] * len(queries)
        left, count = list(range(len(queries))), k + _MARGIN
        while left and (found := self._nearest(queries[left], count, allowed)):
            near, error = found
            for at, ids in zip(left, near.ids, strict=True):
                done[at] = self._rank(queries[at], ids[ids != PADDING_ID], k)
            # What is not named scores at most as much as the last that is, and a list that is not full names all.
            last = near.scores[:, -1]
            left = [
                at
                for at, score in zip(left, last.tolist(), strict=True)
                if score > PADDING_SCORE and score + error >= _last(done[at], k)
            ]
            count *= 4
        for at in left:
            done[at] = None
        return done

    def _scanned(
        self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.int64] | None
    ) -> Iterator[NDArray[np.int64]]:
        """For each query ids (M,) among which are its k best and all that tie with the last of them."""
        if allowed is None:
            stored, rows = self._table().stored, [each.vectors for each in self._segments]
        else:
            _, places = self._table().find(np.unique(allowed))
            stored, rows = self._table().stored[places], [self._rows(places)]
        gone = np.flatnonzero(stored == PADDING_ID)
        for scores in _scores(queries, rows):
            scores[gone] = PADDING_SCORE
            ids = stored[_near(scores, k)]
            yield ids[ids != PADDING_ID]

    def _rank(self, query: NDArray[np.float32], ids: NDArray[np.int64], k: int) -> _Ranked:
        return best(ids, cosines(self.get(ids), query), k)

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

    def close(self) -> None:
        """Give back what is held beside the vectors."""
        self._cached = None

    def _table(self) -> _Table:
        if self._cached is None:
            self._cached = _table(self._segments)
        return self._cached

    def _rows(self, places: NDArray[np.int64]) -> NDArray[np.float16]:
        """The rows (N, D) at places (N,)."""
        found = np.empty((len(places), self.dim), np.float16)
        ends = np.cumsum([len(each.ids) for each in self._segments], dtype=np.int64)
        owners = np.searchsorted(ends, places, side="right")
        for owner in np.unique(owners):
            mine = owners == owner
            segment = self._segments[owner]
            found[mine] = segment.vectors[places[mine] - (ends[owner] - len(segment.ids))]
        return found


def _table(segments: Sequence[Segment]) -> _Table:
    stored = np.concatenate([np.empty(0, np.int64), *(each.ids for each in segments)])
    starts = np.cumsum([0, *(len(each.ids) for each in segments)])
    for segment, start in zip(segments, starts, strict=False):
        stored[start + segment.gone] = PADDING_ID
    if stored.size and stored[0] != PADDING_ID and np.all(stored[1:] > stored[:-1]):  # as a catalogue gives them
        return _Table(stored, stored, None)
    places = np.flatnonzero(stored != PADDING_ID)
    places = places[np.argsort(stored[places])]
    return _Table(stored, stored[places], places)


def _scores(queries: NDArray[np.float32], rows: Sequence[NDArray[np.float16]]) -> Iterator[NDArray[np.float32]]:
    """The products (N,) of each query with all rows."""
    step = max(1, _HELD_SCORES // max(sum(map(len, rows)), 1))
    for start in range(0, len(queries), step):
        part = queries[start : start + step]
        yield from np.concatenate([np.empty((len(part), 0), np.float32), *(products(part, each) for each in rows)], 1)


def _near(scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Places of the k best of scores (N,), and of all that may tie with the last of them."""
    if k >= len(scores):
        return np.arange(len(scores))
    last = np.partition(scores, len(scores) - k)[len(scores) - k]
    return np.flatnonzero(scores >= last - 2 * ROUNDING)


def _last(ranked: _Ranked | None, k: int) -> float:
    """The k-th score; -inf where there are fewer."""
    return float(ranked[1][k - 1]) if ranked and len(ranked[1]) >= k else PADDING_SCORE
