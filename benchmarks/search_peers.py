"""The peers of search.py, each with one way to build, to set how widely it looks, and to find the ten best."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mmsearch.index.codes import threads
from mmsearch.index.scan import widen

CHUNK = 50_000
WIDTHS = (20, 40, 80, 160, 320, 640, 1280)


class Peer(Protocol):
    """settings: from the quickest to the one that finds most."""

    settings: Sequence[int]

    def build(self, rows: NDArray[np.float16]) -> None: ...

    def set(self, setting: int) -> None: ...

    def find(self, asked: NDArray[np.float32]) -> NDArray[Any]: ...


class Hnswlib:
    """M = 16, and FAISS's own default of 40 for ef_construction: a larger one builds more slowly."""

    settings = WIDTHS

    def build(self, rows: NDArray[np.float16]) -> None:
        import hnswlib

        self._index = hnswlib.Index("ip", rows.shape[1])
        self._index.init_index(len(rows), M=16, ef_construction=40)
        for start in range(0, len(rows), CHUNK):
            part = widen(np.asarray(rows[start : start + CHUNK]))
            self._index.add_items(part, np.arange(start, start + len(part)), num_threads=threads())

    def set(self, setting: int) -> None:
        self._index.set_ef(setting)

    def find(self, asked: NDArray[np.float32]) -> NDArray[Any]:
        return np.asarray(self._index.knn_query(asked, 10, num_threads=1)[0])


class Usearch:
    """Its defaults, over float16 rows."""

    settings = WIDTHS

    def build(self, rows: NDArray[np.float16]) -> None:
        from usearch.index import Index

        self._index = Index(ndim=rows.shape[1], metric="ip", dtype="f16", connectivity=16, expansion_add=100)
        for start in range(0, len(rows), CHUNK):
            part = np.asarray(rows[start : start + CHUNK])
            self._index.add(np.arange(start, start + len(part)), part, threads=threads())

    def set(self, setting: int) -> None:
        self._index.expansion_search = setting

    def find(self, asked: NDArray[np.float32]) -> NDArray[Any]:
        keys = np.asarray(self._index.search(asked, 10, threads=1).keys)
        return keys.reshape(len(asked), -1).astype(np.int64)


class Scann:
    """2,000 leaves at a million rows, two dimensions a code, 200 re-scored exactly."""

    settings = (10, 20, 40, 80, 160, 320)

    def build(self, rows: NDArray[np.float16]) -> None:
        import scann

        whole = widen(np.asarray(rows))
        builder = scann.scann_ops_pybind.builder(whole, 10, "dot_product")
        leaves = max(10, int(2 * len(rows) ** 0.5))
        sample = min(len(rows), 40 * leaves)
        builder = builder.tree(num_leaves=leaves, num_leaves_to_search=10, training_sample_size=sample)
        self._index = builder.score_ah(2, anisotropic_quantization_threshold=0.2).reorder(200).build()

    def set(self, setting: int) -> None:
        self._leaves = setting

    def find(self, asked: NDArray[np.float32]) -> NDArray[Any]:
        ids, _ = self._index.search(asked[0], leaves_to_search=self._leaves, pre_reorder_num_neighbors=200)
        return np.asarray(ids)[None]


def available(wanted: Sequence[str] | None = None) -> dict[str, Peer]:
    """Those that can be imported, of all or of those that are wanted."""
    known: dict[str, Callable[[], Peer]] = {"scann": Scann, "hnswlib": Hnswlib, "usearch": Usearch}
    return {name: peer() for name, peer in known.items() if find_spec(name) and (wanted is None or name in wanted)}


def timed_build(build: Callable[[], object]) -> dict[str, float]:
    """Wall and processor seconds."""
    used, begun = _processor_s(), time.perf_counter()
    build()
    return {"wall_s": round(time.perf_counter() - begun, 1), "cpu_s": round(_processor_s() - used, 1)}


def _processor_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
