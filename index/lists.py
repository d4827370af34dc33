"""A coarse index of inverted lists: only the rows in the lists nearest to a query are looked at.

They are looked at by codes of half a byte for two values: an inverted file with product quantisation (Jegou et al.
2011, "Product Quantization for Nearest Neighbor Search") in the form that fits registers (Andre et al. 2015, "Cache
locality is not enough"), as FAISS has it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mmsearch.index.durable import replace_file
from mmsearch.index.faiss_module import faiss, threads_for
from mmsearch.index.scan import widen
from mmsearch.index.vectors import PADDING_ID, UNPROVEN, Neighbours

# How training is bounded: lists, rows a list that their centres are learned from, rounds, rows for the codes.
_MOST_LISTS = 2048
_ROWS_A_LIST = 40
_ROUNDS = 6
_CODED_FROM = 65_536

# So many rows at least must there be to train codes on.
FEWEST_LISTED = 256

_ADDED_AT_ONCE = 1 << 16

# What calibration aims at, over the bar of .95 since other queries than those it saw will be asked.
AIM = 0.98
_WIDEST = 16
_NEARLY = 0.005
TRIED_K = 10

_FORM = b"mmlists1"


@dataclass(frozen=True, slots=True)
class Found:
    """What was found out when the lists were made.

    trained_rows: how many rows there were.
    last_id:      the greatest id that the lists have seen.
    probed:       how many lists are looked into.
    widened:      how many times as many rows as are asked for are named, since codes are coarse.
    recall:       the share of the best ten that this finds, over the queries of the calibration.
    """

    trained_rows: int
    last_id: int
    probed: int
    widened: int
    recall: float

    def __str__(self) -> str:
        return (
            f"{self.probed} of {lists_for(self.trained_rows)} lists are looked into, with recall@10 {self.recall:.3f}"
        )


class Lists:
    """Rows in lists by the nearest of some centres; made and calibrated by `made`."""

    fewest = 0  # what it names was calibrated

    def __init__(self, index: Any, found: Found) -> None:
        self._index = index
        self.found = found

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @classmethod
    def made(cls, dim: int, rows: int, ids: NDArray[np.int64], fetch: Callable[[NDArray[np.int64]], Any]) -> Self:
        """Empty lists for so many rows, trained on a sample of ids (N,), whose rows (n, D) fetch gives."""
        count = lists_for(rows)
        rng = np.random.default_rng(0)
        centres = faiss().Kmeans(
            dim, count, niter=_ROUNDS, spherical=True, seed=1, max_points_per_centroid=_ROWS_A_LIST,
            min_points_per_centroid=1,
        )  # fmt: skip
        sample = rng.choice(ids, min(len(ids), max(_ROWS_A_LIST * count, _CODED_FROM)), replace=False)
        trained_on = widen(fetch(np.sort(sample)))
        centres.train(trained_on)
        middle = faiss().IndexFlatIP(dim)
        middle.add(centres.centroids)
        index = faiss().IndexIVFPQFastScan(
            middle, dim, count, dim // 2 if dim % 2 == 0 else dim, 4, faiss().METRIC_INNER_PRODUCT
        )
        index.pq.cp.min_points_per_centroid = 1
        index.train(trained_on[:_CODED_FROM])
        return cls(index, Found(rows, -1, count, _WIDEST, 0.0))

    def add(self, ids: NDArray[np.int64], rows: NDArray[np.float16]) -> None:
        """Put rows (N, D) under ids (N,) into the lists."""
        for start in range(0, len(ids), _ADDED_AT_ONCE):
            part = slice(start, start + _ADDED_AT_ONCE)
            self._index.add_with_ids(widen(rows[part]), ids[part])
        self.found = replace(self.found, last_id=int(max(self.found.last_id, *ids.tolist()[-1:])))

    def remove(self, ids: NDArray[np.int64]) -> None:
        """Take the rows of ids (N,) out of the lists."""
        self._index.remove_ids(faiss().IDSelectorBatch(np.ascontiguousarray(ids, np.int64)))

    def calibrate(self, questions: NDArray[np.float32], truth: NDArray[np.int64]) -> None:
        """Look into as few lists, and name as few rows, as find AIM of the best ten ids (Q, 10) of questions (Q, D).

        Where that many cannot be found at all, since codes are coarse: as few as find nearly as many as can be.
        """
        widths = [2**power for power in range(int(np.log2(self._index.nlist)) + 1)]
        wanted = min(AIM, self._recall(widths[-1], _WIDEST, questions, truth) - _NEARLY)
        probed = next(each for each in widths if self._recall(each, _WIDEST, questions, truth) >= wanted)
        for widened in (2**power for power in range(_WIDEST.bit_length())):
            recall = self._recall(probed, widened, questions, truth)
            if recall >= wanted:
                break
        self.found = replace(self.found, probed=probed, widened=widened, recall=round(recall, 4))

    def nearest(
        self, queries: NDArray[np.float32], count: int, allowed: NDArray[np.int64] | None
    ) -> tuple[Neighbours, NDArray[np.float32]]:
        """The best by their codes, of the lists looked into; how far these scores err is not known."""
        scores, ids = self._look(queries, count, self.found.probed, self.found.widened, allowed)
        return Neighbours(ids, scores), np.full(len(queries), UNPROVEN, np.float32)

    def write(self, path: Path) -> None:
        """Put everything into a file."""
        head = json.dumps(asdict(self.found)).encode()

        def fill(file: Any) -> None:
            file.write(_FORM + len(head).to_bytes(8, "little") + head)
            faiss().write_index(self._index, faiss().PyCallbackIOWriter(file.write))

        replace_file(path, fill)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what write put there. ValueError or RuntimeError where it is something else."""
        with path.open("rb") as file:
            if file.read(len(_FORM)) != _FORM:
                raise ValueError(f"{path} holds no lists")
            found = Found(**json.loads(file.read(int.from_bytes(file.read(8), "little"))))
            return cls(faiss().read_index(faiss().PyCallbackIOReader(file.read)), found)

    def close(self) -> None:
        """Give back what is held beside the lists: nothing."""

    def _recall(self, probed: int, widened: int, questions: NDArray[np.float32], truth: NDArray[np.int64]) -> float:
        _, ids = self._look(questions, first_count(TRIED_K), probed, widened, None)
        hits = sum(len(np.intersect1d(*pair)) for pair in zip(ids, truth, strict=True))
        return hits / truth.size

    def _look(
        self,
        queries: NDArray[np.float32],
        count: int,
        probed: int,
        widened: int,
        allowed: NDArray[np.int64] | None,
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        only = {} if allowed is None else {"sel": faiss().IDSelectorBatch(np.ascontiguousarray(allowed, np.int64))}
        if allowed is not None:  # as many rows that may answer as without a filter
            probed = min(self._index.nlist, probed * len(self) // max(len(allowed), 1))
        with threads_for(len(queries)):
            found = self._index.search(
                queries,
                min(widened * count, max(len(self), 1)),
                params=faiss().SearchParametersIVF(nprobe=probed, **only),
            )
        scores: NDArray[np.float32] = np.where(found[1] == PADDING_ID, -np.inf, found[0]).astype(np.float32)
        return scores, found[1]


def lists_for(rows: int) -> int:
    """How many lists rows are shared out among: a power of two near twice their square root, at most 2048."""
    return int(min(2 ** round(np.log2(max(2 * rows**0.5, 1))), _MOST_LISTS))


def first_count(k: int) -> int:
    """How many rows a coarse index is asked for at first, for k answers."""
    return 4 * k + 64
