from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import mmsearch.metrics
from mmsearch.metrics import (
    Interval,
    auroc,
    compare,
    ece,
    found,
    interval,
    mrr,
    ndcg_at,
    precision_at,
    recall_at,
)

# Four queries: relevant at ranks 1 and 3 of 2 wanted; at 2 of 1; nowhere; at 1, 2 and 3 of 5.
HITS = np.array([[1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 0]], np.bool_)
WANTED = np.array([2, 1, 1, 5])
MEASURES = ("precision", "recall", "ndcg")


def by_hand(name: str, k: int) -> NDArray[np.float64]:
    """A measure of HITS as ranx names it, through the functions under test."""
    return {
        "precision": lambda: precision_at(HITS, k),
        "recall": lambda: recall_at(HITS, WANTED, k),
        "ndcg": lambda: ndcg_at(HITS, WANTED, k),
    }[name]()


def test_everything_public_is_documented() -> None:
    assert all(getattr(mmsearch.metrics, name).__doc__ for name in mmsearch.metrics.__all__)


def test_found_says_at_which_ranks_relevant_answers_stand() -> None:
    hits = found([["b", "a"], ["c"], []], [{"a"}, {"c", "d"}, {"a"}])
    np.testing.assert_array_equal(hits, [[False, True], [True, False], [False, False]])


def test_nothing_is_found_where_nothing_was_asked() -> None:
    assert found([], []).shape == (0, 0)


def test_precision_is_the_share_of_places_that_are_relevant() -> None:
    np.testing.assert_allclose(precision_at(HITS, 2), [1 / 2, 1 / 2, 0, 2 / 2])


def test_precision_beyond_the_last_answer_counts_empty_places() -> None:
    np.testing.assert_allclose(precision_at(HITS, 8), [2 / 8, 1 / 8, 0, 3 / 8])


def test_recall_is_the_share_of_what_is_wanted() -> None:
    np.testing.assert_allclose(recall_at(HITS, WANTED, 2), [1 / 2, 1 / 1, 0, 2 / 5])
    np.testing.assert_allclose(recall_at(HITS, WANTED, 10), [2 / 2, 1 / 1, 0, 3 / 5])


def test_recall_of_nothing_wanted_is_zero() -> None:
    assert recall_at(HITS[2:3], np.array([0]), 3).tolist() == [0.0]


def test_mrr_is_one_over_the_first_relevant_rank() -> None:
    np.testing.assert_allclose(mrr(HITS), [1 / 1, 1 / 2, 0, 1 / 1])


def test_mrr_of_no_answers_is_zero() -> None:
    assert mrr(np.zeros((2, 0), np.bool_)).tolist() == [0.0, 0.0]


def test_ndcg_divides_by_the_best_possible_list() -> None:
    first = (1 + 1 / math.log2(4)) / (1 + 1 / math.log2(3))
    second = (1 / math.log2(3)) / 1
    last = (1 + 1 / math.log2(3) + 1 / math.log2(4)) / sum(1 / math.log2(rank + 1) for rank in range(1, 5))
    np.testing.assert_allclose(ndcg_at(HITS, WANTED, 4), [first, second, 0, last])


def test_ndcg_wants_no_more_than_fits_into_k() -> None:
    np.testing.assert_allclose(ndcg_at(HITS, WANTED, 3)[3], 1.0)


def test_ndcg_of_fewer_answers_than_k_counts_those_there_are() -> None:
    np.testing.assert_allclose(ndcg_at(HITS[1:2], np.array([1]), 10), [1 / math.log2(3)])


@pytest.mark.parametrize("k", [1, 2, 3, 4, 10])
@pytest.mark.parametrize("name", MEASURES)
def test_measures_agree_with_ranx(name: str, k: int) -> None:
    np.testing.assert_allclose(by_hand(name, k), by_ranx(f"{name}@{k}"))


def test_mrr_agrees_with_ranx() -> None:
    np.testing.assert_allclose(mrr(HITS), by_ranx("mrr"))


def by_ranx(name: str) -> NDArray[np.float64]:
    """A measure of HITS by ranx, which wants names: what is relevant but not found is called missing."""
    ranx = pytest.importorskip("ranx", reason="ranx (numba, pandas) is not installed")
    answers = {f"q{q}": {f"d{d}": 10.0 - d for d in range(HITS.shape[1])} for q in range(len(HITS))}
    relevant = {
        f"q{q}": {f"d{d}": 1 for d in np.flatnonzero(hits)}
        | {f"missing{i}": 1 for i in range(WANTED[q] - np.count_nonzero(hits))}
        for q, hits in enumerate(HITS)
    }
    values: NDArray[np.float64] = ranx.evaluate(ranx.Qrels(relevant), ranx.Run(answers), name, return_mean=False)
    return values


def test_an_interval_is_that_of_a_binomial() -> None:
    """A share of .3 of 400 has the deviation sqrt(.3 * .7 / 400) = 0.0229."""
    taken = interval(np.arange(400) % 10 < 3)
    assert taken.mean == pytest.approx(0.3)
    assert taken.low == pytest.approx(0.3 - 1.96 * 0.0229, abs=0.006)
    assert taken.high == pytest.approx(0.3 + 1.96 * 0.0229, abs=0.006)


