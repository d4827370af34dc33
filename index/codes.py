"""A coarse index of eight-bit codes: all of them are scanned, by FAISS, and how far a score may err is known."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.index.cores import cores
from mmsearch.index.faiss_module import faiss
from mmsearch.index.scan import widen
from mmsearch.index.segments import Chunk
from mmsearch.index.vectors import ROUNDING, Neighbours, best_of

# Rows widened at a time: 128 MB of 512 dimensions.
_CHUNK = 1 << 16


def threads() -> int:
    """How many a search may use: OMP_NUM_THREADS, else one for each core that this process may run on."""
    named = os.environ.get("OMP_NUM_THREADS", "")
    return int(named) if named.isdecimal() and int(named) else cores()


class Codes:
    """A byte for each value of a row, which divides the range of its dimension into 255 steps.

    A value is at most half a step from what its byte stands for. So a score is no further from the cosine than half the
    steps, weighted by the query's values: a proof of when a list of the best scores holds the best cosines.
    The rows are shared out among threads, each of which scans its own for every query.
    """

    def __init__(self, dim: int, chunks: Sequence[Chunk]) -> None:
        lowest, widest = _ranges(dim, chunks)
        self._half_steps = widest / np.float32(2 * 255)
        self._ids = np.concatenate([ids for ids, _ in chunks])
        self._pool = ThreadPoolExecutor(threads(), initializer=_alone)
        share = -(-len(self._ids) // threads())
        self._parts = list(self._pool.map(lambda part: _part(dim, lowest, widest, part), _shares(chunks, share)))
        self._starts = np.cumsum([0, *(part.ntotal for part in self._parts)])

    def __len__(self) -> int:
        return len(self._ids)

    def nearest(
        self, queries: NDArray[np.float32], count: int, allowed: NDArray[np.int64] | None
    ) -> tuple[Neighbours, NDArray[np.float32]]:
        """The count best scores, of all or of the ids in allowed (M,), and how far each query's (Q,) may err."""
        let_in = None if allowed is None else np.isin(self._ids, allowed)
        found = self._pool.map(lambda at: self._search(at, queries, count, let_in), range(len(self._parts)))
        errors = np.abs(queries) @ self._half_steps + np.float32(ROUNDING)
        return best_of(list(found), count), errors

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()

    def _search(
        self, at: int, queries: NDArray[np.float32], count: int, let_in: NDArray[np.bool_] | None
    ) -> Neighbours:
        """What one part holds; shorter than count where it has fewer."""
        part, start = self._parts[at], self._starts[at]
        only = None
        if let_in is not None:
            bits = np.packbits(let_in[start : start + part.ntotal], bitorder="little")
            only = faiss().SearchParameters(sel=faiss().IDSelectorBitmap(bits))
        scores, places = part.search(queries, min(count, part.ntotal), params=only)
        ids = np.where(places < 0, places, self._ids[places + start])
        return Neighbours(ids, scores)


def _ranges(dim: int, chunks: Sequence[Chunk]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The least value of each dimension (D,), and how far above it the greatest is (D,)."""
    lowest, highest = np.full(dim, np.inf, np.float32), np.full(dim, -np.inf, np.float32)
    for _, rows in _pieces(chunks):
        values = widen(rows)
        lowest, highest = np.minimum(lowest, values.min(axis=0)), np.maximum(highest, values.max(axis=0))
    return lowest, highest - lowest


def _pieces(chunks: Iterable[Chunk]) -> Iterator[Chunk]:
    """The same rows, so few at a time that they can be widened."""
    for ids, rows in chunks:
        for start in range(0, len(ids), _CHUNK):
            yield ids[start : start + _CHUNK], rows[start : start + _CHUNK]


def _shares(chunks: Sequence[Chunk], size: int) -> Iterator[list[Chunk]]:
    """The same rows, in order, size of them at a time."""
    share: list[Chunk] = []
    room = size
    for ids, rows in chunks:
        for start in [0, *range(room, len(ids), size)]:
            part = slice(start, min(len(ids), start + room))
            share.append((ids[part], rows[part]))
            room -= len(ids[part])
            if not room:
                yield share
                share, room = [], size
    if share:
        yield share


def _part(dim: int, lowest: NDArray[np.float32], widest: NDArray[np.float32], chunks: Sequence[Chunk]) -> Any:
    index = faiss().IndexScalarQuantizer(dim, faiss().ScalarQuantizer.QT_8bit, faiss().METRIC_INNER_PRODUCT)
    faiss().copy_array_to_vector(np.concatenate([lowest, widest]), index.sq.trained)
    index.is_trained = True
    for _, rows in _pieces(chunks):
        index.add(widen(rows))
    return index


def _alone() -> None:
    """Let FAISS start no threads of its own in this one."""
    faiss().omp_set_num_threads(1)
