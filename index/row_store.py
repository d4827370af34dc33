"""The store that a library uses: float16 rows, mapped from files that are only added and removed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from mmsearch.index.choice import SCANNED_VALUES, Choice, Form, choose
from mmsearch.index.durable import unused
from mmsearch.index.exact import best, check_dim, cosines, stack
from mmsearch.index.lists import FEWEST_LISTED, TRIED_K, Lists, first_count
from mmsearch.index.scan import products, widen
from mmsearch.index.segments import Chunk, Segment, joined, settled
from mmsearch.index.table import Table, table_of
from mmsearch.index.vectors import PADDING_ID, PADDING_SCORE, ROUNDING, Coarse, Neighbours, Vectors, best_of

# Scores of one segment that a scan holds at a time: 64 MB of them.
_HELD_SCORES = 1 << 24

# Codes are made when scans have cost as much: to import FAISS, and so much for each value. A process that asks one
# query does not pay for what serves thousands.
_IMPORT_VALUES = 250_000_000
_CODING_SCANS = 4

# Lists are made anew when there are so many times as many rows as they were trained on; so many rows are searched
# beside them before they are put into them, and so many queries they are calibrated on.
_OUTGROWN = 2
_LONGEST_TAIL = 20_000
_CALIBRATED_ON = 128
_LISTS_SUFFIX = ".lists"

# A share of the rows below which reading them beats passing over the others.
_FEW = 1 / 16

_NOTHING = (np.empty(0, np.int64), np.empty(0, np.float32))

_Ranked = tuple[NDArray[np.int64], NDArray[np.float32]]  # ids and scores, best first, at most k of each


class RowStore:
    """Float16 rows in segments: the very values that the catalogue holds, so nothing is lost.

    A coarse index, or a scan of all rows in whatever order BLAS adds up, names more rows than are asked for. These are
    scored in float32 and sorted by the convention, so that the answers are those of ExactStore on the same values. A
    loaded store stays on the disk until it is searched.
    """

    form: ClassVar[Form | None] = None  # None: as `choose` says

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self._segments: list[Segment] = []
        self._cached: Table | None = None
        self._coarse: Coarse | None = None
        self._tail: list[NDArray[np.int64]] = []  # ids that the coarse index lacks
        self._scanned_values = 0
        self._lists_name = ""  # of the file that holds the coarse index, where that is Lists
        self._buried: list[NDArray[np.int64]] = []  # ids of removed rows, which that file still knows

    def __len__(self) -> int:
        return sum(map(len, self._segments))

    def add(self, ids: NDArray[np.int64], vectors: Vectors) -> None:
        """Add vectors (N, D) under ids (N,) that are not stored yet. Raises DimensionMismatch."""
        check_dim(vectors, self.dim)
        filed = sum(bool(each.name) for each in self._segments)
        fresh = Segment(np.array(ids, np.int64), np.array(vectors, np.float16, order="C"))
        self._segments[filed:] = settled([*self._segments[filed:], fresh])
        if self._coarse is not None:
            self._tail.append(fresh.ids)
        self._cached = None

    def remove(self, ids: NDArray[np.int64]) -> None:
        """Remove the vectors of ids (N,); ids that are not stored are passed over."""
        if isinstance(self._coarse, Lists):
            self._buried.append(ids[self._table().find(ids)[0]])
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
    ) -> tuple[Neighbours, NDArray[np.float32]] | None:
        """What Coarse.nearest gives, of all that is stored; None where the rows themselves are to be scanned."""
        if allowed is not None and len(allowed) < _FEW * len(self):
            return None
        coarse = self._at_hand(len(queries))
        if coarse is None:
            return None
        near, errors = coarse.nearest(queries, count, allowed)
        fresh = np.concatenate([*self._tail, np.empty(0, np.int64)])
        if allowed is not None:
            fresh = fresh[np.isin(fresh, allowed)]
        found, places = self._table().find(fresh)
        scores = products(queries, self._rows(places))
        ids = np.broadcast_to(fresh[found], scores.shape)
        return best_of([near, Neighbours(ids, scores)], max(count, near.ids.shape[1])), errors

    def _at_hand(self, queries: int) -> Coarse | None:
        """The coarse index, if one is made or worth making for so many queries."""
        if isinstance(self._coarse, Lists):
            if sum(map(len, self._tail)) > _LONGEST_TAIL:
                self._extend(self._coarse)
        elif sum(map(len, self._tail)) > max(_FEW * len(self), SCANNED_VALUES // self.dim):
            self.close()
        values = len(self) * self.dim
        if self._coarse is None and len(self) and self.choice.form != "scan":
            self._scanned_values += queries * values
            if self.form or self._scanned_values > _IMPORT_VALUES + _CODING_SCANS * values:
                self._make_codes()
        return self._coarse

    def _make_codes(self) -> None:
        from mmsearch.index.codes import Codes  # which imports FAISS

        self._coarse, self._tail = Codes(self.dim, [each.kept_rows() for each in self._segments]), []

    @property
    def choice(self) -> Choice:
        """By what so many rows are searched, and why."""
        return choose(len(self), self.dim, self.form)

    def plan(self) -> str:
        """By what a search goes, and why."""
        if isinstance(self._coarse, Lists):
            return f"{self.choice}; {self._coarse.found}"
        if self.choice.form == "lists":
            return f"codes ({len(self)} rows; the next `mmsearch index` makes lists if there are {FEWEST_LISTED})"
        return str(self.choice)

    def prepare(self, questions: Callable[[], Vectors]) -> None:
        """Make lists, or take into them what was added, where many rows are searched by them.

        questions: unit rows (B, D) like those that will be asked, on which they are calibrated.
        """
        if self.choice.form != "lists" or len(self) < FEWEST_LISTED:
            if isinstance(self._coarse, Lists):
                self.close()
            return
        lists = self._coarse
        if not isinstance(lists, Lists) or len(self) > _OUTGROWN * lists.found.trained_rows:
            self._make_lists(np.asarray(questions()[:_CALIBRATED_ON], np.float32))
            return
        tail = np.concatenate([*self._tail, np.empty(0, np.int64)])
        if len(tail) > _LONGEST_TAIL or np.any(tail <= lists.found.last_id):
            self._extend(lists)
        if any(map(len, self._buried)):
            lists.remove(np.concatenate(self._buried))
            self._buried, self._lists_name = [], ""

    def _make_lists(self, questions: NDArray[np.float32]) -> None:
        self.close()
        lists = Lists.made(self.dim, len(self), self.ids(), lambda ids: self._rows(self._table().find(ids)[1]))
        for each in self._segments:
            lists.add(*each.kept_rows())
        named = zip(questions, self._scanned(questions, TRIED_K, None), strict=True)
        lists.calibrate(questions, stack([self._rank(each, ids, TRIED_K) for each, ids in named], TRIED_K).ids)
        self._coarse, self._tail, self._buried, self._lists_name = lists, [], [], ""

    def _extend(self, lists: Lists) -> None:
        ids = np.sort(np.concatenate(self._tail))
        found, places = self._table().find(ids)
        lists.add(ids[found], self._rows(places))
        self._tail, self._lists_name = [], ""

    def _by_coarse(
        self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.int64] | None
    ) -> list[_Ranked | None]:
        """The k best of each query, where a coarse index names them and those that tie with the last of them."""
        done: list[_Ranked | None] = [None] * len(queries)
        left, count = list(range(len(queries))), first_count(k)
        while left and (found := self._nearest(queries[left], count, allowed)):
            near, errors = found
            for at, ids in zip(left, near.ids, strict=True):
                done[at] = self._rank(queries[at], self._there(ids), k)
            # What is not named has at most this cosine; a list that is not full names all.
            most = near.scores[:, -1] + errors if near.ids.shape[1] >= count else np.full(len(left), PADDING_SCORE)
            left = [
                at
                for at, score in zip(left, most.tolist(), strict=True)
                if score > PADDING_SCORE and score >= _last(done[at], k)
            ]
            count *= 4
        for at in left:
            done[at] = None
        return done

    def _there(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of ids (M,) that are stored, ascending."""
        ids = np.unique(ids)
        found, _ = self._table().find(ids)
        return ids[found]

    def _scanned(
        self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.int64] | None
    ) -> Iterator[NDArray[np.int64]]:
        """For each query ids (M,) among which are its k best and all that tie with the last of them."""
        near: list[list[tuple[NDArray[np.int64], NDArray[np.float32]]]] = [[] for _ in queries]
        for stored, rows in self._parts(allowed):
            step = max(1, _HELD_SCORES // max(len(rows), 1))
            for start in range(0, len(queries), step):
                part = products(queries[start : start + step], rows)
                part[:, stored == PADDING_ID] = PADDING_SCORE
                for at, scores in enumerate(part, start):
                    chosen = _near(scores, k)
                    near[at].append((stored[chosen], scores[chosen]))
        for found in near:
            ids, best_scores = (np.concatenate(each) for each in zip(_NOTHING, *found, strict=True))
            named = ids[_near(best_scores, k)]
            yield named[named != PADDING_ID]

    def _parts(self, allowed: NDArray[np.int64] | None) -> Iterator[Chunk]:
        """All rows with their ids, PADDING_ID for one that is gone, a segment at a time; or those of allowed (M,)."""
        if allowed is not None:
            _, places = self._table().find(np.unique(allowed))
            yield self._table().stored[places], self._rows(places)
            return
        start = 0
        for segment in self._segments:
            yield self._table().stored[start : start + len(segment.ids)], segment.vectors
            start += len(segment.ids)

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
        names = [each.name for each in self._segments]
        if not isinstance(self._coarse, Lists):
            return names
        if not (folder / self._lists_name).is_file():
            path = unused(folder, stem, _LISTS_SUFFIX)
            self._coarse.write(path)
            self._lists_name = path.name
        return [*names, self._lists_name]

    @classmethod
    def load(cls, folder: Path, names: Sequence[str]) -> Self:
        """Map what save wrote. The files may be deleted afterwards, but not changed."""
        segments = [Segment.read(folder / name) for name in names if not name.endswith(_LISTS_SUFFIX)]
        dims = {each.vectors.shape[1] for each in segments}
        if len(dims) != 1:
            raise ValueError(f"these files do not belong together: {names}")
        store = cls(dims.pop())
        store._segments = segments
        for name in names[len(segments) :]:
            store._coarse, store._lists_name = Lists.read(folder / name), name
            ids = store._table().ids
            store._tail = [ids[ids > store._coarse.found.last_id]]
        return store

    def close(self) -> None:
        """Give back what is held beside the vectors."""
        self._cached = None
        if self._coarse is not None:
            self._coarse.close()
        self._coarse, self._tail, self._scanned_values = None, [], 0
        self._lists_name = ""

    def _table(self) -> Table:
        if self._cached is None:
            self._cached = table_of(self._segments)
        return self._cached

    def _rows(self, places: NDArray[np.int64]) -> NDArray[np.float16]:
        """The rows (N, D) at places (N,)."""
        found = np.empty((len(places), self.dim), np.float16)
        ends = np.cumsum([len(each.ids) for each in self._segments], dtype=np.int64)
        owners = np.searchsorted(ends, places, side="right")
        for owner, segment in enumerate(self._segments):  # not of np.unique, which imports numpy.ma: 10 ms of a query
            mine = owners == owner
            found[mine] = segment.vectors[places[mine] - (ends[owner] - len(segment.ids))]
        return found


def _near(scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Places of the k best of scores (N,), and of all that may tie with the last of them."""
    if k >= len(scores):
        return np.arange(len(scores))
    last = np.partition(scores, len(scores) - k)[len(scores) - k]
    return np.flatnonzero(scores >= last - 2 * ROUNDING)


def _last(ranked: _Ranked | None, k: int) -> float:
    """The k-th score; -inf where there are fewer."""
    return float(ranked[1][k - 1]) if ranked and len(ranked[1]) >= k else PADDING_SCORE
