"""From one query to the items that may answer it: every list's best, a short list of them, completed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Self

import numpy as np
from numpy.typing import NDArray

from mmsearch.index.ascending import find, is_among
from mmsearch.index.exact import cosines
from mmsearch.index.indexes import Indexes
from mmsearch.index.items import VIEWS, ItemFilter, View
from mmsearch.index.lexicon import bm25
from mmsearch.index.matches import Matches
from mmsearch.index.reader import Reader
from mmsearch.index.row_table import RowTable
from mmsearch.index.rows import RowFacts
from mmsearch.index.vectors import PADDING_ID

EVERYTHING = ItemFilter()
_NONE = np.empty(0, np.int64)

VectorsOf = Callable[[int], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Candidates:
    """The short list of a query: C items with the best row of every view of VIEWS that they have.

    items:   (C,) int64 item ids, ascending.
    rows:    (C, V) int64 id of the item's best row in each view, -1 where it lacks the view.
    cosine:  (C, V) float32 of that row to the query, NaN where the item lacks the view.
    hubness: (C, V) float32 of that row, NaN where the item lacks the view or it is not measured yet.
    words:   (C, V) float32 BM25 of the view's best text to the query's words, 0 where they share none; NaN where
             the item lacks the view, and always for `image`. Best of the row above and of those found by words.
    name:    (C,) float32 weight of the query's words that the item's path, title or tags hold, 0 where none.
    name_coverage: (C,) float32 in [0, 1] the part that this is of the weight of all the query's words.
    vectors: gives those (C, D) float32 of a column's rows, 0 where the item lacks the view; few queries need them.
    """

    items: NDArray[np.int64]
    rows: NDArray[np.int64]
    cosine: NDArray[np.float32]
    hubness: NDArray[np.float32]
    words: NDArray[np.float32]
    name: NDArray[np.float32]
    name_coverage: NDArray[np.float32]
    vectors: VectorsOf

    def __len__(self) -> int:
        return len(self.items)

    def all_vectors(self) -> NDArray[np.float32]:
        """(C, V, D) the vectors of all views."""
        return np.stack([self.vectors(column) for column in range(len(VIEWS))], axis=1)


@dataclass(frozen=True, slots=True)
class Ranking:
    """Rows (M,) of one view with the items (M,) that own them and their cosines (M,), best first."""

    rows: NDArray[np.int64]
    owners: NDArray[np.int64]
    cosine: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Allowed:
    """Ids of what may be found, ascending; None where everything may."""

    rows: Mapping[View, NDArray[np.int64] | None]
    texts: NDArray[np.int64] | None = None
    items: NDArray[np.int64] | None = None

    @classmethod
    def by(cls, catalog: Reader, only: ItemFilter) -> Self:
        """What passes a filter."""
        if only.is_open:
            return cls(dict.fromkeys(VIEWS))
        rows = {view: catalog.select(view, only) for view in VIEWS}
        return cls(rows, np.sort(np.concatenate(list(rows.values()))), catalog.select_items(only))


@dataclass(frozen=True, slots=True)
class Spoken:
    """What shares words with a query, rows by their texts and items by their names.

    rows:  (R,) int64 ids of the rows that share the most, best first; facts: what is known of them.
    items: (I,) int64 ids of the items whose names share the most, best first.
    """

    texts: Matches
    names: Matches
    rows: NDArray[np.int64]
    facts: RowFacts
    items: NDArray[np.int64]

    @property
    def owners(self) -> NDArray[np.int64]:
        """(<= R,) the items of the rows, best first, without those of rows that were deleted meanwhile."""
        kept: NDArray[np.int64] = self.facts.owners[self.facts.owners != PADDING_ID]
        return kept


class Facts:
    """What is known of the rows that one query meets, each asked for once: they may go while it is answered."""

    def __init__(self, rows: RowTable) -> None:
        self._rows = rows
        self._ids = np.array([PADDING_ID])  # ascending
        self._known = RowFacts.gone()

    def of(self, row_ids: NDArray[np.int64]) -> RowFacts:
        """The facts of row_ids (N,), in their order; those of PADDING_ID are those of a row that is not stored."""
        fresh = row_ids[~is_among(row_ids, self._ids)]
        if len(fresh):
            ids = np.concatenate([self._ids, fresh])
            order = np.argsort(ids)
            self._ids, self._known = ids[order], self._known.followed_by(self._rows.facts(fresh)).at(order)
        return self._known.at(np.searchsorted(self._ids, row_ids))


def gather(
    catalog: Reader,
    indexes: Indexes,
    targets: NDArray[np.float32],
    words: Sequence[str],
    depth: int,
    only: ItemFilter = EVERYTHING,
) -> Iterator[Candidates]:
    """Candidates for each of Q queries, one after the other: targets (Q, D) are their vectors, words what they say.

    Of each view the best `depth` rows are looked at, and as many rows and items that share words with the query;
    `depth` items are short-listed out of all of them, of those that pass the filter. A query's candidates do not
    depend on the others beside it.
    """
    allowed = Allowed.by(catalog, only)
    found = {view: indexes.search(view, targets, depth, allowed.rows[view]) for view in VIEWS if indexes.count(view)}
    for at, (target, text) in enumerate(zip(targets, words, strict=True)):
        near, facts = {view: (each.ids[at], each.scores[at]) for view, each in found.items()}, Facts(indexes.rows)
        rankings = _with_owners(facts, near)
        spoken = _spoken(facts, indexes, text, depth, allowed)
        lists = [ranking.owners for ranking in rankings.values()]
        items = shortlist([*lists, spoken.owners, spoken.items], depth)
        yield _completed(facts, indexes, items, target, rankings, spoken)


def shortlist(lists: Sequence[NDArray[np.int64]], depth: int) -> NDArray[np.int64]:
    """The `depth` items (C,), ascending, that stand highest in any list of item ids, each list best first.

    An item counts by its best rank over the lists, ties go to the smaller id: so every list gives its best, and none
    crowds out another, however their scores compare.

    >>> shortlist([np.array([7, 7, 3, 1]), np.array([2, 9])], 3).tolist()
    [2, 3, 7]
    """
    ranked = [_once(each) for each in lists]
    items = np.concatenate([_NONE, *ranked])
    ranks = np.concatenate([_NONE, *(np.arange(len(each)) for each in ranked)])
    return np.sort(_once(items[np.lexsort((items, ranks))])[:depth])


def _once(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each of the values (N,) where it first stands, (M,)."""
    _, first = np.unique(values, return_index=True)
    return values[np.sort(first)]


