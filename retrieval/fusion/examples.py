"""Judged queries with their measured candidates: what heads are trained and compared on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmsearch.retrieval.fusion.signals import Signals


@dataclass(frozen=True, slots=True)
class Examples:
    """N judged queries, the candidates of each padded to C.

    odds:     (N, C, V) and base (N, C) float32.
    views:    (N, C, V, S), items (N, C, I) and query (N, Q) float16 or float32.
    present:  (N, C, V) and valid (N, C) bool. All of these as in Signals.
    table:    (R, D) float16 unit rows. rows: (N, C, V) int32 places in table, -1 where a view is lacking.
    targets:  (N, D) float16 vectors of the queries.
    relevant: (N, C) bool, the candidates that are right.
    wanted:   (N,) int32 right items in the library, found among the candidates or not.
    has:      (N, V) bool views of the (first) right item.
    group:    (N,) str the photo or clip that the query is about; a split or a bootstrap goes by it.
    regime:   (N,) str.
    """

    odds: NDArray[np.float32]
    base: NDArray[np.float32]
    views: NDArray[np.floating]
    present: NDArray[np.bool_]
    items: NDArray[np.floating]
    query: NDArray[np.floating]
    valid: NDArray[np.bool_]
    table: NDArray[np.float16]
    rows: NDArray[np.int32]
    targets: NDArray[np.float16]
    relevant: NDArray[np.bool_]
    wanted: NDArray[np.int32]
    has: NDArray[np.bool_]
    group: NDArray[np.str_]
    regime: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.base)

    def signals(self, at: NDArray[np.integer] | int, *, vectors: bool = True) -> Signals:
        """Signals of the queries at those places, float32, with the leading dimensions of at.

        vectors: False leaves them empty, for the heads that do not look at them.
        """
        rows = self.rows[at]
        has = rows >= 0
        looked_up = np.zeros((*rows.shape, self.table.shape[1] if vectors else 0), np.float32)
        if vectors:
            looked_up[has] = self.table[rows[has]]
        return Signals(
            odds=self.odds[at],
            base=self.base[at],
            views=self.views[at].astype(np.float32),
            present=self.present[at],
            items=self.items[at].astype(np.float32),
            query=self.query[at].astype(np.float32),
            vectors=looked_up,
            target=self.targets[at].astype(np.float32),
            valid=self.valid[at],
        )
