"""What shares words with a query, against the sorted union of all lists."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mmsearch.index import matches
from mmsearch.index.bits import members, packed
from mmsearch.index.matches import Matches

Ids = NDArray[np.int64]


def ids(*values: int) -> Ids:
    return np.array(values, np.int64)


def weighed(lists: list[Ids], weights: list[float]) -> dict[int, np.float32]:
    """By brute force: what the words of each id weigh together."""
    totals: dict[int, float] = {}
    for held, weight in zip(lists, weights, strict=True):
        for one in held.tolist():
            totals[one] = totals.get(one, 0.0) + weight
    return {one: np.float32(total) for one, total in totals.items()}


LISTS = st.lists(
    st.tuples(
        st.sets(st.integers(0, 200), max_size=60).map(lambda held: ids(*sorted(held))),
        st.sampled_from([1e-6, 0.1, 0.2, 0.3, 0.7, 1.0, 4.6]) | st.floats(1e-6, 9),
    ),
    max_size=9,
)


@pytest.mark.parametrize("few", [0, matches._FEW])
@given(told=LISTS, depth=st.integers(1, 70), allowed=st.none() | st.sets(st.integers(0, 400), max_size=90))
def test_the_best_are_those_of_a_full_sort(
    few: int, told: list[tuple[Ids, float]], depth: int, allowed: set[int] | None
) -> None:
    lists, weights = [held for held, _ in told], [weight for _, weight in told]
    totals = weighed(lists, weights)
    expected = sorted((one for one in totals if allowed is None or one in allowed), key=lambda one: (-totals[one], one))
    with mock.patch.object(matches, "_FEW", few):
        found = Matches.of(lists, weights).best(depth, None if allowed is None else ids(*sorted(allowed)))
    assert found.tolist() == expected[:depth]


@given(LISTS, st.lists(st.integers(-1, 400), max_size=50))
def test_weights_are_sums_over_the_words(told: list[tuple[Ids, float]], asked: list[int]) -> None:
    lists, weights = [held for held, _ in told], [weight for _, weight in told]
    totals = weighed(lists, weights)
    found = Matches.of(lists, weights)
    assert found.ids.tolist() == sorted(totals)
    assert found.at(ids(*asked)).tolist() == [totals.get(one, 0) for one in asked]


@given(st.sets(st.integers(0, 300)), st.none() | st.integers(0, 20))
def test_what_is_packed_is_unpacked(held: set[int], limit: int | None) -> None:
    assert members(packed(ids(*held), 301), limit).tolist() == sorted(held)[:limit]


def test_matches_are_the_union_of_lists_with_the_sum_of_their_weights() -> None:
    found = Matches.of([ids(1, 4, 9), ids(4), ids(), ids(0, 9)], [1.0, 0.5, 7.0, 0.25])
    assert found.ids.tolist() == [0, 1, 4, 9]
    assert found.at(ids(9, 2, 4, 100, -1)).tolist() == [1.25, 0, 1.5, 0, 0]


def test_coverage_is_the_part_of_the_weight_of_all_words() -> None:
    # The third word is held by none, and weighs all the same.
    found = Matches.of([ids(1, 4, 9), ids(4), ids()], [1.0, 2.0, 5.0])
    assert found.coverage(ids(1, 4, 7)).tolist() == [0.125, 0.375, 0]
    assert Matches.of([], []).coverage(ids(1, 4)).tolist() == [0, 0]


@pytest.mark.parametrize("lists", [[], [ids()]])
def test_no_matches_are_empty(lists: list[Ids]) -> None:
    found = Matches.of(lists, [1.0] * len(lists))
    assert found.ids.tolist() == found.best(5).tolist() == []
    assert found.at(ids(1, 2)).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("depth", "allowed", "expected"),
    [
        (1, None, [4]),
        (3, None, [4, 1, 2]),
        (9, None, [4, 1, 2, 8, 3]),
        (3, [8, 3, 2], [2, 8, 3]),
        (2, [8, 3, 2], [2, 8]),
        (2, [], []),
    ],
)
def test_the_best_matches_are_those_of_the_greatest_weight(
    depth: int, allowed: list[int] | None, expected: list[int]
) -> None:
    found = Matches.of([ids(1, 2, 4, 8), ids(3, 4)], [2.0, 1.0])
    assert found.best(depth, None if allowed is None else ids(*sorted(allowed))).tolist() == expected
