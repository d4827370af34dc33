"""From one query vector to the items that may answer it: search every view, unite, complete."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmsearch.index.catalog import Catalog
from mmsearch.index.indexes import Indexes
from mmsearch.index.items import VIEWS, View
from mmsearch.index.vectors import PADDING_ID, Neighbours


@dataclass(frozen=True, slots=True)
class Candidates:
    """The items that any view's search brought up, with the best row of every view that they have.

    items:  (C,) int64 item ids, ascending.
    rows:   (C, V) int64 id of the item's best row in each view of VIEWS, -1 where it lacks the view.
    cosine: (C, V) float32 of that row to the query, NaN where the item lacks the view.
    """

    items: NDArray[np.int64]
    rows: NDArray[np.int64]
    cosine: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.items)


def gather(
    catalog: Catalog,
    indexes: Indexes,
    queries: NDArray[np.float32],
    depth: int,
    allowed: Mapping[View, NDArray[np.int64]] | None = None,
) -> list[Candidates]:
    """Candidates for each of queries (Q, D): per view the best `depth` rows, among the allowed row ids if given.

    An item found through one view is completed with its other views, so that no candidate is scored on
    less than it has. Row depth is what is stated; an item with many good rows uses up several of them.
    """
    found = {
        view: indexes.search(view, queries, depth, None if allowed is None else allowed[view])
        for view in VIEWS
        if indexes.count(view)
    }
    return [_unite(catalog, indexes, query, found, at) for at, query in enumerate(queries)]


def _unite(
    catalog: Catalog,
    indexes: Indexes,
    query: NDArray[np.float32],
    found: Mapping[View, Neighbours],
    at: int,
) -> Candidates:
    ids = {view: near.ids[at][near.ids[at] != PADDING_ID] for view, near in found.items()}
    owners = {view: catalog.owners(rows) for view, rows in ids.items()}
    # A row that another process deleted since the search has no owner.
    # A set: np.unique imports numpy.ma, which costs a cold query more than the search.
    items = np.array(sorted({item for owned in owners.values() for item in owned.tolist()}), np.int64)
    items = items[items != PADDING_ID]
    best_rows = np.full((len(items), len(VIEWS)), PADDING_ID, np.int64)
    cosine = np.full((len(items), len(VIEWS)), np.nan, np.float32)
    for view, rows in ids.items():
        column = VIEWS.index(view)
        scores = found[view].scores[at][: len(rows)]
        _keep_best(items, best_rows[:, column], cosine[:, column], owners[view], rows, scores)
        lacking = items[best_rows[:, column] == PADDING_ID]
        more_rows, more_owners = catalog.rows_of_items(lacking, view)
        more_scores = indexes.vectors(view, more_rows) @ query
        _keep_best(items, best_rows[:, column], cosine[:, column], more_owners, more_rows, more_scores)
    return Candidates(items, best_rows, cosine)


def _keep_best(
    items: NDArray[np.int64],
    best_rows: NDArray[np.int64],
    best_cosine: NDArray[np.float32],
    owners: NDArray[np.int64],
    rows: NDArray[np.int64],
    scores: NDArray[np.float32],
) -> None:
    """Write, for every owner among items, its best-scoring row into best_rows and best_cosine, in place."""
    kept = owners != PADDING_ID
    owners, rows, scores = owners[kept], rows[kept], scores[kept]
    # Worst first: NumPy assigns in order, so the last write of an item is its best row, ties to the smaller id.
    order = np.lexsort((-rows, scores))
    places = np.searchsorted(items, owners[order])
    best_rows[places] = rows[order]
    best_cosine[places] = scores[order]
