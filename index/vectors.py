"""The convention that every vector store keeps.

Unit float32 rows, cosine, higher is better; a missing neighbour has id -1 and score -inf; ties are broken
by the smaller id.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

# (N, D) as a store takes them; it keeps what float16 holds of them.
Vectors = NDArray[np.floating[Any]]

PADDING_ID = -1
PADDING_SCORE = -np.inf

# Scores closer than this may be ties: BLAS and FAISS add up in another order than `exact.cosines`.
ROUNDING = 1e-5

# How far a score may be from the cosine, where nothing is known of it: below -1 any cosine is enough.
UNPROVEN = -4.0


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The nearest stored vectors of each query, best first.

    ids:    (Q, K) int64, -1 where fewer than K vectors are stored.
    scores: (Q, K) float32 cosine in [-1, 1], -inf where the id is -1.
    """

    ids: NDArray[np.int64]
    scores: NDArray[np.float32]

    @classmethod
    def none(cls, queries: int, k: int) -> Self:
        """No neighbour at all, (queries, k), to be written over."""
        return cls(np.full((queries, k), PADDING_ID, np.int64), np.full((queries, k), PADDING_SCORE, np.float32))


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

    def prepare(self, questions: Callable[[], Vectors]) -> None:
        """Make what many rows are searched by: before save, and only by who saves.

        questions: unit rows (B, D) like those that will be asked, on which it is calibrated.
        """

    def plan(self) -> str:
        """By what a search goes, and why."""

    def save(self, folder: Path, stem: str) -> list[str]:
        """Write what no file of a folder holds into new files STEM-N; the names of all that hold the store."""

    @classmethod
    def load(cls, folder: Path, names: Sequence[str]) -> Self:
        """Read what save wrote into files of these names."""

    def close(self) -> None:
        """Give back device memory; the next search takes it again."""


@dataclass(frozen=True, slots=True)
class Named:
    """Rows to be scored exactly, for each of Q queries.

    ids:   (Q, M) int64; -1 and ids of removed rows are passed over.
    reach: (Q, M) float32, the greatest cosine that each may have, descending; inf where nothing is known of it.
    most:  (Q,) float32, the greatest cosine that a row which is not named may have; -inf where all are named, and below
           any cosine where nothing is known of it.
    """

    ids: NDArray[np.int64]
    reach: NDArray[np.float32]
    most: NDArray[np.float32]

    @classmethod
    def of(cls, near: Neighbours, error: NDArray[np.float32] | np.float32, count: int) -> Self:
        """The best by scores that err by so much; where they are fewer than count, they are all."""
        errors = np.broadcast_to(error, len(near.ids))[:, None]
        reach = (near.scores + errors).astype(np.float32)
        is_full = near.ids.shape[1] >= count
        most = reach[:, -1] if is_full else np.full(len(near.ids), np.float32(PADDING_SCORE))
        return cls(near.ids, np.where(errors == UNPROVEN, np.float32(np.inf), reach), most)

    def beside(self, other: Named) -> Named:
        """The rows that either names, of two parts of all rows."""
        ids = np.concatenate([self.ids, other.ids], axis=1)
        reach = np.concatenate([self.reach, other.reach], axis=1)
        order = np.argsort(-reach, axis=1, kind="stable")
        most = np.maximum(self.most, other.most)
        return Named(np.take_along_axis(ids, order, 1), np.take_along_axis(reach, order, 1), most)


class Coarse(Protocol):
    """Names rows that are then scored exactly: more than are asked for, by scores that are near the cosines.

    fewest: it names so many in no more time than fewer.
    """

    fewest: int

    def __len__(self) -> int: ...

    def nearest(
        self, queries: NDArray[np.float32], count: int, allowed: NDArray[np.int64] | None
    ) -> tuple[Neighbours, NDArray[np.float32]]:
        """The count best by their scores, of all rows or of the ids in allowed (M,), and the error of each query (Q,).

        A row that is not named has a cosine of at most the last score and the error, for all that is known. Ids may be
        of removed rows.
        """

    def close(self) -> None:
        """Give back memory and threads."""


def best_of(found: Sequence[Neighbours], count: int) -> Neighbours:
    """The count best of several lists for the same queries, or as many as there are."""
    ids = np.concatenate([each.ids for each in found], axis=1)
    scores = np.concatenate([each.scores for each in found], axis=1)
    if 0 < count < scores.shape[1]:  # sorting all of them would take longer than finding them
        kept = np.argpartition(-scores, count - 1, axis=1)[:, :count]
        ids, scores = np.take_along_axis(ids, kept, 1), np.take_along_axis(scores, kept, 1)
    order = np.argsort(-scores, axis=1)[:, :count]
    return Neighbours(np.take_along_axis(ids, order, 1), np.take_along_axis(scores, order, 1))
