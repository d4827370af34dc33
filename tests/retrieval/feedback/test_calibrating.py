from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.retrieval.feedback.test_training import examples

from mmsearch.retrieval.feedback.calibrating import ENOUGH, Told, line, told
from mmsearch.retrieval.fusion import calibration
from mmsearch.retrieval.fusion.heads.weighted import Weighted

HEAD = Weighted.untrained()


def drawn(slope: float, shift: float, count: int = 20_000) -> Told:
    """Answers that come true with log odds slope · stated + shift."""
    rng = np.random.default_rng(0)
    stated = rng.normal(size=count)
    return Told(stated, rng.random(count) < 1 / (1 + np.exp(-(slope * stated + shift))))


@pytest.mark.parametrize(("slope", "shift"), [(1.0, 0.0), (0.5, -1.0), (2.0, 1.5)])
def test_the_line_says_what_comes_true(slope: float, shift: float) -> None:
    assert line([drawn(slope, shift)]) == pytest.approx((slope, shift), abs=0.08)


def test_the_parts_count_as_one() -> None:
    stated, right = drawn(0.5, -1.0)
    parts = [Told(stated[:9000], right[:9000]), Told(stated[9000:], right[9000:])]
    assert line(parts) == line([Told(stated, right)])


def test_answers_that_contradict_what_was_stated_draw_no_line() -> None:
    assert line([drawn(-1.0, 0.0)]) is None


@pytest.mark.parametrize(
    ("right", "wrong", "enough"), [(ENOUGH, ENOUGH, True), (ENOUGH - 1, 500, False), (500, 49, False)]
)
def test_a_line_needs_right_answers_and_wrong_ones(right: int, wrong: int, enough: bool) -> None:
    stated = np.concatenate([np.linspace(0, 2, right), np.linspace(-1, 1, wrong)])
    assert (line([Told(stated, np.arange(right + wrong) < right)]) is not None) == enough


def test_what_is_told_is_the_calibrations_own_log_odds() -> None:
    asked = examples(3, candidates=15)
    found = told(HEAD, calibration.shipped(), asked)
    assert len(found.right) == 30  # ten of each list
    best = np.sort(asked.base[1].astype(np.float64))[::-1]
    sure = calibration.shipped().judge(asked.signals(1), asked.base[1].astype(np.float64))
    np.testing.assert_allclose(found.log_odds[10:20], sure.log_odds(best[:10]))


def test_what_nobody_judged_shapes_the_list_and_tells_nothing() -> None:
    asked = examples(1, candidates=6)
    asked.base[0] = [5, 4, 3, 2, 1, 0]
    judged = replace(asked, valid=np.array([[True, False, False, True, False, False]]))
    every, some = (told(HEAD, calibration.shipped(), each) for each in (asked, judged))
    np.testing.assert_array_equal(some.log_odds, every.log_odds[[0, 3]])
    np.testing.assert_array_equal(some.right, asked.relevant[0, [0, 3]])


def test_what_pads_a_list_tells_nothing() -> None:
    asked = examples(1, candidates=6)
    asked.present[0, 4:] = False
    assert len(told(HEAD, calibration.shipped(), asked).right) == 4
