"""Signals that come of a list. Views are the columns."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mmsearch.retrieval.fusion import lists

NAN = math.nan


def columns(*rows: list[float]) -> np.ndarray:
    return np.array(rows, np.float32)


def test_list_z_is_the_distance_from_the_mean_of_the_column() -> None:
    found = lists.list_z(columns([1.0, NAN], [3.0, 5.0], [NAN, 9.0]))
    np.testing.assert_allclose(found, [[-1.0, NAN], [1.0, -1.0], [NAN, 1.0]])


def test_list_z_of_equal_values_and_of_a_single_one_is_0() -> None:
    np.testing.assert_array_equal(lists.list_z(columns([2.0, 7.0], [2.0, NAN])), [[0.0, 0.0], [0.0, NAN]])


def test_reciprocal_rank_counts_the_greater_ones() -> None:
    found = lists.reciprocal_rank(columns([0.5], [0.9], [NAN], [0.5], [0.1]))
    np.testing.assert_allclose(found, [[1 / 2], [1 / 1], [NAN], [1 / 2], [1 / 4]])


def test_margin_of_the_best_is_over_the_second_and_of_the_others_to_the_best() -> None:
    np.testing.assert_allclose(lists.margin(columns([1.0], [4.0], [2.0], [NAN])), [[-3.0], [2.0], [-2.0], [NAN]])


def test_margin_of_two_equal_bests_is_0() -> None:
    np.testing.assert_array_equal(lists.margin(columns([4.0], [4.0], [1.0])), [[0.0], [0.0], [-3.0]])


def test_margin_of_a_row_that_is_alone_is_0() -> None:
    np.testing.assert_array_equal(lists.margin(columns([4.0, NAN], [NAN, NAN])), [[0.0, NAN], [NAN, NAN]])


def test_share_of_best_is_of_the_greatest_of_all_columns() -> None:
    np.testing.assert_allclose(lists.share_of_best(columns([1.0, 4.0], [0.0, 2.0])), [[0.25, 1.0], [0.0, 0.5]])
    np.testing.assert_array_equal(lists.share_of_best(np.zeros(3, np.float32)), np.zeros(3))


def rows(*vectors: list[float]) -> np.ndarray:
    """Vectors of one view, (C, 1, D)."""
    return np.array(vectors, np.float32)[:, None, :]


def test_centroid_leaves_out_the_row_that_is_compared() -> None:
    vectors = rows([1.0, 0.0], [0.0, 1.0], [0.6, 0.8])
    found = lists.centroid(vectors, columns([0.3], [0.2], [0.1]))
    others = [np.array([0.6, 1.8]), np.array([1.6, 0.8]), np.array([1.0, 1.0])]
    expected = [v @ o / np.linalg.norm(o) for v, o in zip(vectors[:, 0], others, strict=True)]
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-5)


def test_centroid_is_made_of_the_best_ten() -> None:
    vectors = rows(*[[1.0, 0.0]] * 10, [0.0, 1.0])
    values = np.array([[1.0]] * 10 + [[0.5]], np.float32)
    np.testing.assert_allclose(lists.centroid(vectors, values)[:, 0], [1.0] * 10 + [0.0], atol=1e-6)


def test_density_is_the_mean_cosine_to_the_nearest_five_others() -> None:
    vectors = rows(*[[1.0, 0.0]] * 6, [0.6, 0.8])
    found = lists.density(vectors, np.ones((7, 1), bool))
    np.testing.assert_allclose(found[:, 0], [1.0] * 6 + [0.6], rtol=1e-6)


def test_density_of_a_pair_is_their_cosine_and_of_a_row_that_is_alone_0() -> None:
    vectors = np.zeros((3, 2, 2), np.float32)
    vectors[:2, 0] = np.array([[1, 0], [0.6, 0.8]], np.float32)
    vectors[2, 1] = [1, 0]
    present = np.array([[True, False], [True, False], [False, True]])
    np.testing.assert_allclose(lists.density(vectors, present), [[0.6, NAN], [0.6, NAN], [NAN, 0.0]], rtol=1e-6)


VALUES = hnp.arrays(
    np.float32, st.tuples(st.integers(0, 8), st.just(2)), elements=st.floats(-4, 4, width=16) | st.just(NAN)
)


@given(VALUES, st.integers(0, 2**32 - 1))
def test_no_signal_of_a_list_depends_on_its_order(values: np.ndarray, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(values))
    for signal in (lists.list_z, lists.reciprocal_rank, lists.margin):
        np.testing.assert_allclose(signal(values)[order], signal(values[order]), atol=1e-5)


@given(VALUES)
def test_a_lacking_view_stays_lacking(values: np.ndarray) -> None:
    vectors = np.ones((*values.shape, 1), np.float32)
    found = [lists.list_z(values), lists.reciprocal_rank(values), lists.margin(values), lists.centroid(vectors, values)]
    for each in (*found, lists.density(vectors, ~np.isnan(values))):
        np.testing.assert_array_equal(np.isnan(each), np.isnan(values))
