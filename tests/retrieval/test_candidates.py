"""Candidates are complete: what one view's search brings up is scored on every view that it has."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.index.samples import DIM, photo, row, unit

from mmsearch.index.catalog import Catalog
from mmsearch.index.indexes import Indexes
from mmsearch.index.items import VIEWS, ItemFilter, View
from mmsearch.index.lexicon import bm25
from mmsearch.index.row_table import RowTable
from mmsearch.index.rows import RowFacts
from mmsearch.retrieval.candidates import EVERYTHING, Candidates, Facts, gather, shortlist

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
    vectors = found.all_vectors()
    assert (vectors[found.rows < 0] == 0).all()
    np.testing.assert_allclose((vectors @ queries[0])[found.rows >= 0], found.cosine[found.rows >= 0], atol=1e-6)


def test_vectors_are_looked_up_when_they_are_asked_for_and_once(
    catalog: Catalog, indexes: Indexes, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up: list[View] = []
    look_up = Indexes.vectors

    def noting(self: Indexes, view: View, ids: np.ndarray) -> np.ndarray:
        looked_up.append(view)
        return look_up(self, view, ids)

    (found,) = gather(catalog, indexes, unit(1, seed=9), [""], 1000)
    monkeypatch.setattr(Indexes, "vectors", noting)
    for _ in range(2):
        found.vectors(1)
    assert looked_up == ["caption"]


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


@given(st.lists(st.lists(st.integers(1, 12), max_size=8), max_size=5), st.integers(1, 10))
def test_the_short_list_goes_by_the_best_rank_in_any_list(lists: list[list[int]], depth: int) -> None:
    best: dict[int, int] = {}
    for ranked in lists:
        for rank, item in enumerate(dict.fromkeys(ranked)):
            best[item] = min(rank, best.get(item, rank))
    expected = sorted(sorted(best, key=lambda item: (best[item], item))[:depth])
    assert shortlist([np.array(each, np.int64) for each in lists], depth).tolist() == expected


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.integers(-1, 300), max_size=20), max_size=6))
def test_what_is_known_of_rows_is_what_the_catalogue_knows(catalog: Catalog, asked: list[list[int]]) -> None:
    known = Facts(RowTable(catalog))
    for each in asked:
        rows = np.array(each, np.int64)
        found, expected = known.of(rows), catalog.facts(rows)
        for field in fields(RowFacts):
            np.testing.assert_array_equal(getattr(found, field.name), getattr(expected, field.name))


def test_what_is_known_of_a_row_is_asked_once(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[int]] = []
    ask = Catalog.facts

    def listening(self: Catalog, rows: np.ndarray) -> RowFacts:
        asked.append(rows.tolist())
        return ask(self, rows)

    monkeypatch.setattr(Catalog, "facts", listening)
    known = Facts(RowTable(catalog))
    for rows in ([5, 3, 900], [3, 7], [], [900, 7, 5]):
        known.of(np.array(rows, np.int64))
    assert asked == [[5, 3, 900], [7]]


def test_a_query_has_the_same_candidates_alone_and_among_others(catalog: Catalog, indexes: Indexes) -> None:
    queries = unit(6, seed=11)
    together = list(gather(catalog, indexes, queries, [""] * 6, 5))
    for at in range(6):
        (alone,) = gather(catalog, indexes, queries[at : at + 1], [""], 5)
        np.testing.assert_array_equal(alone.all_vectors(), together[at].all_vectors())
        for name in {field.name for field in fields(Candidates)} - {"vectors"}:
            np.testing.assert_array_equal(getattr(alone, name), getattr(together[at], name))


def test_an_empty_library_has_no_candidates(tmp_path: Path) -> None:
    empty = Catalog.open(tmp_path / "catalog.sqlite")
    (found,) = gather(empty, Indexes(empty, tmp_path / "vectors", DIM), unit(1), [""], 10)
    assert isinstance(found, Candidates)
    assert len(found) == 0
    assert found.rows.shape == found.cosine.shape == (0, len(VIEWS))
    empty.close()


@pytest.fixture
def spoken(tmp_path: Path) -> Iterator[Catalog]:
    """Thirty photos that look alike, two with captions, a text of two passages, and a sound without a caption."""
    opened = Catalog.open(tmp_path / "catalog.sqlite")
    root = opened.add_root(Path("/photos"))
    items = [photo(root.id, f"{i}.jpg", row(seed=100 + i)) for i in range(30)]
    items[20] = photo(root.id, "lighthouse/20.jpg", row(seed=120))
    items[21] = photo(root.id, "21.jpg", row(seed=121), row("caption", 21, "a dog on the beach"))
    items[22] = photo(root.id, "22.jpg", row(seed=122), row("caption", 22, "two cats"))
    passages = row("text", 31, "of cats"), row("text", 32, "of a dog, told at some length")
    opened.record([*items, photo(root.id, "tale.txt", *passages, kind="text"), photo(root.id, "dog.wav", kind="audio")])
    yield opened
    opened.close()


def names(catalog: Catalog, found: Candidates) -> list[str]:
    rows = catalog.describe(found.rows.max(axis=1).tolist())
    return [rows[int(row)].item.path.name for row in found.rows.max(axis=1)]


def looked_for(catalog: Catalog, words: str, depth: int = 100, only: ItemFilter = EVERYTHING) -> Candidates:
    (found,) = gather(catalog, Indexes(catalog, Path("nowhere"), DIM), unit(1, seed=31), [words], depth, only)
    return found


def test_words_bring_up_texts_and_names(spoken: Catalog) -> None:
    assert not {"20.jpg", "21.jpg", "tale.txt"} <= set(names(spoken, looked_for(spoken, "", depth=4)))
    assert {"20.jpg", "21.jpg", "tale.txt"} <= set(names(spoken, looked_for(spoken, "lighthouse dogs", depth=4)))


def test_words_count_by_their_rarity_and_the_length_of_the_text(spoken: Catalog) -> None:
    found = looked_for(spoken, "the dog on a beach")
    by_name = dict(zip(names(spoken, found), found.words.tolist(), strict=True))
    dog, beach = math.log(1 + 2.5 / 2.5), math.log(1 + 3.5 / 1.5)  # two and one of four texts
    short, long = bm25(np.array([dog + beach, dog], np.float32), np.array([18, 29])).tolist()
    np.testing.assert_allclose(by_name["21.jpg"], [np.nan, short, np.nan, np.nan], rtol=1e-6)
    np.testing.assert_allclose(by_name["22.jpg"], [np.nan, 0, np.nan, np.nan])
    np.testing.assert_allclose(by_name["3.jpg"], [np.nan] * 4)
    # The passage that says it, though the other one, whose vector the query has, is the row.
    np.testing.assert_allclose(by_name["tale.txt"], [np.nan, np.nan, long, np.nan], rtol=1e-6)
    assert spoken.describe([int(found.rows[names(spoken, found).index("tale.txt"), 2])]).popitem()[1].text == "of cats"


def test_names_count_by_their_rarity(spoken: Catalog) -> None:
    found = looked_for(spoken, "a lighthouse")
    by_name = dict(zip(names(spoken, found), found.name.tolist(), strict=True))
    assert by_name.pop("20.jpg") == pytest.approx(math.log(1 + 31.5 / 1.5))  # one of 32 items
    assert set(by_name.values()) == {0.0}


def test_a_name_covers_a_part_of_what_the_words_weigh(spoken: Catalog) -> None:
    found = looked_for(spoken, "a lighthouse at night")
    by_name = dict(zip(names(spoken, found), found.name_coverage.tolist(), strict=True))
    lighthouse, night = math.log(1 + 31.5 / 1.5), math.log(1 + 32.5 / 0.5)  # one of 32 items, and none
    assert by_name.pop("20.jpg") == pytest.approx(lighthouse / (lighthouse + night))
    assert set(by_name.values()) == {0.0}


def test_an_item_that_has_nothing_to_show_is_no_candidate(spoken: Catalog) -> None:
    assert "dog.wav" not in names(spoken, looked_for(spoken, "dog"))


def test_a_filter_holds_for_words_as_well(spoken: Catalog) -> None:
    found = looked_for(spoken, "dog lighthouse tale cats", only=ItemFilter(path_glob="22.jpg"))
    assert names(spoken, found) == ["22.jpg"]


def test_a_picture_is_not_looked_for_by_words(spoken: Catalog) -> None:
    found = looked_for(spoken, "")
    assert set(found.name.tolist()) == {0.0}
    assert np.nanmax(found.words) == 0
