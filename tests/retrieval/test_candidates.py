"""Candidates are complete: what one view's search brings up is scored on every view that it has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from tests.index.samples import DIM, photo, row, unit

from mmsearch.index.catalog import Catalog
from mmsearch.index.indexes import Indexes
from mmsearch.index.items import VIEWS, ItemFilter, View
from mmsearch.retrieval.candidates import Candidates, gather, shortlist

ITEMS = 40


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    """Items with up to three rows in each of a random choice of views."""
    opened = Catalog.open(tmp_path_factory.mktemp("library") / "catalog.sqlite")
    root = opened.add_root(Path("/photos"))
    draw = np.random.default_rng(0)
    items = []
    for i in range(ITEMS):
        views = [view for view in VIEWS for _ in range(draw.integers(0, 4))]
        items.append(photo(root.id, f"{i}.jpg", *(row(view, seed=int(draw.integers(1 << 30))) for view in views)))
    opened.record(items)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def indexes(catalog: Catalog, tmp_path_factory: pytest.TempPathFactory) -> Indexes:
    return Indexes(catalog, tmp_path_factory.mktemp("vectors"), DIM)


def best_rows(catalog: Catalog, query: np.ndarray) -> dict[tuple[int, View], tuple[float, int]]:
    """By brute force: the best cosine, and the smallest id that has it, of each item in each view."""
    best: dict[tuple[int, View], tuple[float, int]] = {}
    for view in VIEWS:
        ids, vectors = catalog.rows_after(view, 0, 10_000)
        for id_, owner, score in zip(ids, catalog.facts(ids).owners, vectors.astype(np.float32) @ query, strict=True):
            known = best.get((int(owner), view), (-np.inf, 0))
            best[int(owner), view] = max(known, (float(score), -int(id_)))
    return {key: (score, -id_) for key, (score, id_) in best.items()}


@pytest.mark.parametrize("depth", [1, 3, 1000])
def test_every_candidate_has_its_best_row_of_every_view(catalog: Catalog, indexes: Indexes, depth: int) -> None:
    queries = unit(5, seed=7)
    for query, found in zip(queries, gather(catalog, indexes, queries, [""] * 5, depth), strict=True):
        best = best_rows(catalog, query)
        for place, item in enumerate(found.items.tolist()):
            for column, view in enumerate(VIEWS):
                score, row_id = best.get((item, view), (np.nan, -1))
                assert found.rows[place, column] == row_id
                np.testing.assert_allclose(found.cosine[place, column], score, atol=1e-5)


@pytest.mark.parametrize("depth", [1, 3])
def test_the_best_item_of_every_view_is_a_candidate(catalog: Catalog, indexes: Indexes, depth: int) -> None:
    (query,) = queries = unit(1, seed=8)
    (found,) = gather(catalog, indexes, queries, [""], depth * len(VIEWS))
    for view in VIEWS:
        ids, vectors = catalog.rows_after(view, 0, 10_000)
        nearest = ids[np.argsort(-(vectors.astype(np.float32) @ query))[:depth]]
        assert set(catalog.facts(nearest).owners.tolist()) <= set(found.items.tolist())


def test_the_vectors_are_those_of_the_rows(catalog: Catalog, indexes: Indexes) -> None:
    queries = unit(1, seed=9)
    (found,) = gather(catalog, indexes, queries, [""], 1000)
    assert (found.vectors[found.rows < 0] == 0).all()
    np.testing.assert_allclose((found.vectors @ queries[0])[found.rows >= 0], found.cosine[found.rows >= 0], atol=1e-6)


def test_only_items_that_pass_the_filter_are_candidates(catalog: Catalog, indexes: Indexes) -> None:
    (found,) = gather(catalog, indexes, unit(1), [""], 10, ItemFilter(path_glob="[0-4].jpg"))
    assert {catalog.describe(found.rows[at].tolist()).popitem()[1].item.path.name for at in range(len(found))} == {
        f"{i}.jpg" for i in range(5)
    }


@pytest.mark.parametrize(
    ("lists", "depth", "expected"),
    [
        ([], 3, []),
        ([[]], 3, []),
        ([[5, 4, 3], [9, 8, 7]], 2, [5, 9]),
        ([[5, 4, 3], [9, 8, 7]], 3, [4, 5, 9]),
        ([[5, 5, 5, 4], [9, 8]], 4, [4, 5, 8, 9]),
        ([[1, 2, 3], [3]], 2, [1, 3]),
    ],
)
def test_the_short_list_takes_from_every_list_in_turn(lists: list[list[int]], depth: int, expected: list[int]) -> None:
    assert shortlist([np.array(each, np.int64) for each in lists], depth).tolist() == expected


def test_a_query_has_the_same_candidates_alone_and_among_others(catalog: Catalog, indexes: Indexes) -> None:
    queries = unit(6, seed=11)
    together = list(gather(catalog, indexes, queries, [""] * 6, 5))
    for at in range(6):
        (alone,) = gather(catalog, indexes, queries[at : at + 1], [""], 5)
        for field in fields(Candidates):
            np.testing.assert_array_equal(getattr(alone, field.name), getattr(together[at], field.name))


def test_an_empty_library_has_no_candidates(tmp_path: Path) -> None:
    empty = Catalog.open(tmp_path / "catalog.sqlite")
    (found,) = gather(empty, Indexes(empty, tmp_path / "vectors", DIM), unit(1), [""], 10)
    assert isinstance(found, Candidates)
    assert len(found) == 0
    assert found.rows.shape == found.cosine.shape == (0, len(VIEWS))
    empty.close()
