"""Exact search with torch: float16 vectors on a device, a block of them at a time."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmsearch.index.gpu_faults import empty_cache
from mmsearch.index.vectors import PADDING_ID, PADDING_SCORE, ROUNDING, Neighbours

# The products of a block with a block of queries take less than a gigabyte.
_BLOCK_ROWS = 1 << 20
_BLOCK_QUERIES = 64

# From torch 2.8 on.
_MULTIPLIES_INTO_FLOAT32 = hasattr(torch.ops.aten.mm, "dtype")


class TorchScan:
    """Float16 vectors under ids, in blocks on a device; every cosine is computed.

    error: how far its scores may be from the cosines.
    """

    error = ROUNDING

    def __init__(self, dim: int, device: str, block_rows: int = _BLOCK_ROWS) -> None:
        self._dim = dim
        self._device = torch.device(device)
        self._block_rows = block_rows
        self._blocks: list[tuple[Tensor, Tensor]] = []  # ids (B,) int64, vectors (B, D) float16

    def __len__(self) -> int:
        return sum(len(ids) for ids, _ in self._blocks)

    def add(self, ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Add vectors (N, D) under ids (N,) that are not held yet."""
        for start in range(0, len(ids), self._block_rows):
            part = slice(start, start + self._block_rows)
            fresh = (self._on(ids[part], np.int64), self._on(vectors[part], np.float16))
            if self._blocks and len(self._blocks[-1][0]) + len(fresh[0]) <= self._block_rows:
                last = self._blocks.pop()
                fresh = (torch.cat([last[0], fresh[0]]), torch.cat([last[1], fresh[1]]))
            self._blocks.append(fresh)

    def remove(self, ids: NDArray[np.int64]) -> None:
        """Remove the vectors of ids (N,); ids that are not held are passed over."""
        gone = self._on(ids, np.int64)
        kept = [(held, vectors, ~torch.isin(held, gone)) for held, vectors in self._blocks]
        self._blocks = [
            (held, vectors) if bool(stays.all()) else (held[stays], vectors[stays])
            for held, vectors, stays in kept
            if bool(stays.any())
        ]

    def nearest(self, queries: NDArray[np.float32], count: int, allowed: NDArray[np.int64] | None) -> Neighbours:
        """The count vectors with the best scores, of all or of those in allowed (M,), in any order among ties."""
        only = None if allowed is None else self._on(np.unique(allowed), np.int64)
        parts = np.array_split(queries, range(_BLOCK_QUERIES, len(queries), _BLOCK_QUERIES))
        with torch.inference_mode():
            found = [self._best(self._on(part, np.float32), count, only) for part in parts]
        return Neighbours(
            np.concatenate([ids.cpu().numpy() for ids, _ in found]),
            np.concatenate([scores.cpu().numpy() for _, scores in found]),
        )

    def close(self) -> None:
        """Give back the device's memory; nothing is held any more."""
        self._blocks.clear()
        if self._device.type == "cuda":
            empty_cache()

    def _best(self, queries: Tensor, count: int, only: Tensor | None) -> tuple[Tensor, Tensor]:
        """Ids and scores (Q, count), padded."""
        ids = queries.new_full((len(queries), count), PADDING_ID, dtype=torch.int64)
        scores = queries.new_full((len(queries), count), PADDING_SCORE)
        for held, vectors in self._blocks:
            if only is not None:
                let_in = torch.isin(held, only)
                held, vectors = held[let_in], vectors[let_in]
            if not len(held):
                continue
            near = products(queries, vectors).topk(min(count, len(held)), dim=1)
            scores, order = torch.cat([scores, near.values], dim=1).topk(count, dim=1)
            ids = torch.cat([ids, held[near.indices]], dim=1).gather(1, order)
        return ids, scores

    def _on(self, values: NDArray[np.generic], dtype: type[np.generic]) -> Tensor:
        return torch.from_numpy(np.array(values, dtype, order="C")).to(self._device)


def products(queries: Tensor, vectors: Tensor) -> Tensor:
    """Inner products (Q, N) float32 of queries (Q, D) float32 with vectors (N, D) float16.

    A GPU reads the vectors as they are, so each query becomes a sum of two float16 ones: no digit that a float16
    vector could answer to is lost, and reading the vectors costs more than the second product.
    """
    if vectors.device.type != "cuda" or not _MULTIPLIES_INTO_FLOAT32:
        return queries @ vectors.float().T
    high = queries.half()
    low = (queries - high.float()).half()
    both = torch.mm(torch.cat([high, low]), vectors.T, out_dtype=torch.float32)
    return both[: len(queries)] + both[len(queries) :]
