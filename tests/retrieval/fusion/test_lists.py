"""Signals that come of a list, of the rows of one view."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mmsearch.retrieval.fusion import lists

NAN = math.nan


def values(*each: float) -> np.ndarray:
    return np.array(each, np.float32)


def rows(*vectors: list[float]) -> np.ndarray:
    return np.array(vectors, np.float32)


@pytest.mark.parametrize(
    ("given", "expected"),
    [([2, 4, NAN], [2, 4, 3]), ([NAN, NAN], [0, 0]), ([1, 5], [1, 5]), ([], [])],
)
def test_what_is_not_measured_is_filled_by_the_mean(given: list[float], expected: list[float]) -> None:
    np.testing.assert_array_equal(lists.filled(values(*given)), values(*expected))


def test_list_z_is_the_distance_from_the_mean() -> None:
    np.testing.assert_allclose(lists.list_z(values(1, 3, 3, 1)), [-1, 1, 1, -1])


@pytest.mark.parametrize("given", [[2, 2], [7], []])
def test_list_z_of_equal_values_and_of_a_single_one_is_0(given: list[float]) -> None:
    np.testing.assert_array_equal(lists.list_z(values(*given)), np.zeros(len(given)))


def test_reciprocal_rank_counts_the_greater_ones() -> None:
    np.testing.assert_allclose(lists.reciprocal_rank(values(0.5, 0.9, 0.5, 0.1)), [1 / 2, 1 / 1, 1 / 2, 1 / 4])


def test_margin_of_the_best_is_over_the_second_and_of_the_others_to_the_best() -> None:
    np.testing.assert_allclose(lists.margin(values(1, 4, 2)), [-3, 2, -2])


def test_margin_of_two_equal_bests_is_0() -> None:
    np.testing.assert_array_equal(lists.margin(values(4, 4, 1)), [0, 0, -3])


def test_share_of_best_is_of_the_greatest_of_all_columns() -> None:
    np.testing.assert_allclose(lists.share_of_best(rows([1, 4], [0, 2])), [[0.25, 1.0], [0.0, 0.5]])
    np.testing.assert_array_equal(lists.share_of_best(np.zeros(3, np.float32)), np.zeros(3))


def test_centroid_leaves_out_the_row_that_is_compared() -> None:
    vectors = rows([1.0, 0.0], [0.0, 1.0], [0.6, 0.8])
    found = lists.centroid(vectors, values(0.3, 0.2, 0.1))
    others = [np.array([0.6, 1.8]), np.array([1.6, 0.8]), np.array([1.0, 1.0])]
    expected = [v @ o / np.linalg.norm(o) for v, o in zip(vectors, others, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_centroid_is_made_of_the_best_ten() -> None:
    vectors = rows(*[[1.0, 0.0]] * 10, [0.0, 1.0])
    np.testing.assert_allclose(lists.centroid(vectors, values(*[1] * 10, 0.5)), [1.0] * 10 + [0.0], atol=1e-6)


def test_density_is_the_mean_cosine_to_the_nearest_five_others() -> None:
    np.testing.assert_allclose(lists.density(rows(*[[1.0, 0.0]] * 6, [0.6, 0.8])), [1.0] * 6 + [0.6], rtol=1e-6)


def test_density_of_a_pair_is_their_cosine() -> None:
    np.testing.assert_allclose(lists.density(rows([1, 0], [0.6, 0.8])), [0.6, 0.6], rtol=1e-6)


@pytest.mark.parametrize("count", [0, 1])
def test_a_row_that_is_alone_has_nothing_of_a_list(count: int) -> None:
    alone, vectors = values(*[4] * count), np.ones((count, 1), np.float32)
    found = [lists.list_z(alone), lists.margin(alone), lists.centroid(vectors, alone), lists.density(vectors)]
    for each in found:
        np.testing.assert_array_equal(each, np.zeros(count))
    np.testing.assert_array_equal(lists.reciprocal_rank(alone), np.ones(count))


VALUES = hnp.arrays(np.float32, st.integers(0, 8), elements=st.floats(-4, 4, width=16))


@given(VALUES, st.integers(0, 2**32 - 1))
def test_no_signal_of_a_list_depends_on_its_order(found: np.ndarray, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(found))
    for signal in (lists.list_z, lists.reciprocal_rank, lists.margin):
        np.testing.assert_allclose(signal(found)[order], signal(found[order]), atol=1e-5)
