"""The store that a library uses: FAISS over float16 codes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mmsearch.index.durable import replace_file
from mmsearch.index.exact import best, check_dim, cosines, stack
from mmsearch.index.vectors import PADDING_ID, Neighbours

# How many more than k are fetched at first, so that ties at the k-th place seldom reach the end of the list.
_MARGIN = 32

# Scores closer than this may be ties: FAISS adds up in another order than `cosines`.
ROUNDING = 1e-5


class FaissStore:
    """An IndexScalarQuantizer of float16 codes: the very values that the catalogue holds, so nothing is lost.

    What FAISS finds is scored again in float32 and sorted by the convention, so that the answers are those
    of ExactStore on the same values. A loaded store stays on the disk until it is searched, and is copied
    into memory when it first changes.
    """

    def __init__(self, dim: int) -> None:
        self.dim = dim
        faiss = _faiss()
        codes = faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
        self._index: Any = faiss.IndexIDMap2(codes)
        self._is_mapped = False

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def add(self, ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Add vectors (N, D) under ids (N,) that are not stored yet. Raises DimensionMismatch."""
        check_dim(vectors, self.dim)
        self._own()
        self._index.add_with_ids(_rows(vectors), np.ascontiguousarray(ids, np.int64))

    def remove(self, ids: NDArray[np.int64]) -> None:
        """Remove the vectors of ids (N,); ids that are not stored are passed over."""
        self._own()
        self._index.remove_ids(np.ascontiguousarray(ids, np.int64))

    def search(self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.int64] | None = None) -> Neighbours:
        """The k best of all stored vectors, or of those whose id is in allowed (M,), for queries (Q, D)."""
        check_dim(queries, self.dim)
        queries = _rows(queries)
        found = self._fetch(queries, k, allowed)
        return stack([self._rank(query, ids, k) for query, ids in zip(queries, found, strict=True)], k)

    def _fetch(self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.int64] | None) -> NDArray[np.int64]:
        """Ids (Q, M) among which are the k best of each query and all that tie with the last of them."""
        fetched = k + _MARGIN
        while True:
            found, rounding = self._nearest(queries, fetched, allowed)
            # A list that is not full holds all there is: its last score is -inf.
            if not np.any(found.scores[:, -1] > found.scores[:, k - 1] - rounding):
                return found.ids
            fetched *= 4

    def _nearest(
        self, queries: NDArray[np.float32], count: int, allowed: NDArray[np.int64] | None
    ) -> tuple[Neighbours, float]:
        """At least count rows with the best scores, and how close two of these scores may be and yet tie."""
        parameters = None if allowed is None else _only(allowed)
        scores, ids = self._index.search(queries, count, params=parameters)
        return Neighbours(np.asarray(ids, np.int64), scores), ROUNDING

    def _rank(
        self, query: NDArray[np.float32], ids: NDArray[np.int64], k: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        ids = ids[ids != PADDING_ID]
        return best(ids, cosines(self.get(ids), query), k)

    def get(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """The stored vectors (N, D) of ids (N,); KeyError where one is not stored."""
        if not len(ids):
            return np.empty((0, self.dim), np.float32)
        try:
            return np.asarray(self._index.reconstruct_batch(np.ascontiguousarray(ids, np.int64)))
        except RuntimeError as error:
            missing = ids[~np.isin(ids, self.ids())]
            raise KeyError(int(missing[0])) from error

    def ids(self) -> NDArray[np.int64]:
        """All stored ids (N,), ascending."""
        return np.sort(self._stored_ids())

    def _stored_ids(self) -> NDArray[np.int64]:
        """All stored ids (N,), in the order of the codes."""
        return np.asarray(_faiss().vector_to_array(self._index.id_map), np.int64)

    def save(self, path: Path) -> None:
        """Write everything into the file path."""
        # Through Python's own file: FAISS does not hear of an error when it closes a file that it opened.
        faiss = _faiss()
        replace_file(path, lambda file: faiss.write_index(self._index, faiss.PyCallbackIOWriter(file.write)))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what save wrote. The file may be replaced or deleted afterwards, but not changed."""
        store = cls.__new__(cls)
        faiss = _faiss()
        store._index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
        store.dim = store._index.d
        store._is_mapped = True
        return store

    def close(self) -> None:
        """Give back what is held beside the vectors: nothing."""

    def _own(self) -> None:
        """Copy a mapped index into memory; FAISS ends the process when a mapped one is changed."""
        if self._is_mapped:
            faiss = _faiss()
            self._index = faiss.deserialize_index(faiss.serialize_index(self._index))
            self._is_mapped = False


def _rows(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.ascontiguousarray(vectors, np.float32)


def _only(allowed: NDArray[np.int64]) -> Any:
    """FAISS search parameters that let only the ids in allowed through."""
    faiss = _faiss()
    return faiss.SearchParameters(sel=faiss.IDSelectorBatch(np.ascontiguousarray(allowed, np.int64)))


def _faiss() -> Any:
    """The module, imported when it is first needed; untyped, since its stubs lack half of what is used here."""
    import faiss

    return faiss