def test_a_group_is_drawn_as_a_whole() -> None:
    """Ten equal values in each of 40 groups are no surer than one value in each."""
    one = np.arange(40) % 4 == 0
    assert interval(np.repeat(one, 10), np.repeat(np.arange(40), 10)) == interval(one)


def test_groups_may_have_names_in_any_order() -> None:
    values = [1.0, 0.0, 1.0, 0.0]
    assert interval(values, ["b", "a", "b", "a"]) == interval(values, np.array([1, 0, 1, 0]))


def test_groups_count_by_their_size() -> None:
    assert interval([0.0, 1.0, 1.0, 1.0], [0, 1, 1, 1]).mean == 0.75


def test_the_seed_makes_the_interval() -> None:
    values = np.random.default_rng(0).normal(size=30)
    assert interval(values, seed=1) == interval(values, seed=1) != interval(values, seed=2)


def test_an_interval_of_nothing_is_not_a_number() -> None:
    assert all(map(math.isnan, (interval([]).mean, interval([]).low, compare([], []).difference)))


def test_a_sure_gain_is_better() -> None:
    before, after = np.zeros(100), np.arange(100) % 5 == 0
    gain = compare(before, after)
    assert gain.difference == pytest.approx(0.2)
    assert gain.low == pytest.approx(0.2 - 1.96 * 0.04, abs=0.015)
    assert gain.is_better
    assert gain.p_value == 2 / 2001  # no resample is on the other side


def test_a_loss_is_as_sure_as_the_gain_it_mirrors() -> None:
    before, after = np.zeros(100), np.arange(100) % 5 == 0
    loss = compare(after, before)
    assert not loss.is_better
    assert loss.p_value == 2 / 2001
    assert loss.high == -compare(before, after).low


def test_what_may_be_chance_is_not_better() -> None:
    before, after = np.repeat([1.0, 0.0, 1.0], [10, 12, 20]), np.repeat([0.0, 1.0, 1.0], [10, 12, 20])
    gain = compare(before, after)
    assert gain.difference > 0 > gain.low
    assert not gain.is_better
    # 12 gains against 10 losses: the sign test's p is .83
    assert gain.p_value == pytest.approx(0.75, abs=0.15)


def test_no_difference_has_a_p_value_of_one() -> None:
    assert compare([1.0, 0.0], [1.0, 0.0]).p_value == 1.0


def test_auroc_counts_the_pairs_in_order() -> None:
    # of the pairs (4, 3), (4, 1), (2, 3), (2, 1) one is the wrong way round
    assert auroc([4, 3, 2, 1], [True, False, True, False]) == 3 / 4


def test_ties_count_half() -> None:
    assert auroc([1, 1, 1, 1], [True, False, True, False]) == 1 / 2
    assert auroc([2, 2, 1], [True, False, False]) == 3 / 4


def test_auroc_of_one_kind_is_not_a_number() -> None:
    assert math.isnan(auroc([1.0, 2.0], [True, True]))
    assert math.isnan(auroc([], []))


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=30))
def test_auroc_is_the_share_of_pairs_in_order(judged: list[tuple[int, bool]]) -> None:
    right = [score for score, is_right in judged if is_right]
    wrong = [score for score, is_right in judged if not is_right]
    wins = [(a > b) + (a == b) / 2 for a in right for b in wrong]
    expected = sum(wins) / len(wins) if wins else math.nan
    scores, positive = zip(*judged, strict=True)
    assert auroc(scores, positive) == pytest.approx(expected, nan_ok=True)


def test_calibration_error_is_the_gap_of_each_bin() -> None:
    # bin [0, .5): mean .2 stated, 1 of 2 true; bin [.5, 1]: mean .9 stated, all true
    assert ece([0.1, 0.3, 0.8, 1.0], [False, True, True, True], bins=2) == pytest.approx((2 * 0.3 + 2 * 0.1) / 4)


def test_gaps_within_a_bin_cancel_and_between_bins_do_not() -> None:
    stated, true = [0.2, 0.8], [True, False]
    assert ece(stated, true, bins=1) == pytest.approx(0.0)
    assert ece(stated, true, bins=2) == pytest.approx(0.8)


def test_calibration_error_of_nothing_is_not_a_number() -> None:
    assert math.isnan(ece([], []))


@given(st.lists(st.booleans(), min_size=1, max_size=20), st.integers(1, 5))
def test_recall_grows_with_k_and_ends_at_one(row: list[bool], wanted: int) -> None:
    hits = np.array([row])
    total = np.array([max(wanted, sum(row))])
    values = [recall_at(hits, total, k)[0] for k in range(1, len(row) + 1)]
    assert all(a <= b for a, b in pairwise(values))
    assert values[-1] == pytest.approx(sum(row) / total[0])


@given(st.lists(st.booleans(), min_size=1, max_size=20), st.integers(1, 25))
def test_ndcg_is_one_where_the_relevant_come_first(row: list[bool], k: int) -> None:
    best = np.array([sorted(row, reverse=True)])
    expected = 1.0 if any(row) else 0.0
    assert ndcg_at(best, np.array([sum(row)]), k)[0] == pytest.approx(expected)


def test_one_value_has_no_spread() -> None:
    assert interval([0.5]) == Interval(0.5, 0.5, 0.5)
