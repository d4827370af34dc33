"""Codes and lists: what they name, how far they err, and when a store goes by them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.index.samples import DIM, unit

from mmsearch.index import codes, row_store
from mmsearch.index.choice import choose
from mmsearch.index.codes import Codes
from mmsearch.index.errors import UsageError
from mmsearch.index.exact import ExactStore
from mmsearch.index.lists import FEWEST_LISTED, Lists, lists_for
from mmsearch.index.row_store import RowStore
from mmsearch.index.vectors import UNPROVEN, Named, Neighbours

WIDE = 64


class Coded(RowStore):
    form = "codes"


class Listed(RowStore):
    form = "lists"


def halves(n: int, seed: int = 0) -> NDArray[np.float16]:
    return unit(n, seed).astype(np.float16)


def listed(n: int = 2000) -> Listed:
    store = Listed(DIM)
    store.add(np.arange(n), unit(n))
    store.prepare(lambda: unit(40, seed=7))
    return store


def recall(store: RowStore, n: int) -> float:
    oracle = ExactStore(DIM)
    oracle.add(np.arange(n), unit(n))
    asked = unit(50, seed=8)
    pairs = zip(store.search(asked, 10).ids, oracle.search(asked, 10).ids, strict=True)
    return sum(len(np.intersect1d(*pair)) for pair in pairs) / 500


@pytest.mark.parametrize(
    ("rows", "dim", "plan"),
    [
        (0, 256, "scan (0 rows are few)"),
        (10_000, 256, "scan (10000 rows are few)"),
        (10_001, 256, "codes (10001 rows, each looked at by its code)"),
        (5_001, 512, "codes (5001 rows, each looked at by its code)"),
        (1_500_000, 512, "lists (1500000 rows are too many to look at each)"),
    ],
)
def test_the_form_follows_from_the_size(rows: int, dim: int, plan: str) -> None:
    assert str(choose(rows, dim)) == plan


def test_a_form_can_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMSEARCH_SEARCH", "lists")
    assert str(choose(10, 256)) == "lists (asked for)"
    monkeypatch.setenv("MMSEARCH_SEARCH", "auto")
    assert choose(10, 256).form == "scan"


def test_a_form_that_does_not_exist_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMSEARCH_SEARCH", "hnsw")
    with pytest.raises(UsageError, match="MMSEARCH_SEARCH is 'hnsw'; it may be scan, codes, lists or auto"):
        choose(10, 256)


def test_a_small_store_is_searched_without_faiss() -> None:
    code = (
        "import sys, numpy as np\n"
        "from mmsearch.index.indexes import Indexes\n"
        "from mmsearch.index.row_store import RowStore\n"
        "store = RowStore(4); store.add(np.arange(9), np.eye(9, 4)); store.search(np.eye(2, 4), 3)\n"
        "print('faiss' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.integers(1, 70), st.integers(0, 99), st.sampled_from([1.0, 1e-3, 30.0]))
def test_no_score_of_codes_errs_by_more_than_is_said(n: int, count: int, seed: int, scale: float) -> None:
    rows = (halves(n, seed) * scale).astype(np.float16)
    made = Codes(DIM, [(np.arange(n), rows)])
    queries = unit(3, seed + 1)
    near, errors = made.nearest(queries, count, None)
    made.close()
    exact = queries @ rows.astype(np.float32).T
    for query in range(3):
        ids = near.ids[query]
        assert len(set(ids.tolist())) == len(ids) == min(n, count)
        assert np.all(np.abs(near.scores[query] - exact[query, ids]) <= errors[query])
        others = np.delete(exact[query], ids)
        assert np.all(others <= near.scores[query, -1] + errors[query])


def clustered(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    return rng.standard_normal((8, WIDE))[rng.integers(8, size=n)] + 0.05 * rng.standard_normal((n, WIDE))


def with_strangers(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    rows = 5 + 0.1 * rng.standard_normal((n, WIDE))
    rows[:20] = rng.standard_normal((20, WIDE))
    return rows


def with_copies(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    return np.repeat(rng.standard_normal((n // 4, WIDE)), 4, axis=0)


def with_few_values(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    rows = rng.integers(-1, 2, (n, WIDE)).astype(np.float64)
    rows[:, ::3] = 1
    return rows


def with_heavy_tails(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    return rng.laplace(size=(n, WIDE))


@pytest.mark.parametrize("made", [clustered, with_strangers, with_copies, with_few_values, with_heavy_tails])
def test_codes_find_what_a_scan_finds(made: Callable[[np.random.Generator, int], NDArray[np.float64]]) -> None:
    rng = np.random.default_rng(0)
    rows = made(rng, 2000)
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)
    asked = np.concatenate([unit(20, dim=WIDE), rows[:20], rows[1000:1020]]).astype(np.float32)
    store, oracle = Coded(WIDE), ExactStore(WIDE)
    for each in (store, oracle):
        each.add(np.arange(2000), rows)
    allowed = np.arange(0, 2000, 3)
    np.testing.assert_array_equal(store.search(asked, 10).ids, oracle.search(asked, 10).ids)
    np.testing.assert_array_equal(store.search(asked, 10, allowed).ids, oracle.search(asked, 10, allowed).ids)
    assert isinstance(store._coarse, Codes)
    assert len(store._coarse) == 2000


def test_rows_beyond_all_steps_are_kept_as_they_are() -> None:
    rows = halves(1000)
    rows[7] *= 50
    made = Codes(DIM, [(np.arange(1000), rows)])
    near, _ = made.nearest(unit(1, 5), 1000, None)
    made.close()
    (score,) = near.scores[near.ids == 7]
    assert score == pytest.approx(float(unit(1, 5)[0] @ rows[7].astype(np.float32)), abs=1e-3)
    assert sorted(near.ids[0].tolist()) == list(range(1000))


def test_the_error_covers_the_bits_in_which_scores_are_added_up() -> None:
    rows, queries = unit(500, dim=WIDE).astype(np.float16), unit(20, 1, WIDE)
    made = Codes(WIDE, [(np.arange(500), rows)])
    near, _ = made.nearest(queries, 500, None)
    coded, _ = made._steps.coded(rows.astype(np.float32))
    meant = np.take_along_axis(made._steps.middles(), coded.T.astype(np.int64), 1).T
    made._squared_errors = np.zeros(WIDE, np.float32)  # as if the codes stood for the very values
    _, errors = made.nearest(queries, 500, None)
    made.close()
    off = np.abs(near.scores - np.take_along_axis(queries @ meant.T, near.ids, 1))
    assert 0.98 < np.mean(off <= errors[:, None]) <= 1
    assert np.mean(off > 0.1 * errors[:, None]) > 0.5  # and is not far more than that


def test_codes_of_an_odd_number_of_dimensions() -> None:
    rows = unit(300, dim=7).astype(np.float16)
    made = Codes(7, [(np.arange(300), rows)])
    near, errors = made.nearest(unit(2, 1, 7), 300, None)
    made.close()
    exact = np.take_along_axis(unit(2, 1, 7) @ rows.astype(np.float32).T, near.ids, 1)
    assert np.all(np.abs(near.scores - exact) <= errors[:, None])


@pytest.mark.parametrize("threads", ["1", "2", "3", "7"])
@pytest.mark.parametrize("sizes", [[5], [1, 1], [4, 9, 2], [3, 3, 3, 3, 3]])
def test_rows_are_shared_out_among_threads(threads: str, sizes: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    monkeypatch.setattr(codes, "_BLOCK_VALUES", 2 * DIM)
    monkeypatch.setattr(codes, "_WORTH_A_THREAD", 1)
    total = sum(sizes)
    cuts = np.cumsum(sizes)[:-1]
    made = Codes(DIM, list(zip(np.split(np.arange(total), cuts), np.split(halves(total), cuts), strict=True)))
    near, _ = made.nearest(unit(total), 1, None)
    made.close()
    assert len(made._parts) == min(-(-total // -(-total // int(threads))), int(threads))
    assert near.ids[:, 0].tolist() == list(range(total))


def test_a_few_rows_are_no_work_for_two_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setattr(codes, "_WORTH_A_THREAD", 100 * DIM)
    made = [Codes(DIM, [(np.arange(count), halves(count))]) for count in (99, 100)]
    assert [len(each._parts) for each in made] == [1, 2]
    for each in made:
        each.close()


def test_codes_are_made_when_scans_have_cost_as_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_store, "SCANNED_VALUES", 0)
    monkeypatch.setattr("mmsearch.index.choice.SCANNED_VALUES", 0)
    monkeypatch.setattr(row_store, "_IMPORT_VALUES", 2 * 30 * DIM)
    store = RowStore(DIM)
    store.add(np.arange(30), unit(30))
    for _ in range(row_store._CODING_SCANS + 2):
        store.search(unit(1), 3)
        assert store._coarse is None
    store.search(unit(1), 3)
    assert isinstance(store._coarse, Codes)


def test_a_list_that_may_lack_a_row_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []
    nearest = Codes.nearest
    monkeypatch.setattr(Codes, "nearest", lambda *a: (counts.append(a[2]), nearest(*a))[1])  # type: ignore[func-returns-value]
    store = Coded(DIM)
    # 300 rows that no code tells apart.
    rows = np.repeat(unit(1), 301, axis=0)
    rows[300] = -30 * rows[0]
    store.add(np.arange(301), rows)
    assert store.search(unit(1), 3).ids.tolist() == [[0, 1, 2]]
    assert counts == [Codes.fewest, 304]


def test_of_the_rows_that_are_named_only_those_are_scored_that_may_be_among_the_best(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked_up: list[int] = []
    stored = Coded._stored

    def noted(store: Coded, ids: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.float16]]:
        looked_up.append(len(ids))
        return stored(store, ids)

    monkeypatch.setattr(Coded, "_stored", noted)
    store, oracle = Coded(WIDE), ExactStore(WIDE)
    for each in (store, oracle):
        each.add(np.arange(2000), unit(2000, dim=WIDE))
    asked = unit(1, 3, WIDE)
    monkeypatch.setattr(row_store, "_RANKED_VALUES", 100 * WIDE)
    np.testing.assert_array_equal(store.search(asked, 40).ids, oracle.search(asked, 40).ids)
    first, rest = looked_up
    assert first == 84
    assert 0 < rest < (Codes.fewest - 84) / 2  # rather than all that the codes name


@pytest.mark.parametrize("count", [1, 7, 40])
def test_named_rows_are_in_the_order_of_their_reach_with_others_beside_them(count: int) -> None:
    one = Named.of(Neighbours(np.array([[4, 2]]), np.array([[0.5, 0.1]], np.float32)), np.float32(0.01), 2)
    other = Named.of(Neighbours(np.array([[9]]), np.array([[0.3]], np.float32)), np.float32(0.1), count)
    both = one.beside(other)
    assert both.ids.tolist() == [[4, 9, 2]]
    np.testing.assert_allclose(both.reach, [[0.51, 0.4, 0.11]], rtol=1e-6)
    np.testing.assert_allclose(both.most, [0.4 if count == 1 else 0.11], rtol=1e-6)


def test_nothing_is_known_of_how_far_unproven_scores_reach() -> None:
    named = Named.of(Neighbours(np.array([[4]]), np.array([[0.5]], np.float32)), np.float32(UNPROVEN), 1)
    assert named.reach.tolist() == [[np.inf]]
    assert named.most.tolist() == [-3.5]


def test_rows_added_and_removed_beside_codes_are_seen() -> None:
    store, oracle = Coded(DIM), ExactStore(DIM)
    for each in (store, oracle):
        each.add(np.arange(400), unit(400))
    store.search(unit(1), 1)
    made = store._coarse
    for each in (store, oracle):
        each.add(np.arange(400, 420), unit(20, seed=3))
        each.remove(np.arange(0, 100))
    found, expected = store.search(unit(9, seed=3), 5), oracle.search(unit(9, seed=3), 5)
    assert store._coarse is made
    np.testing.assert_array_equal(found.ids, expected.ids)
    allowed = np.arange(50, 410)
    np.testing.assert_array_equal(
        store.search(unit(9, seed=3), 5, allowed).ids, oracle.search(unit(9, seed=3), 5, allowed).ids
    )


def test_many_new_rows_are_coded_with_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_store, "SCANNED_VALUES", 0)
    store = Coded(DIM)
    store.add(np.arange(100), unit(100))
    store.search(unit(1), 1)
    made = store._coarse
    store.add(np.arange(100, 150), unit(50, seed=2))
    assert store.search(unit(50, seed=2), 1).ids[:, 0].tolist() == list(range(100, 150))
    assert store._coarse is not made
    assert not store._tail


def test_a_filter_that_lets_few_through_reads_only_those(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Coded(DIM)
    store.add(np.arange(1000), unit(1000))
    monkeypatch.setattr(Codes, "nearest", None)
    assert store.search(unit(1), 2, np.array([5, 900])).ids[0].tolist() in ([5, 900], [900, 5])


def test_lists_are_calibrated_and_said_to_be() -> None:
    store = listed()
    assert isinstance(store._coarse, Lists)
    found = store._coarse.found
    assert (found.trained_rows, found.last_id) == (2000, 1999)
    assert 1 <= found.probed < lists_for(2000) == 64
    assert found.recall >= 0.98
    assert recall(store, 2000) >= 0.93
    assert store.plan() == (
        f"lists (asked for); {found.probed} of 64 lists are looked into, with recall@10 {found.recall:.3f}"
    )


def test_calibration_stops_at_the_fewest_lists_that_are_enough() -> None:
    store = listed()
    assert isinstance(store._coarse, Lists)
    asked = unit(40, seed=7)
    nearest = store.search(asked, 10).ids
    store._coarse.calibrate(asked, nearest[:, :1])  # the nearest alone is enough
    fewer = store._coarse.found
    assert fewer.probed < 64
    # Of each query a tenth is not there to be found: as few lists as find nearly all of the rest.
    store._coarse.calibrate(asked, np.where(np.arange(10) < 1, -5, nearest))
    assert store._coarse.found.recall == pytest.approx(0.9, abs=0.01)
    assert store._coarse.found.probed < 64


def test_few_rows_have_no_lists() -> None:
    store = Listed(DIM)
    store.add(np.arange(FEWEST_LISTED - 1), unit(FEWEST_LISTED - 1))
    store.prepare(lambda: unit(1))
    assert store._coarse is None
    assert store.plan() == "codes (255 rows; the next `mmsearch index` makes lists if there are 256)"
    assert store.search(unit(1), 1).ids.tolist() == [[0]]


def test_lists_come_back_from_their_file_with_what_was_added_since(tmp_path: Path) -> None:
    store = listed()
    names = store.save(tmp_path, "image")
    assert names == ["image-1.rows", "image-2.lists"]
    store.add(np.arange(2000, 2064), unit(64, seed=3))
    store.prepare(lambda: unit(1))
    again = store.save(tmp_path, "image")
    assert again == ["image-1.rows", "image-3.rows", "image-2.lists"]
    loaded = Listed.load(tmp_path, again)
    assert isinstance(loaded._coarse, Lists)
    assert loaded._coarse.found == store._coarse.found  # type: ignore[union-attr]
    assert loaded.search(unit(64, seed=3), 1).ids[:, 0].tolist() == list(range(2000, 2064))
    np.testing.assert_array_equal(loaded.search(unit(5, seed=9), 10).ids, store.search(unit(5, seed=9), 10).ids)


def test_a_removed_row_leaves_the_lists_when_they_are_saved(tmp_path: Path) -> None:
    store = listed()
    store.save(tmp_path, "image")
    store.remove(np.arange(10))
    assert store.search(unit(10), 1).ids.min() >= 10
    store.prepare(lambda: unit(1))
    assert store.save(tmp_path, "image") == ["image-3.rows", "image-4.lists"]
    loaded = Listed.load(tmp_path, ["image-3.rows", "image-4.lists"])
    assert len(loaded._coarse or ()) == len(loaded) == 1990


def test_a_long_tail_joins_the_lists_without_training(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(row_store, "_LONGEST_TAIL", 50)
    store = listed()
    made = store._coarse
    store.add(np.arange(2000, 2060), unit(60, seed=3))
    assert store.search(unit(60, seed=3), 1).ids[:, 0].tolist() == list(range(2000, 2060))
    assert store._coarse is made
    assert len(made or ()) == 2060
    assert store.save(tmp_path, "image")[-1].endswith(".lists")


def test_rows_out_of_order_join_the_lists_before_they_are_saved(tmp_path: Path) -> None:
    store = Listed(DIM)
    store.add(np.arange(1000, 2000), unit(1000))
    store.prepare(lambda: unit(40, seed=7))
    store.add(np.arange(3), unit(3, seed=3))
    store.prepare(lambda: unit(1))
    loaded = Listed.load(tmp_path, store.save(tmp_path, "image"))
    assert loaded.search(unit(3, seed=3), 1).ids[:, 0].tolist() == [0, 1, 2]


def test_a_store_that_outgrew_its_lists_trains_them_anew() -> None:
    store = listed(600)
    store.add(np.arange(600, 1201), unit(601, seed=3))
    store.prepare(lambda: unit(40, seed=7))
    assert isinstance(store._coarse, Lists)
    assert store._coarse.found.trained_rows == 1201


def test_lists_are_dropped_where_they_are_not_wanted_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    store = listed(600)
    monkeypatch.setattr(Listed, "form", None)
    store.prepare(lambda: unit(1))
    assert store._coarse is None


@pytest.mark.parametrize("allowed", [np.arange(0, 2000, 2), np.arange(300)])
def test_lists_keep_to_a_filter(allowed: NDArray[np.int64]) -> None:
    store = listed()
    found = store.search(unit(20), 10, allowed)
    assert np.isin(found.ids, allowed).all()
    inside = np.isin(np.arange(20), allowed)
    assert (found.ids[:, 0] == np.arange(20))[inside].all()


def test_a_file_that_holds_no_lists_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.lists").write_bytes(b"mmrows01")
    with pytest.raises(ValueError, match=r"a\.lists holds no lists"):
        Lists.read(tmp_path / "a.lists")


def test_rows_that_are_all_alike_are_found_beside_lists_that_cannot_tell_them_apart() -> None:
    store = Listed(DIM)
    store.add(np.arange(300), np.repeat(unit(1), 300, axis=0))
    store.prepare(lambda: unit(1))
    assert isinstance(store._coarse, Lists)
    assert store.search(unit(1), 3).ids.tolist() == [[0, 1, 2]]


def test_more_answers_than_the_lists_looked_into_hold_are_all_given() -> None:
    store = listed(600)
    assert np.unique(store.search(unit(1), 600).ids).tolist() == list(range(600))


def test_ids_that_are_not_stored_leave_the_file_of_the_lists_as_it_is(tmp_path: Path) -> None:
    store = listed()
    names = store.save(tmp_path, "image")
    store.remove(np.array([-1, 5000]))
    store.prepare(lambda: unit(40, seed=7))
    assert store.save(tmp_path, "image") == names