def _with_owners(
    facts: Facts, near: Mapping[View, tuple[NDArray[np.int64], NDArray[np.float32]]]
) -> dict[View, Ranking]:
    """The rows and scores of each view's list that still have an owner: another process may have deleted some."""
    ids = [_NONE, *(rows for rows, _ in near.values())]
    owners = np.split(facts.of(np.concatenate(ids)).owners, np.cumsum([len(each) for each in ids]))[1:]
    rankings = {}
    for (view, (rows, scores)), owned in zip(near.items(), owners, strict=False):
        kept = owned != PADDING_ID  # so has the padding of a list that is not full
        rankings[view] = Ranking(rows[kept], owned[kept], scores[kept])
    return rankings


def _spoken(facts: Facts, indexes: Indexes, words: str, depth: int, allowed: Allowed) -> Spoken:
    texts, names = indexes.lexicon.texts(words), indexes.lexicon.names(words)
    rows = texts.best(depth, allowed.texts)
    return Spoken(texts, names, rows, facts.of(rows), names.best(depth, allowed.items))


def _completed(
    facts: Facts,
    indexes: Indexes,
    items: NDArray[np.int64],
    target: NDArray[np.float32],
    rankings: Mapping[View, Ranking],
    spoken: Spoken,
) -> Candidates:
    """Items with all their views, so that none is judged on less than it has. One without any row is left out."""
    rows, cosine = _best_rows(indexes, items, target, rankings)
    kept = (rows != PADDING_ID).any(axis=1)  # a sound without a caption has a name, and nothing to show for it
    items, rows, cosine = items[kept], rows[kept], cosine[kept]
    known = facts.of(rows.ravel())
    words = bm25(spoken.texts.at(rows.ravel()), known.characters).reshape(rows.shape)
    words[np.isnan(cosine)] = np.nan
    words[:, VIEWS.index("image")] = np.nan
    _raise_to_best(items, words, spoken)
    hubness, names = known.hubness.reshape(rows.shape), spoken.names
    vectors = cache(partial(_vectors, indexes, rows))
    return Candidates(items, rows, cosine, hubness, words, names.at(items), names.coverage(items), vectors)


def _vectors(indexes: Indexes, rows: NDArray[np.int64], column: int) -> NDArray[np.float32]:
    """(C, D) of the rows (C, V) in a column, 0 where there is none."""
    has = rows[:, column] != PADDING_ID
    if has.all():
        return indexes.vectors(VIEWS[column], rows[:, column])
    vectors = np.zeros((len(rows), indexes.dim), np.float32)
    if has.any():
        vectors[has] = indexes.vectors(VIEWS[column], rows[has, column])
    return vectors


def _best_rows(
    indexes: Indexes,
    items: NDArray[np.int64],
    target: NDArray[np.float32],
    rankings: Mapping[View, Ranking],
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The row (C, V) of each view that is nearest to the target, -1 where there is none, and its cosine (C, V)."""
    rows = np.full((len(items), len(VIEWS)), PADDING_ID, np.int64)
    cosine = np.full(rows.shape, np.nan, np.float32)
    for view, ranking in rankings.items():
        column = VIEWS.index(view)
        _keep_best(items, rows[:, column], cosine[:, column], ranking)
        without = items[rows[:, column] == PADDING_ID]
        more, owners = indexes.rows.rows_of_items(without, view) if len(without) else (without, without)
        if len(more):
            others = Ranking(more, owners, cosines(indexes.vectors(view, more), target))
            _keep_best(items, rows[:, column], cosine[:, column], others)
    return rows, cosine


def _raise_to_best(items: NDArray[np.int64], words: NDArray[np.float32], spoken: Spoken) -> None:
    """Let the texts that the words brought up count where they say more than the rows that the vector chose."""
    at_hand, places = find(items, spoken.facts.owners)
    if not at_hand.any():
        return
    scores = bm25(spoken.texts.at(spoken.rows), spoken.facts.characters)[at_hand]
    np.fmax.at(words, (places[at_hand], spoken.facts.views[at_hand]), scores)


def _keep_best(
    items: NDArray[np.int64], best_rows: NDArray[np.int64], best_cosine: NDArray[np.float32], ranking: Ranking
) -> None:
    """Write, for every owner among items, its best-scoring row into best_rows and best_cosine, in place."""
    kept, places = find(items, ranking.owners)
    places, rows, cosine = places[kept], ranking.rows[kept], ranking.cosine[kept]
    # Worst first: NumPy assigns in order, so the last write of an item is its best row, ties to the smaller id.
    order = np.lexsort((-rows, cosine))
    best_rows[places[order]] = rows[order]
    best_cosine[places[order]] = cosine[order]
