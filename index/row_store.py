"""The store that a library uses: rows in segments, and what a search of them goes by."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from mmsearch.index.choice import SCANNED_VALUES, Choice, Form, choose
from mmsearch.index.durable import unused
from mmsearch.index.exact import best, best_of_each, check_dim, cosines, stack
from mmsearch.index.lists import FEWEST_LISTED, TRIED_K, Lists, first_count
from mmsearch.index.scan import products, widen
from mmsearch.index.segment_store import SegmentStore
from mmsearch.index.segments import Chunk
from mmsearch.index.vectors import PADDING_ID, PADDING_SCORE, ROUNDING, Coarse, Named, Neighbours, Vectors, best_of

# Scores of one segment that a search holds at a time: 64 MB of them.
_HELD_VALUES = 1 << 24

# So many named rows are scored at first, beside half as many again as are asked for.
_FIRST = 24

# Widened values of named rows that stay in a core's cache until they are scored.
_RANKED_VALUES = 1 << 19

# Codes are made when scans have cost as much: to import FAISS, and so much for each value. A process that asks one
# query does not pay for what serves thousands.
_IMPORT_VALUES = 250_000_000
_CODING_SCANS = 12

# Lists are made anew when there are so many times as many rows as they were trained on; so many rows are searched
# beside them before they are put into them, and so many queries they are calibrated on.
_OUTGROWN = 2
_LONGEST_TAIL = 20_000
_CALIBRATED_ON = 128
_LISTS_SUFFIX = ".lists"

# A share of the rows below which reading them beats passing over the others.
_FEW = 1 / 16

_NOTHING = (np.empty(0, np.int64), np.empty(0, np.float32))


class RowStore(SegmentStore):
    """Rows of which more than are asked for are named, by a coarse index or a scan, and these scored exactly.

    They are scored in float32 and sorted by the convention, so that the answers are those of ExactStore on the same
    values, save where lists miss a row, or, hardly ever, codes do. A loaded store stays on the disk until it is
    searched.
    """

    form: ClassVar[Form | None] = None  # None: as `choose` says

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self._coarse: Coarse | None = None
        self._tail: list[NDArray[np.int64]] = []  # ids that the coarse index lacks
        self._scanned_values = 0
        self._lists_name = ""  # of the file that holds the coarse index, where that is Lists
        self._buried: list[NDArray[np.int64]] = []  # ids of removed rows, which that file still knows

    def add(self, ids: NDArray[np.int64], vectors: Vectors) -> None:
        """Add vectors (N, D) under ids (N,) that are not stored yet. Raises DimensionMismatch."""
        super().add(ids, vectors)
        if self._coarse is not None:
            self._tail.append(np.array(ids, np.int64))

    def remove(self, ids: NDArray[np.int64]) -> None:
        """Remove the vectors of ids (N,); ids that are not stored are passed over."""
        if isinstance(self._coarse, Lists):
            self._buried.append(ids[self._has(ids)])
        super().remove(ids)

    def search(self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.int64] | None = None) -> Neighbours:
        """The k best of all stored vectors, or of those whose id is in allowed (M,), for queries (Q, D)."""
        check_dim(queries, self.dim)
        queries = np.ascontiguousarray(queries, np.float32)
        found, left = self._by_coarse(queries, k, allowed)
        if len(left):
            scanned = self._scanned(queries[left], k, allowed)
            found.ids[left], found.scores[left] = scanned.ids, scanned.scores
        return found

    def _nearest(self, queries: NDArray[np.float32], count: int, allowed: NDArray[np.int64] | None) -> Named | None:
        """At least count rows by the coarse index; None where the rows themselves are to be scanned."""
        if allowed is not None and len(allowed) < _FEW * len(self):
            return None
        coarse = self._at_hand(len(queries))
        if coarse is None:
            return None
        count = max(count, coarse.fewest)
        named = Named.of(*coarse.nearest(queries, count, allowed), count)
        if not self._tail:
            return named
        tail = np.concatenate(self._tail)
        named.ids[np.isin(named.ids, tail)] = PADDING_ID  # removed once, and added again
        return named.beside(self._best_of(tail, queries, count, allowed))

    def _best_of(
        self, ids: NDArray[np.int64], queries: NDArray[np.float32], count: int, allowed: NDArray[np.int64] | None
    ) -> Named:
        """The count best of some ids (M,), those that are stored and allowed, by a scan."""
        if allowed is not None:
            ids = ids[np.isin(ids, allowed)]
        found, rows = self._stored(ids)
        scores = products(queries, rows[found])
        there = Neighbours(np.broadcast_to(ids[found], scores.shape), scores)
        return Named.of(best_of([there], count), np.float32(ROUNDING), count)

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
        lists = Lists.made(self.dim, len(self), self.ids(), lambda ids: self._stored(ids)[1])
        for each in self._segments:
            lists.add(*each.kept_rows())
        lists.calibrate(questions, self._scanned(questions, TRIED_K, None).ids)
        self._coarse, self._tail, self._buried, self._lists_name = lists, [], [], ""

    def _extend(self, lists: Lists) -> None:
        ids = np.sort(np.concatenate(self._tail))
        found, rows = self._stored(ids)
        lists.add(ids[found], rows[found])
        self._tail, self._lists_name = [], ""

    def _by_coarse(
        self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.int64] | None
    ) -> tuple[Neighbours, NDArray[np.int64]]:
        """The k best of each query, where a coarse index names them and those that tie with the last of them.

        And the places of the queries where it does not.
        """
        done, left, count = Neighbours.none(len(queries), k), np.arange(len(queries)), first_count(k)
        while len(left) and (named := self._nearest(queries[left], count, allowed)):
            ranked = self._ranked(queries[left], named, k)
            done.ids[left], done.scores[left] = ranked.ids, ranked.scores
            left = left[(named.most > PADDING_SCORE) & (named.most >= _last(ranked))]
            count *= 4
        # Lists may name too few: those that are looked into are short, or all codes are alike.
        short = (done.ids[:, : min(k, len(self))] == PADDING_ID).any(axis=1)
        short[left] = True
        return done, np.flatnonzero(short)

    def _ranked(self, queries: NDArray[np.float32], named: Named, k: int) -> Neighbours:
        """The k best for each query of the rows that are named, those that are not stored left out.

        What fits into a core's cache is scored at once. Of more, most of the k best are among the first of each query;
        of the others only those are scored that may reach the last of these.
        """
        done = Neighbours.none(len(queries), k)
        count = named.ids.shape[1]
        is_little = named.ids.size * self.dim <= _RANKED_VALUES
        first = count if is_little or np.isposinf(named.reach).any() else min(count, k + k // 2 + _FIRST)
        for some in self._steps(np.full(len(queries), first)):
            found = self._scored(queries[some], named.ids[some, :first], k)
            done.ids[some], done.scores[some] = found.ids, found.scores
        may_be = (named.reach >= _last(done)[:, None]).sum(axis=1)
        for some in self._steps(np.where(may_be > first, may_be, 0)):
            more = self._scored(queries[some], named.ids[some, first : may_be[some].max()], k)
            ids = np.concatenate([done.ids[some], more.ids], axis=1)
            found = best_of_each(ids, np.concatenate([done.scores[some], more.scores], axis=1), k)
            done.ids[some], done.scores[some] = found.ids, found.scores
        return done

    def _steps(self, rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
        """The places (n,) of the queries that have rows (Q,) to be scored, so many at a time as a core's cache holds.

        Those with about as many rows come together.
        """
        order = np.argsort(rows, kind="stable")
        order = order[rows[order] > 0]
        while len(order):
            size = max(1, _RANKED_VALUES // max(int(rows[order[-1]]) * self.dim, 1))
            yield order[-size:]
            order = order[:-size]

    def _scored(self, queries: NDArray[np.float32], ids: NDArray[np.int64], k: int) -> Neighbours:
        """The k best for each query of its ids (Q, M), those that are not stored left out."""
        ids = np.sort(ids, axis=1)  # what lies together is read together
        found, rows = self._stored(ids.ravel())
        scores = cosines(widen(rows).reshape(*ids.shape, self.dim), queries)
        scores[~found.reshape(ids.shape)] = PADDING_SCORE
        return best_of_each(ids, scores, k)

    def _scanned(self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.int64] | None) -> Neighbours:
        """The k best of each query, by a scan of all rows."""
        named = zip(queries, self._near(queries, k, allowed), strict=True)
        return stack([best(ids, cosines(self.get(ids), query), k) for query, ids in named], k)

    def _near(
        self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.int64] | None
    ) -> Iterator[NDArray[np.int64]]:
        """For each query ids (M,) among which are its k best and all that tie with the last of them."""
        near: list[list[tuple[NDArray[np.int64], NDArray[np.float32]]]] = [[] for _ in queries]
        for stored, rows in self._parts(allowed):
            step = max(1, _HELD_VALUES // max(len(rows), 1))
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
            ids = np.unique(allowed)
            found, rows = self._stored(ids)
            yield ids[found], rows[found]
            return
        for segment in self._segments:
            ids = segment.ids
            if len(segment.gone):
                ids = ids.copy()
                ids[segment.gone] = PADDING_ID
            yield ids, segment.vectors

    def save(self, folder: Path, stem: str) -> list[str]:
        """Write what no file of a folder holds into new ones, STEM-N; the names of all that count, lists last."""
        names = super().save(folder, stem)
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
        store = super().load(folder, [name for name in names if not name.endswith(_LISTS_SUFFIX)])
        for name in names[len(store._segments) :]:
            store._coarse, store._lists_name = Lists.read(folder / name), name
            if len(added := store._ids_after(store._coarse.found.last_id)):
                store._tail = [added]
        return store

    def close(self) -> None:
        """Give back what is held beside the vectors."""
        if self._coarse is not None:
            self._coarse.close()
        self._coarse, self._tail, self._scanned_values = None, [], 0
        self._lists_name = ""


def _near(scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Places of the k best of scores (N,), and of all that may tie with the last of them."""
    if k >= len(scores):
        return np.arange(len(scores))
    last = np.partition(scores, len(scores) - k)[len(scores) - k]
    return np.flatnonzero(scores >= last - 2 * ROUNDING)


def _last(found: Neighbours) -> NDArray[np.float32]:
    """The last score (Q,) of each query; -inf where it is none."""
    return found.scores[:, -1] if found.scores.shape[1] else np.full(len(found.scores), np.float32(PADDING_SCORE))
