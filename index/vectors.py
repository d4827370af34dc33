"""The convention that every vector store keeps.

Unit float32 rows, cosine, higher is better; a missing neighbour has id -1 and score -inf; ties are broken
by the smaller id.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

# (N, D) as a store takes them; it keeps what float16 holds of them.
Vectors = NDArray[np.floating[Any]]

PADDING_ID = -1
PADDING_SCORE = -np.inf


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The nearest stored vectors of each query, best first.

    ids:    (Q, K) int64, -1 where fewer than K vectors are stored.
    scores: (Q, K) float32 cosine in [-1, 1], -inf where the id is -1.
    """

    ids: NDArray[np.int64]
    scores: NDArray[np.float32]


class VectorStore(Protocol):
    """Vectors under integer ids. Shapes: N stored, Q queries, D dims, K answers."""

    dim: int

    def __init__(self, dim: int) -> None:
        """An empty store of vectors of dim dimensions."""

    def __len__(self) -> int: ...

    def add(self, ids: NDArray[np.int64], vectors: Vectors) -> None:
        """Add vectors (N, D) under ids (N,) that are not stored yet."""

    def remove(self, ids: NDArray[np.int64]) -> None:
        """Remove the vectors of ids (N,); ids that are not stored are passed over."""

    def search(self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.int64] | None = None) -> Neighbours:
        """The k best of all stored vectors, or of those whose id is in allowed (M,), for queries (Q, D)."""

    def get(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """The stored vectors (N, D) of ids (N,); KeyError where one is not stored."""

    def ids(self) -> NDArray[np.int64]:
        """All stored ids (N,), ascending."""

    def save(self, folder: Path, stem: str) -> list[str]:
        """Write what no file of a folder holds into new files STEM-N; the names of all that hold the store."""

    @classmethod
    def load(cls, folder: Path, names: Sequence[str]) -> Self:
        """Read what save wrote into files of these names."""

    def close(self) -> None:
        """Give back device memory; the next search takes it again."""
