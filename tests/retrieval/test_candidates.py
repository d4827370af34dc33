"""Candidates are complete: what one view's search brings up is scored on every view that it has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.index.samples import DIM, photo, row, unit

from mmsearch.index.catalog import Catalog
from mmsearch.index.indexes import Indexes
from mmsearch.index.items import VIEWS, View
from mmsearch.retrieval.candidates import Candidates, gather

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
        for id_, owner, score in zip(ids, catalog.owners(ids), vectors.astype(np.float32) @ query, strict=True):
            known = best.get((int(owner), view), (-np.inf, 0))
            best[int(owner), view] = max(known, (float(score), -int(id_)))
    return {key: (score, -id_) for key, (score, id_) in best.items()}


@pytest.mark.parametrize("depth", [1, 3, 1000])
def test_every_candidate_has_its_best_row_of_every_view(catalog: Catalog, indexes: Indexes, depth: int) -> None:
    queries = unit(5, seed=7)
    for query, found in zip(queries, gather(catalog, indexes, queries, depth), strict=True):
        best = best_rows(catalog, query)
        for place, item in enumerate(found.items.tolist()):
            for column, view in enumerate(VIEWS):
                score, row_id = best.get((item, view), (np.nan, -1))
                assert found.rows[place, column] == row_id
                np.testing.assert_allclose(found.cosine[place, column], score, atol=1e-5)


@pytest.mark.parametrize("depth", [1, 3])
def test_the_best_items_of_every_view_are_candidates(catalog: Catalog, indexes: Indexes, depth: int) -> None:
    (query,) = queries = unit(1, seed=8)
    (found,) = gather(catalog, indexes, queries, depth)
    for view in VIEWS:
        ids, vectors = catalog.rows_after(view, 0, 10_000)
        nearest = ids[np.argsort(-(vectors.astype(np.float32) @ query))[:depth]]
        assert set(catalog.owners(nearest).tolist()) <= set(found.items.tolist())


def test_only_allowed_rows_bring_up_candidates(catalog: Catalog, indexes: Indexes) -> None:
    none = np.empty(0, np.int64)
    ids, _ = catalog.rows_after("caption", 0, 3)
    allowed = {view: ids if view == "caption" else none for view in VIEWS}
    (found,) = gather(catalog, indexes, unit(1), 10, allowed)
    assert set(found.items.tolist()) == set(catalog.owners(ids).tolist())


def test_an_empty_library_has_no_candidates(tmp_path: Path) -> None:
    empty = Catalog.open(tmp_path / "catalog.sqlite")
    (found,) = gather(empty, Indexes(empty, tmp_path / "vectors", DIM), unit(1), 10)
    assert isinstance(found, Candidates)
    assert len(found) == 0
    assert found.rows.shape == found.cosine.shape == (0, len(VIEWS))
    empty.close()
