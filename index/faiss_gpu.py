"""FAISS indexes on a GPU, and whether the installed FAISS can run there.

A FAISS without kernels for the card ends the whole process at its first search. So a process of its own tries one:

    python -m mmsearch.index.faiss_gpu 0
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mmsearch.index.vectors import PADDING_ID, PADDING_SCORE, UNPROVEN, Neighbours

Form = Literal["flat", "ivfpq", "cagra"]
Chunks = Callable[[], Iterator[NDArray[np.float32]]]

# FAISS returns no more than this from a GPU, and looks into no more lists. Beyond its own number a graph is searched by
# kernels that are slow, or miss rows.
MOST = 2048
_MOST: dict[Form, int] = {"flat": MOST, "ivfpq": MOST, "cagra": 1024}

# A flat index rounds queries to float16: at most this for both of two scores of unit vectors together.
_HALF_ROUNDING = 1e-3

# How many more each form looks up than are asked for, so that the exact scores can choose: codes are coarse.
_OVERFETCH: dict[Form, int] = {"flat": 1, "ivfpq": 8, "cagra": 1}

_TRAINED_ON = 2_000_000
_TRIED = 64
_INSTALL = "pip install --force-reinstall --no-deps faiss-gpu-cuvs"


class FaissScan:
    """A FAISS index on a GPU, made once; what is removed from it is passed over.

    error: how far its scores may be from the cosines; UNPROVEN where it is not exact anyway.
    """

    def __init__(self, ids: NDArray[np.int64], index: Any, form: Form) -> None:
        self._ids = ids
        self._index = index
        self._alive = np.ones(len(ids), np.bool_)
        self._overfetch, self._most = _OVERFETCH[form], _MOST[form]
        self.error = _HALF_ROUNDING if form == "flat" else UNPROVEN

    def __len__(self) -> int:
        return int(self._alive.sum())

    @property
    def dead(self) -> int:
        """How many removed vectors are still looked at."""
        return len(self._ids) - len(self)

    def remove(self, ids: NDArray[np.int64]) -> None:
        """Pass over the vectors of ids (N,) from now on."""
        self._alive &= ~np.isin(self._ids, ids)

    def nearest(self, queries: NDArray[np.float32], count: int, allowed: NDArray[np.int64] | None) -> Neighbours | None:
        """At least count vectors with the best scores, of all or of those in allowed (M,), in any order among ties.

        No filter is kept by every build of FAISS for GPUs, so as many are looked up as it takes for count to be let
        in here. None where FAISS cannot return so many.
        """
        let_in = self._alive if allowed is None else self._alive & np.isin(self._ids, allowed)
        there = int(let_in.sum())
        wanted, limit = min(count, there), min(self._most, len(self._ids))
        if not wanted:
            return _padded(len(queries), count)
        looked_up = max(count, self._overfetch * count * len(self._ids) // there)
        if wanted > limit or looked_up > 4 * self._most:
            return None
        while True:
            looked_up = min(looked_up, limit)
            found = self._search(queries, looked_up, let_in, self._overfetch * count)
            if np.all((found.ids != PADDING_ID).sum(axis=1) >= wanted):
                return found
            if looked_up == limit:
                return None
            looked_up *= 2

    def close(self) -> None:
        """Give back the device's memory; the scan cannot be used any more."""
        del self._index

    def _search(
        self, queries: NDArray[np.float32], looked_up: int, let_in: NDArray[np.bool_], width: int
    ) -> Neighbours:
        """What FAISS finds for each query, less what is not let in, cut or padded to width."""
        scores, places = self._index.search(np.ascontiguousarray(queries), looked_up)
        is_place = (places >= 0) & (places < len(let_in))  # a graph names others where it found no more
        stays = is_place & let_in[np.where(is_place, places, 0)]
        # False sorts before True: what stays comes first, in the order in which it was found.
        order = np.argsort(~stays, axis=1, kind="stable")[:, :width]
        stays = np.take_along_axis(stays, order, 1)
        found = _padded(len(queries), width)
        found.ids[:, : order.shape[1]][stays] = self._ids[np.take_along_axis(places, order, 1)[stays]]
        found.scores[:, : order.shape[1]][stays] = np.take_along_axis(scores, order, 1)[stays]
        return found


def forms(faiss: Any) -> tuple[Form, ...]:
    """The indexes that this FAISS can hold on a GPU; none without GPU support."""
    if not hasattr(faiss, "StandardGpuResources") or not hasattr(faiss, "GpuIndexFlatIP"):
        return ()
    return ("flat", "ivfpq", "cagra") if hasattr(faiss, "GpuIndexCagra") else ("flat", "ivfpq")


def build(faiss: Any, form: Form, gpu: int, dim: int, rows: int, chunks: Chunks) -> Any:
    """A FAISS index of rows vectors, which chunks gives in order, float32 (n, dim) at a time, on a GPU."""
    resources = faiss.StandardGpuResources()
    if form == "cagra":
        return _cagra(faiss, resources, gpu, dim, rows, chunks)
    index = _flat(faiss, resources, gpu, dim) if form == "flat" else _ivfpq(faiss, resources, gpu, dim, rows, chunks)
    for vectors in chunks():
        index.add(vectors)
    return index


