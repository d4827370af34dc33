"""A coarse index of half a byte for each value: FAISS looks at all rows, and how far a score may err is estimated.

The codes lie in registers' order and are looked up there, 32 rows at a time (Andre et al. 2015, "Cache locality is not
enough: high-performance nearest neighbor search with product quantization fast scan").
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from mmsearch.index.cores import cores
from mmsearch.index.faiss_module import faiss, threads_for
from mmsearch.index.scan import widen
from mmsearch.index.segments import Chunk
from mmsearch.index.vectors import ROUNDING, Neighbours, best_of

# So many widened values stay in a core's cache until they are coded.
_BLOCK_VALUES = 1 << 18

# The width of a step, in standard deviations of its dimension, at which 16 of them err least where values are normally
# distributed (Max 1960, "Quantizing for minimum distortion").
_STEP = 0.3352
_STEPS = 16
_NARROWEST = 1e-6  # of a dimension whose values are all the same

# A row that is so much further off, squared, than is usual, by so many of the rows, is kept as it is. A score of the
# others errs by many small parts, so hardly ever by this many times the spread of those that are just not kept.
_ODD = 3.0
_SPREADS = 2.8

# So many values are looked through before a second thread would be awake.
_WORTH_A_THREAD = 1 << 26

# Rows from which the steps are learned, and what error is usual.
_SAMPLED = 1 << 14


def threads() -> int:
    """How many a search may use: OMP_NUM_THREADS, else one for each core that this process may run on."""
    named = os.environ.get("OMP_NUM_THREADS", "")
    return int(named) if named.isdecimal() and int(named) else cores()


class Steps(NamedTuple):
    """What codes stand for: 16 steps of one width for each dimension, about its mean.

    lowest: (D,) float32, where the first step begins.
    width:  (D,) float32 of a step, positive.
    """

    lowest: NDArray[np.float32]
    width: NDArray[np.float32]

    @classmethod
    def of(cls, values: NDArray[np.float32]) -> Self:
        """Steps for values like these (N, D)."""
        width = np.maximum(_STEP * values.std(axis=0), np.float32(_NARROWEST))
        return cls(values.mean(axis=0) - width * np.float32(_STEPS / 2), width)

    def coded(self, values: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """The step (N, D) of each value, from 0 to 15, and how far off the middle of it the value is, in widths.

        values: (N, D), which are lost. Values beyond the steps have the last of them.
        """
        values -= self.lowest
        values /= self.width
        codes = np.clip(values, 0, _STEPS - 1).astype(np.uint8)
        values -= codes
        values -= np.float32(0.5)
        return codes, values

    def middles(self) -> NDArray[np.float32]:
        """What each step stands for, (D, 16): its middle."""
        return self.lowest[:, None] + (np.arange(_STEPS, dtype=np.float32) + np.float32(0.5)) * self.width[:, None]


class Codes:
    """Half a byte for each value of a row: which of 16 steps it lies in.

    How far a score is from the cosine is estimated from how far, in each dimension, values are from what their codes
    stand for; rows with values beyond the steps are kept as they are. So a list of the best scores holds the best
    cosines, with near certainty, or is asked for anew, and longer. Many rows are shared out among threads, each of
    which looks at its own for every query.
    """

    fewest = 232  # in the time of the 104 that ten answers ask for, which often cannot prove the ten best

    def __init__(self, dim: int, chunks: Sequence[Chunk]) -> None:
        count = sum(len(ids) for ids, _ in chunks)
        sample = widen(np.concatenate([rows[:: -(-count // _SAMPLED)] for _, rows in chunks]))
        self._steps = Steps.of(sample)
        _, off = self._steps.coded(sample)
        limit = _ODD * float(np.median(off**2 @ self._steps.width**2))
        self._pool = ThreadPoolExecutor(threads(), initializer=_alone)
        parts = min(threads(), 1 + count * dim // _WORTH_A_THREAD)
        shares = _shares(chunks, -(-count // parts))
        self._parts = list(self._pool.map(lambda share: CodedPart(self._steps, limit, share), shares))
        errors = np.sum([part.squared_errors for part in self._parts], axis=0)
        self._squared_errors = errors * np.float32(limit / max(errors.sum(), np.finfo(np.float32).tiny))

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def nearest(
        self, queries: NDArray[np.float32], count: int, allowed: NDArray[np.int64] | None
    ) -> tuple[Neighbours, NDArray[np.float32]]:
        """The count best scores, of all or of the ids in allowed (M,), and how far each query's (Q,) may err."""
        if len(self._parts) == 1:
            with threads_for(len(queries)):
                found = [self._parts[0].nearest(queries, count, allowed)]
        else:
            found = list(self._pool.map(lambda part: part.nearest(queries, count, allowed), self._parts))
        return best_of([each for some in found for each in some], count), self._errors(queries)

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()

    def _errors(self, queries: NDArray[np.float32]) -> NDArray[np.float32]:
        """How far scores may err, (Q,): by the codes, and by the eight bits in which FAISS adds up their values."""
        spans = np.abs(queries) * self._steps.width * np.float32(_STEPS - 1)
        fineness = np.maximum(spans.max(axis=1) / 255, spans.sum(axis=1) / 65535)
        spread = np.sqrt(queries**2 @ self._squared_errors + fineness**2 * np.float32(queries.shape[1] / 12))
        errors: NDArray[np.float32] = np.float32(_SPREADS) * spread + np.float32(ROUNDING)
        return errors


