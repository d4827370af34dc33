"""From one query to the items that may answer it: every list's best, a short list of them, completed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmsearch.index.catalog import Catalog
from mmsearch.index.exact import cosines
from mmsearch.index.indexes import Indexes
from mmsearch.index.items import VIEWS, ItemFilter, View
from mmsearch.index.vectors import PADDING_ID

EVERYTHING = ItemFilter()


@dataclass(frozen=True, slots=True)
class Candidates:
    """The short list of a query: C items with the best row of every view of VIEWS that they have.

    items:   (C,) int64 item ids, ascending.
    rows:    (C, V) int64 id of the item's best row in each view, -1 where it lacks the view.
    cosine:  (C, V) float32 of that row to the query, NaN where the item lacks the view.
    hubness: (C, V) float32 of that row, NaN where the item lacks the view or it is not measured yet.
    words:   (C, V) float32 BM25 of the view's best text to the query's words, 0 where they share none; NaN where
             the item lacks the view, and always for `image`.
    name:    (C,) float32 BM25 of the item's path, title and tags to the query's words, 0 where they share none.
    vectors: (C, V, D) float32 of the rows, 0 where the item lacks the view.
    """

    items: NDArray[np.int64]
    rows: NDArray[np.int64]
    cosine: NDArray[np.float32]
    hubness: NDArray[np.float32]
    words: NDArray[np.float32]
    name: NDArray[np.float32]
    vectors: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True, slots=True)
class Ranking:
    """Rows (M,) of one view with the items (M,) that own them and their cosines (M,), best first."""

    rows: NDArray[np.int64]
    owners: NDArray[np.int64]
    cosine: NDArray[np.float32]


def gather(
    catalog: Catalog,
    indexes: Indexes,
    targets: NDArray[np.float32],
    words: Sequence[str],
    depth: int,
    only: ItemFilter = EVERYTHING,
) -> Iterator[Candidates]:
    """Candidates for each of Q queries, one after the other: targets (Q, D) are their vectors, words what they say.

    Of each view the best `depth` rows are looked at, and `depth` items are short-listed out of all of them, of those
    that pass the filter. A query's candidates do not depend on the others beside it.
    """
    allowed = None if only.is_open else {view: catalog.select(view, only) for view in VIEWS}
    found = {
        view: indexes.search(view, targets, depth, None if allowed is None else allowed[view])
        for view in VIEWS
        if indexes.count(view)
    }
    for at, target in enumerate(targets):
        rows = {view: near.ids[at][near.ids[at] != PADDING_ID] for view, near in found.items()}
        scores = {view: near.scores[at] for view, near in found.items()}
        rankings = _with_owners(catalog, rows, scores)
        items = shortlist([ranking.owners for ranking in rankings.values()], depth)
        yield _completed(catalog, indexes, items, target, rankings)


def shortlist(lists: Sequence[NDArray[np.int64]], depth: int) -> NDArray[np.int64]:
    """The `depth` items (C,), ascending, that stand highest in any list of item ids, each list best first.

    An item counts by its best rank over the lists, ties go to the smaller id: so every list gives its best, and none
    crowds out another, however their scores compare.

    >>> shortlist([np.array([7, 7, 3, 1]), np.array([2, 9])], 3).tolist()
    [2, 3, 7]
    """
    best: dict[int, int] = {}
    for ranked in lists:
        for rank, item in enumerate(dict.fromkeys(ranked.tolist())):
            best[item] = min(rank, best.get(item, rank))
    highest = sorted(best, key=lambda item: (best[item], item))[:depth]
    return np.array(sorted(highest), np.int64)


def _with_owners(
    catalog: Catalog, rows: Mapping[View, NDArray[np.int64]], scores: Mapping[View, NDArray[np.float32]]
) -> dict[View, Ranking]:
    """The rows of each view's list that still have an owner: another process may have deleted some meanwhile."""
    rankings = {}
    for view, ids in rows.items():
        owners = catalog.owners(ids)
        kept = owners != PADDING_ID
        rankings[view] = Ranking(ids[kept], owners[kept], scores[view][: len(ids)][kept])
    return rankings


def _completed(
    catalog: Catalog,
    indexes: Indexes,
    items: NDArray[np.int64],
    target: NDArray[np.float32],
    rankings: Mapping[View, Ranking],
) -> Candidates:
    """Items with all their views, so that none is judged on less than it has."""
    shape = (len(items), len(VIEWS))
    rows = np.full(shape, PADDING_ID, np.int64)
    cosine = np.full(shape, np.nan, np.float32)
    vectors = np.zeros((*shape, len(target)), np.float32)
    for view, ranking in rankings.items():
        column = VIEWS.index(view)
        _keep_best(items, rows[:, column], cosine[:, column], ranking)
        lacking = items[rows[:, column] == PADDING_ID]
        more_rows, more_owners = catalog.rows_of_items(lacking, view)
        more_cosine = cosines(indexes.vectors(view, more_rows), target)
        _keep_best(items, rows[:, column], cosine[:, column], Ranking(more_rows, more_owners, more_cosine))
        has = rows[:, column] != PADDING_ID
        vectors[has, column] = indexes.vectors(view, rows[has, column])
    hubness = np.full(shape, np.nan, np.float32)
    lexical = np.where(np.isnan(cosine) | (np.array(VIEWS) == "image"), np.float32(np.nan), np.float32(0))
    return Candidates(items, rows, cosine, hubness, lexical, np.zeros(len(items), np.float32), vectors)


def _keep_best(
    items: NDArray[np.int64], best_rows: NDArray[np.int64], best_cosine: NDArray[np.float32], ranking: Ranking
) -> None:
    """Write, for every owner among items, its best-scoring row into best_rows and best_cosine, in place."""
    kept = np.isin(ranking.owners, items)
    owners, rows, cosine = ranking.owners[kept], ranking.rows[kept], ranking.cosine[kept]
    # Worst first: NumPy assigns in order, so the last write of an item is its best row, ties to the smaller id.
    order = np.lexsort((-rows, cosine))
    places = np.searchsorted(items, owners[order])
    best_rows[places] = rows[order]
    best_cosine[places] = cosine[order]