def ivf_lists(rows: int) -> int:
    """How many lists an inverted file of rows vectors has: a power of two near four times their square root."""
    return int(2 ** round(np.log2(max(4 * rows**0.5, 1))))


def code_bytes(dim: int) -> int:
    """Bytes of a product-quantised code: an eighth of the dimensions, of those lengths that GPU kernels know."""
    known = (64, 48, 32, 24, 16, 8, 4, 2, 1)
    return next(size for size in (96, *known) if dim % size == 0 and size <= max(dim // 8, 1))


def _flat(faiss: Any, resources: Any, gpu: int, dim: int) -> Any:
    config = faiss.GpuIndexFlatConfig()
    config.device, config.useFloat16, config.use_cuvs = gpu, True, False
    return faiss.GpuIndexFlatIP(resources, dim, config)


def _ivfpq(faiss: Any, resources: Any, gpu: int, dim: int, rows: int, chunks: Chunks) -> Any:
    config = faiss.GpuIndexIVFPQConfig()
    config.device, config.useFloat16LookupTables, config.use_cuvs = gpu, True, False
    config.interleavedLayout = False
    lists = ivf_lists(rows)
    index = faiss.GpuIndexIVFPQ(resources, dim, lists, code_bytes(dim), 8, faiss.METRIC_INNER_PRODUCT, config)
    step = max(1, rows // _TRAINED_ON)
    index.train(np.concatenate([vectors[::step] for vectors in chunks()]))
    # Texts lie in another cone than photos, so that their neighbours are spread over many lists.
    index.nprobe = max(1, min(lists // 16, MOST))
    return index


def _cagra(faiss: Any, resources: Any, gpu: int, dim: int, rows: int, chunks: Chunks) -> Any:
    config = faiss.GpuIndexCagraConfig()
    config.device, config.graph_degree, config.intermediate_graph_degree = gpu, 64, 128
    config.build_algo = faiss.graph_build_algo_NN_DESCENT
    # Of unit vectors the nearest are those of the greatest cosine. A search by inner products of float16 vectors may
    # never end: FAISS's own test of it is switched off for that.
    index = faiss.GpuIndexCagra(resources, dim, faiss.METRIC_L2, config)
    vectors = np.empty((rows, dim), np.float16)
    start = 0
    for part in chunks():
        vectors[start : start + len(part)] = part
        start += len(part)
    index.train(vectors, numeric_type=faiss.Float16)
    return CagraSearch(index, faiss, vectors)


class CagraSearch:
    """A CAGRA graph as an index whose search takes float32 queries and looks widely enough for k answers."""

    def __init__(self, index: Any, faiss: Any, vectors: NDArray[np.float16]) -> None:
        self._index = index
        self._faiss = faiss
        self._vectors = vectors  # the graph refers to them

    def search(self, queries: NDArray[np.float32], k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Cosines of unit vectors and places (Q, k), best first, -1 where there are no more."""
        parameters = self._faiss.SearchParametersCagra()
        parameters.itopk_size = max(64, 32 * -(-3 * k // 64))  # a multiple of 32, half as many again as k
        squares, places = self._index.search(queries, k, params=parameters, numeric_type=self._faiss.Float16)
        return 1 - squares / 2, places


def try_kernel(faiss: Any, gpu: int) -> str | None:
    """What is wrong with a search of 64 vectors on a GPU, compared with NumPy; None if it is right."""
    if "flat" not in forms(faiss):
        return f"this FAISS has no GPU support; {_INSTALL}"
    vectors = np.random.default_rng(0).standard_normal((_TRIED, 32)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index = build(faiss, "flat", gpu, 32, _TRIED, lambda: iter([vectors]))
    scores, places = index.search(vectors, 3)
    right = np.argsort(-(vectors @ vectors.T), axis=1)[:, 0]
    if not np.array_equal(places[:, 0], right) or not np.allclose(scores[:, 0], 1, atol=_HALF_ROUNDING):
        return "it found other neighbours than NumPy"
    return None


@cache
def fault(gpu: int, seconds: float = 120) -> str | None:
    """Why FAISS cannot search on that GPU, None if it can: found out once, in a process of its own."""
    command = [sys.executable, "-m", "mmsearch.index.faiss_gpu", str(gpu)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return f"its kernel test did not end within {seconds:g} s"
    if done.returncode == 0:
        return None
    said = (done.stdout or done.stderr).strip().splitlines()
    reason = said[-1] if said else "it said nothing"
    return reason if done.returncode > 0 else f"its kernel test died of signal {-done.returncode}: {reason}"


def _padded(queries: int, count: int) -> Neighbours:
    return Neighbours(
        np.full((queries, count), PADDING_ID, np.int64), np.full((queries, count), PADDING_SCORE, np.float32)
    )


def main() -> int:
    """Try the kernel on the GPU that the command line names: 0 if it is right, 1 and the reason if not."""
    import faiss

    if wrong := try_kernel(faiss, int(sys.argv[1])):
        print(wrong)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
