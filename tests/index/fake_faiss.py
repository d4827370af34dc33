"""What FAISS offers on a GPU, in NumPy: no filter, no removal, at most 2048 answers, float16 codes and queries."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

METRIC_INNER_PRODUCT, METRIC_L2, Float16, graph_build_algo_NN_DESCENT = 0, 1, 1, 2  # noqa: N816 - as FAISS calls it
NO_PLACE = 2**32 - 1
built: list[str] = []


StandardGpuResources = GpuIndexFlatConfig = GpuIndexIVFPQConfig = GpuIndexCagraConfig = SimpleNamespace
SearchParametersCagra = SimpleNamespace


class _Index:
    def __init__(self, dim: int, config: Any) -> None:
        built.append(type(self).__name__)
        self.dim, self.config = dim, config
        self.vectors = np.empty((0, dim), np.float16)

    def train(self, vectors: NDArray[Any], numeric_type: int = 0) -> None:
        self.trained_on = len(vectors)

    def add(self, vectors: NDArray[np.float32]) -> None:
        self.vectors = np.concatenate([self.vectors, vectors.astype(np.float16)])

    def search(
        self, queries: NDArray[np.float32], k: int, params: Any = None, numeric_type: int = 0
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        assert k <= 2048, "FAISS refuses more on a GPU"
        scores = queries.astype(np.float16).astype(np.float32) @ self.vectors.astype(np.float32).T
        # Among ties the greater place comes first, which no caller may rely on.
        places = np.argsort(scores[:, ::-1], axis=1, kind="stable")[:, ::-1]
        places = len(self.vectors) - 1 - places[:, :k]
        found = np.full((len(queries), k), -1, np.int64), np.full((len(queries), k), -np.inf, np.float32)
        found[0][:, : places.shape[1]] = places
        found[1][:, : places.shape[1]] = np.take_along_axis(scores, places, 1)
        return found[1], found[0]


class GpuIndexFlatIP(_Index):
    def __init__(self, resources: Any, dim: int, config: Any) -> None:
        super().__init__(dim, config)


class GpuIndexIVFPQ(_Index):
    def __init__(
        self, resources: Any, dim: int, lists: int, code_bytes: int, bits: int, metric: int, config: Any
    ) -> None:
        super().__init__(dim, config)
        self.lists, self.code_bytes = lists, code_bytes


class GpuIndexCagra(_Index):
    def __init__(self, resources: Any, dim: int, metric: int, config: Any) -> None:
        super().__init__(dim, config)
        assert metric == METRIC_L2, "FAISS may hang on inner products of float16 vectors"

    def train(self, vectors: NDArray[Any], numeric_type: int = 0) -> None:
        assert numeric_type == Float16
        self.vectors = vectors

    def search(
        self, queries: NDArray[np.float32], k: int, params: Any = None, numeric_type: int = 0
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        assert numeric_type == Float16
        assert params.itopk_size >= k
        scores, places = super().search(queries, k)
        places[places < 0] = NO_PLACE
        return 2 - 2 * scores, places
