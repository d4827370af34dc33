"""The contract of every store, against exact ranking."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.index.samples import DIM, unit

from mmsearch.index import row_store
from mmsearch.index.errors import DimensionMismatch
from mmsearch.index.exact import ExactStore
from mmsearch.index.lists import Lists
from mmsearch.index.row_store import RowStore
from mmsearch.index.vectors import Neighbours, VectorStore


class CodesStore(RowStore):
    """Searched by codes from the first query on."""

    form = "codes"


class ListsStore(RowStore):
    """Searched by lists from the first query on. All of them are looked into, so that nothing is missed."""

    form = "lists"

    def search(self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.int64] | None = None) -> Neighbours:
        if not isinstance(self._coarse, Lists):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(row_store, "FEWEST_LISTED", 16)
                self.prepare(lambda: unit(4, dim=self.dim))
        if isinstance(self._coarse, Lists):
            self._coarse.found = replace(self._coarse.found, probed=self._coarse._index.nlist, widened=8)
        return super().search(queries, k, allowed)


STORES: list[type[VectorStore]] = [ExactStore, RowStore, CodesStore, ListsStore]
if find_spec("torch"):
    from tests.index.gpu_stores import FlatStore, TorchStore

    # The stores of a GPU, on the CPU: the one that torch searches, and the one with a stand-in for FAISS.
    STORES += [TorchStore, FlatStore]

# How far a cosine may be from that of the float64 oracle, by what the store keeps. The vectors of these
# tests are float16 values, so that no store loses anything by rounding.
TOLERANCE: dict[type[VectorStore], float] = dict.fromkeys(STORES, 1e-6)

every_store = pytest.mark.parametrize("store_class", STORES)


def filled(store_class: type[VectorStore], vectors: NDArray[np.float32], ids: NDArray[np.int64]) -> VectorStore:
    store = store_class(vectors.shape[1])
    store.add(ids, vectors)
    return store


def ranked(
    ids: NDArray[np.int64], vectors: NDArray[np.float32], query: NDArray[np.float32], k: int
) -> list[tuple[int, float]]:
    """The oracle: a plain sort of float64 cosines, rounded so that equal vectors tie."""
    cosines = [round(float(vector.astype(float) @ query.astype(float)), 9) for vector in vectors]
    return sorted(zip(ids.tolist(), cosines, strict=True), key=lambda pair: (-pair[1], pair[0]))[:k]


@every_store
def test_best_come_first_with_their_cosines(store_class: type[VectorStore]) -> None:
    store = filled(store_class, np.eye(3, dtype=np.float32), np.array([5, 6, 7]))
    found = store.search(np.array([[0.5, 0.75, 0.25]], np.float32), 3)
    assert found.ids.tolist() == [[6, 5, 7]]
    assert found.scores.tolist() == [[0.75, 0.5, 0.25]]


@every_store
def test_answers_are_int64_and_float32(store_class: type[VectorStore]) -> None:
    found = filled(store_class, unit(3), np.arange(3)).search(unit(2), 2)
    assert (str(found.ids.dtype), str(found.scores.dtype)) == ("int64", "float32")
    assert (found.ids.shape, found.scores.shape) == ((2, 2), (2, 2))


@every_store
def test_search_of_an_empty_store_is_all_padding(store_class: type[VectorStore]) -> None:
    found = store_class(DIM).search(unit(2), 3)
    assert found.ids.tolist() == [[-1, -1, -1]] * 2
    assert found.scores.tolist() == [[-np.inf] * 3] * 2


@every_store
def test_k_beyond_what_is_stored_is_padded(store_class: type[VectorStore]) -> None:
    found = filled(store_class, np.eye(2, dtype=np.float32), np.array([3, 4])).search(np.eye(2, dtype=np.float32), 4)
    assert found.ids.tolist() == [[3, 4, -1, -1], [4, 3, -1, -1]]
    assert found.scores.tolist() == [[1, 0, -np.inf, -np.inf]] * 2


@every_store
def test_no_queries_have_no_answers(store_class: type[VectorStore]) -> None:
    assert filled(store_class, unit(3), np.arange(3)).search(unit(0), 2).ids.shape == (0, 2)


@every_store
@pytest.mark.parametrize("k", [1, 5, 40, 199, 300])
def test_ties_go_to_the_smaller_id(store_class: type[VectorStore], k: int) -> None:
    # 200 copies of one vector between others, under ids in disorder: more than any first look fetches.
    vectors = np.concatenate([unit(20, seed=1), np.repeat(unit(1, seed=2), 200, axis=0), unit(20, seed=3)])
    ids = np.random.default_rng(4).permutation(1000)[: len(vectors)].astype(np.int64)
    query = unit(1, seed=2)
    found = filled(store_class, vectors, ids).search(query, k)
    expected = ranked(ids, vectors, query[0], k)
    assert found.ids[0, : len(expected)].tolist() == [id_ for id_, _ in expected]


@every_store
def test_equal_vectors_have_equal_scores_wherever_they_stand(store_class: type[VectorStore]) -> None:
    for n in range(1, 10):
        store = filled(store_class, np.repeat(unit(1, seed=1, dim=256), n, axis=0), np.arange(n))
        scores = store.search(unit(8, seed=2, dim=256), n).scores
        assert np.all(scores == scores[:, :1])


@every_store
def test_only_allowed_ids_answer(store_class: type[VectorStore]) -> None:
    vectors, ids = unit(50), np.arange(100, 150)
    allowed = np.array([149, 101, 120, 7], np.int64)  # out of order; 7 is not stored
    found = filled(store_class, vectors, ids).search(vectors[:1], 5, allowed)
    kept = np.isin(ids, allowed)
    assert found.ids[0].tolist() == [*(id_ for id_, _ in ranked(ids[kept], vectors[kept], vectors[0], 5)), -1, -1]


@every_store
def test_nothing_allowed_is_all_padding(store_class: type[VectorStore]) -> None:
    found = filled(store_class, unit(5), np.arange(5)).search(unit(1), 2, np.empty(0, np.int64))
    assert found.ids.tolist() == [[-1, -1]]


@every_store
def test_removed_vectors_are_gone_and_others_stay(store_class: type[VectorStore]) -> None:
    vectors = unit(6)
    store = filled(store_class, vectors, np.arange(6))
    store.remove(np.array([1, 4, 77]))
    assert store.ids().tolist() == [0, 2, 3, 5]
    assert len(store) == 4
    np.testing.assert_array_equal(store.get(np.array([5, 0])), vectors[[5, 0]])


@every_store
def test_what_was_added_last_can_go_again(store_class: type[VectorStore]) -> None:
    vectors = unit(7)
    store = filled(store_class, vectors[:6], np.arange(6))
    store.add(np.array([6]), vectors[6:])
    store.remove(np.array([6]))
    assert store.search(vectors[6:], 9).ids.tolist() == [
        [id_ for id_, _ in ranked(np.arange(6), vectors[:6], vectors[6], 9)] + [-1] * 3
    ]


@every_store
def test_a_removed_id_can_be_added_again(store_class: type[VectorStore]) -> None:
    store = filled(store_class, unit(2), np.array([1, 2]))
    store.remove(np.array([1]))
    store.add(np.array([1]), unit(1, seed=9))
    np.testing.assert_array_equal(store.get(np.array([1])), unit(1, seed=9))


@every_store
def test_get_of_an_unknown_id_names_it(store_class: type[VectorStore]) -> None:
    with pytest.raises(KeyError, match="42"):
        filled(store_class, unit(2), np.arange(2)).get(np.array([1, 42]))


@every_store
def test_get_of_nothing_is_empty(store_class: type[VectorStore]) -> None:
    assert store_class(DIM).get(np.empty(0, np.int64)).shape == (0, DIM)


@every_store
@pytest.mark.parametrize("wrong", [unit(1, dim=DIM + 1), unit(1)[0]])
def test_another_dimension_is_refused(store_class: type[VectorStore], wrong: NDArray[np.float32]) -> None:
    store = filled(store_class, unit(2), np.arange(2))
    with pytest.raises(DimensionMismatch):
        store.search(wrong, 1)
    if wrong.ndim == 2:
        with pytest.raises(DimensionMismatch):
            store.add(np.array([7]), wrong)


@every_store
@pytest.mark.parametrize(
    "shape",
    [
        lambda x: np.asfortranarray(x),
        lambda x: np.repeat(x, 2, axis=1)[:, ::2],
        lambda x: x[::-1][::-1],
        lambda x: x.astype(">f4"),
        lambda x: x.astype(np.float64),
    ],
    ids=["fortran", "strided", "reversed", "big-endian", "float64"],
)
def test_layout_of_the_arrays_does_not_matter(
    store_class: type[VectorStore], shape: Callable[[NDArray[np.float32]], NDArray[np.float32]]
) -> None:
    plain = filled(store_class, unit(9), np.arange(9)).search(unit(3, seed=1), 4)
    other = filled(store_class, shape(unit(9)), np.arange(18)[::2] // 2).search(shape(unit(3, seed=1)), 4)
    np.testing.assert_array_equal(plain.ids, other.ids)
    np.testing.assert_array_equal(plain.scores, other.scores)


@every_store
@pytest.mark.parametrize("n", [1, 30])
def test_a_saved_store_comes_back_the_same(store_class: type[VectorStore], n: int, tmp_path: Path) -> None:
    store = filled(store_class, unit(n), np.arange(n) * 3)
    loaded = store_class.load(tmp_path, store.save(tmp_path, "image"))
    assert (loaded.dim, len(loaded)) == (DIM, n)
    np.testing.assert_array_equal(loaded.get(loaded.ids()), store.get(store.ids()))
    np.testing.assert_array_equal(loaded.search(unit(2), 5).ids, store.search(unit(2), 5).ids)


@every_store
def test_a_loaded_store_can_change_after_its_files_are_gone(store_class: type[VectorStore], tmp_path: Path) -> None:
    names = filled(store_class, unit(4), np.arange(4)).save(tmp_path, "image")
    loaded = store_class.load(tmp_path, names)
    for name in names:
        (tmp_path / name).unlink()
    loaded.remove(np.array([2]))
    loaded.add(np.array([9]), unit(1, seed=5))
    assert loaded.ids().tolist() == [0, 1, 3, 9]
    assert loaded.search(unit(1, seed=5), 1).ids.tolist() == [[9]]
    again = store_class.load(tmp_path, loaded.save(tmp_path, "image"))
    assert again.ids().tolist() == [0, 1, 3, 9]


@every_store
def test_what_is_saved_leaves_the_files_of_others_as_they_are(store_class: type[VectorStore], tmp_path: Path) -> None:
    one = filled(store_class, unit(4), np.arange(4)).save(tmp_path, "image")
    two = filled(store_class, unit(2), np.arange(2)).save(tmp_path, "image")
    other = filled(store_class, unit(3), np.arange(3)).save(tmp_path, "audio_caption")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*one, *two, *other])
    assert [len(store_class.load(tmp_path, names)) for names in (one, two, other)] == [4, 2, 3]


@every_store
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_history_ends_in_exact_ranking(store_class: type[VectorStore], data: st.DataObject) -> None:
    store = store_class(4)
    held: dict[int, NDArray[np.float32]] = {}
    # Few different vectors, so that ties are common.
    pool = unit(6, seed=data.draw(st.integers(0, 99)), dim=4)
    for _ in range(data.draw(st.integers(1, 6))):
        chosen = data.draw(st.lists(st.integers(0, 60), unique=True, max_size=50))
        if data.draw(st.booleans()):
            fresh = [id_ for id_ in chosen if id_ not in held]
            vectors = pool[[data.draw(st.integers(0, 5)) for _ in fresh]].reshape(-1, 4)
            store.add(np.array(fresh, np.int64), vectors)
            held |= dict(zip(fresh, vectors, strict=True))
        else:
            store.remove(np.array(chosen, np.int64))
            held = {id_: vector for id_, vector in held.items() if id_ not in chosen}
    k = data.draw(st.integers(1, 70))
    allowed = data.draw(st.none() | st.lists(st.integers(0, 60)))
    ids = np.array([id_ for id_ in held if allowed is None or id_ in allowed], np.int64)
    vectors = np.array([held[id_] for id_ in ids.tolist()], np.float32).reshape(-1, 4)
    query = unit(1, seed=data.draw(st.integers(0, 99)), dim=4)
    found = store.search(query, k, None if allowed is None else np.array(allowed, np.int64))
    expected = ranked(ids, vectors, query[0], k)
    assert found.ids[0].tolist() == [id_ for id_, _ in expected] + [-1] * (k - len(expected))
    scores = [score for _, score in expected]
    np.testing.assert_allclose(found.scores[0, : len(scores)], scores, atol=TOLERANCE[store_class])
    assert np.all(np.isneginf(found.scores[0, len(scores) :]))
    assert store.ids().tolist() == sorted(held)