class CodedPart:
    """The codes of some rows, and those rows that are further off than a limit.

    squared_errors: (D,) float32, how far the values are from what the codes stand for, by dimension, together.
    """

    def __init__(self, steps: Steps, limit: float, chunks: Iterable[Chunk]) -> None:
        squared_width = steps.width**2
        self.squared_errors = np.zeros_like(steps.width)
        ids, codes, odd = [], [], []
        for some, rows in _pieces(chunks):
            coded, off = steps.coded(widen(rows))
            off *= off
            usual = off @ squared_width <= limit
            self.squared_errors += usual.astype(np.float32) @ off * squared_width
            ids.append(some[usual])
            codes.append(_packed(coded[usual]))
            odd.append((some[~usual], widen(rows[~usual])))
        self._ids = np.concatenate(ids)
        self._odd_ids, self._odd_values = (np.concatenate(each) for each in zip(*odd, strict=True))
        self._middle = faiss().IndexFlatIP(len(steps.width))
        self._index = _index(steps, np.concatenate(codes), self._middle)

    def __len__(self) -> int:
        return len(self._ids) + len(self._odd_ids)

    def nearest(
        self, queries: NDArray[np.float32], count: int, allowed: NDArray[np.int64] | None
    ) -> tuple[Neighbours, Neighbours]:
        """The best by their codes, at most count, and the odd rows with their cosines."""
        odd = slice(None) if allowed is None else np.isin(self._odd_ids, allowed)
        cosines = queries @ self._odd_values[odd].T
        odd_ones = Neighbours(np.broadcast_to(self._odd_ids[odd], cosines.shape), cosines)
        return self._by_codes(queries, min(count, len(self._ids)), allowed), odd_ones

    def _by_codes(self, queries: NDArray[np.float32], count: int, allowed: NDArray[np.int64] | None) -> Neighbours:
        if not count:
            return Neighbours(np.empty((len(queries), 0), np.int64), np.empty((len(queries), 0), np.float32))
        only = {}
        if allowed is not None:
            only["sel"] = faiss().IDSelectorBitmap(np.packbits(np.isin(self._ids, allowed), bitorder="little"))
        scores, places = self._index.search(queries, count, params=faiss().SearchParametersIVF(nprobe=1, **only))
        none = places < 0
        return Neighbours(np.where(none, places, self._ids[places]), np.where(none, -np.inf, scores))


def _index(steps: Steps, codes: NDArray[np.uint8], middle: Any) -> Any:
    """One inverted list of all codes (N, D / 2), under their places: only such an index takes a filter.

    middle: an empty flat index, which the index refers to.
    """
    dim = len(steps.width)
    middle.add(np.zeros((1, dim), np.float32))
    plain = faiss().IndexIVFPQ(middle, dim, 1, dim, 4, faiss().METRIC_INNER_PRODUCT)
    plain.by_residual = False
    faiss().copy_array_to_vector(steps.middles().ravel(), plain.pq.centroids)
    plain.is_trained = True
    places = np.arange(len(codes))
    plain.invlists.add_entries(0, len(codes), faiss().swig_ptr(places), faiss().swig_ptr(codes))
    plain.ntotal = len(codes)
    return faiss().IndexIVFPQFastScan(plain)


def _packed(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Two codes a byte, the first in the lower half, (N, D / 2) rounded up."""
    if codes.shape[1] % 2:
        codes = np.pad(codes, ((0, 0), (0, 1)))
    pairs = codes.view("<u2")
    packed: NDArray[np.uint8] = (pairs | pairs >> 4).astype(np.uint8)
    return packed


def _pieces(chunks: Iterable[Chunk]) -> Iterator[Chunk]:
    """The same rows, so few at a time that they can be widened."""
    for ids, rows in chunks:
        step = max(1, _BLOCK_VALUES // max(rows.shape[1], 1))
        for start in range(0, len(ids), step):
            yield ids[start : start + step], rows[start : start + step]


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


def _alone() -> None:
    """Let FAISS start no threads of its own in this one."""
    faiss().omp_set_num_threads(1)
