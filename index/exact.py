"""The exact store: every cosine is computed. It is what other stores are measured against."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from mmsearch.index.durable import replace_file, unused
from mmsearch.index.errors import DimensionMismatch
from mmsearch.index.vectors import PADDING_ID, PADDING_SCORE, Neighbours, Vectors


class ExactStore:
    """Vectors in one NumPy array, by ascending id."""

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self._ids = np.empty(0, np.int64)
        self._vectors = np.empty((0, dim), np.float32)

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, ids: NDArray[np.int64], vectors: Vectors) -> None:
        """Add vectors (N, D) under ids (N,) that are not stored yet. Raises DimensionMismatch."""
        check_dim(vectors, self.dim)
        all_ids = np.concatenate([self._ids, ids])
        order = np.argsort(all_ids)
        self._ids = all_ids[order]
        self._vectors = np.concatenate([self._vectors, vectors.astype(np.float32)])[order]

    def remove(self, ids: NDArray[np.int64]) -> None:
        """Remove the vectors of ids (N,); ids that are not stored are passed over."""
        kept = ~np.isin(self._ids, ids)
        self._ids, self._vectors = self._ids[kept], self._vectors[kept]

    def search(self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.int64] | None = None) -> Neighbours:
        """The k best of all stored vectors, or of those whose id is in allowed (M,), for queries (Q, D)."""
        check_dim(queries, self.dim)
        chosen = slice(None) if allowed is None else np.isin(self._ids, allowed)
        ids, vectors = self._ids[chosen], self._vectors[chosen]
        found = [best(ids, cosines(vectors, query), k) for query in queries.astype(np.float32)]
        return stack(found, k)

    def get(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """The stored vectors (N, D) of ids (N,); KeyError where one is not stored."""
        places = np.searchsorted(self._ids, ids)
        missing = ids[~np.isin(ids, self._ids)]
        if len(missing):
            raise KeyError(int(missing[0]))
        return self._vectors[places]

    def ids(self) -> NDArray[np.int64]:
        """All stored ids (N,), ascending."""
        return self._ids.copy()

    def prepare(self, questions: Callable[[], Vectors]) -> None:
        """Make what many rows are searched by: nothing."""

    def plan(self) -> str:
        """By what a search goes, and why."""
        return "scan (exact)"

    def save(self, folder: Path, stem: str) -> list[str]:
        """Write everything into a new file of a folder, STEM-N.npz; its name."""
        path = unused(folder, stem, ".npz")
        replace_file(path, lambda file: np.savez(file, ids=self._ids, vectors=self._vectors))
        return [path.name]

    @classmethod
    def load(cls, folder: Path, names: Sequence[str]) -> Self:
        """Read what save wrote."""
        (name,) = names
        with np.load(folder / name) as stored:
            store = cls(stored["vectors"].shape[1])
            store._ids, store._vectors = stored["ids"], stored["vectors"]
        return store

    def close(self) -> None:
        """Give back what is held beside the vectors: nothing."""


def check_dim(vectors: Vectors, dim: int) -> None:
    """DimensionMismatch unless vectors are (N, dim)."""
    got = vectors.shape[1] if vectors.ndim == 2 else vectors.size
    if vectors.ndim != 2 or got != dim:
        raise DimensionMismatch(expected=dim, got=got)


def cosines(vectors: NDArray[np.float32], query: NDArray[np.float32]) -> NDArray[np.float32]:
    """Inner products (..., N) of vectors (..., N, D) with queries (..., D)."""
    # Not a matrix product: BLAS rounds a row differently depending on where it stands, and equal vectors
    # would then no longer tie. This sums every row alike, if each lies in one piece.
    rows, asked = np.ascontiguousarray(vectors), np.ascontiguousarray(query)
    products: NDArray[np.float32] = np.einsum("...nd,...d->...n", rows, asked)
    return products


def best(ids: NDArray[np.int64], scores: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The ids and scores (at most k of each) of the k best of N, best first."""
    if 0 < k < len(scores):  # sorting all of them would take longer than finding them
        kept = scores >= np.partition(scores, len(scores) - k)[len(scores) - k]
        ids, scores = ids[kept], scores[kept]
    # lexsort's last key is the primary one: score first, then the smaller id.
    order = np.lexsort((ids, -scores))[:k]
    return ids[order], scores[order]


def best_of_each(ids: NDArray[np.int64], scores: NDArray[np.float32], k: int) -> Neighbours:
    """The k best of each query's ids (Q, M) by their scores (Q, M), best first, padded to k; those of -inf are none."""
    order = np.lexsort((ids, -scores))[:, :k]
    places = np.arange(len(ids))[:, None], order
    done = Neighbours.none(len(ids), k)
    done.scores[:, : order.shape[1]], done.ids[:, : order.shape[1]] = scores[places], ids[places]
    done.ids[done.scores == PADDING_SCORE] = PADDING_ID
    return done


def stack(found: list[tuple[NDArray[np.int64], NDArray[np.float32]]], k: int) -> Neighbours:
    """The answers of Q queries, each padded to k."""
    done = Neighbours.none(len(found), k)
    for at, (ids, scores) in enumerate(found):
        done.ids[at, : len(ids)] = ids
        done.scores[at, : len(scores)] = scores
    return done
