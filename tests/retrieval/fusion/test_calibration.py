from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from mmsearch.index.errors import HeadInvalid
from mmsearch.retrieval import metrics
from mmsearch.retrieval.fusion.calibration import FEATURES, LEAST_SLOPE, Calibration, features
from mmsearch.retrieval.fusion.signals import ITEM_SIGNALS, QUERY_SIGNALS, VIEW_SIGNALS, Signals
from mmsearch.retrieval.training.fusion_calibration import Lists, calibrate, logistic

F = len(FEATURES)


def signals_of(count: int) -> Signals:
    """Candidates that are photos alone, of which nothing more is known."""
    present = np.tile([True, False, False, False], (count, 1))
    return Signals(
        odds=np.zeros((count, 4), np.float32),
        base=np.zeros(count, np.float32),
        views=np.zeros((count, 4, len(VIEW_SIGNALS)), np.float32),
        present=present,
        items=np.zeros((count, len(ITEM_SIGNALS)), np.float32),
        query=np.zeros(len(QUERY_SIGNALS), np.float32),
        vectors=np.zeros((count, 4, 0), np.float32),
        target=np.zeros(0, np.float32),
        valid=np.ones(count, bool),
    )


def calibration(**lines: dict[str, float]) -> Calibration:
    """One whose lines `hit`, `slope` and `fits` weigh the named features and the `constant`."""
    made = {name: np.zeros(F + 1) for name in ("hit", "slope", "fits")}
    for line, weights in lines.items():
        for feature, weight in weights.items():
            made[line][F if feature == "constant" else FEATURES.index(feature)] = weight
    return Calibration(np.zeros(F), np.ones(F), **made)


def named(values: NDArray[np.float64]) -> dict[str, float]:
    return dict(zip(FEATURES, values.tolist(), strict=True))


def test_leads_and_crowd_are_those_of_the_sorted_scores() -> None:
    found = named(features(signals_of(4), np.array([1.0, 4.0, 2.0, 3.0])))
    assert found["best"] == 4
    assert found["lead_of_1"] == 4 - 3
    assert found["lead_of_5"] == found["lead_of_20"] == 4 - (3 + 2 + 1) / 3
    assert found["crowd"] == pytest.approx(math.log(1 + math.exp(-1) + math.exp(-2) + math.exp(-3)))


def test_a_list_of_one_leads_nothing_and_is_no_crowd() -> None:
    found = named(features(signals_of(1), np.array([-2.0])))
    assert (found["lead_of_1"], found["lead_of_20"], found["crowd"]) == (0, 0, 0)


def test_a_longer_list_is_no_greater_crowd() -> None:
    scores = np.linspace(0, -5, 300)
    assert np.array_equal(features(signals_of(300), scores), features(signals_of(120), scores[:120]))


def test_the_views_and_words_are_those_of_the_first_candidate() -> None:
    signals = signals_of(2)
    signals.present[1] = [False, True, False, False]
    signals.views[1, 1, VIEW_SIGNALS.index("words")] = 2.5
    found = named(features(signals, np.array([0.0, 1.0])))
    assert (found["first_image"], found["first_caption"], found["first_words"]) == (0, 1, 2.5)


def test_what_is_known_of_the_query_counts() -> None:
    signals = replace(signals_of(1), query=np.arange(len(QUERY_SIGNALS), dtype=np.float32))
    assert named(features(signals, np.zeros(1)))["query_words"] == QUERY_SIGNALS.index("query_words")


def test_the_first_hit_has_the_log_odds_of_its_line() -> None:
    sure = calibration(hit={"lead_of_1": 2.0, "constant": -1.0}, slope={"constant": 0.5}).judge(
        signals_of(2), np.array([3.0, 1.0])
    )
    assert sure.log_odds(np.array([3.0, 1.0])) == pytest.approx([2 * 2 - 1, 2 * 2 - 1 - 0.5 * 2])


def test_fits_is_the_probability_of_its_line() -> None:
    assert calibration(fits={"best": 1.0}).judge(signals_of(1), np.array([2.0])).fits == 1 / (1 + math.exp(-2))


def test_nothing_fits_where_nothing_is_found() -> None:
    assert calibration(fits={"constant": 9.0}).judge(signals_of(0), np.zeros(0)).fits == 0


def test_a_feature_beyond_those_of_training_says_no_more() -> None:
    made = calibration(fits={"best": 0.1})
    assert made.judge(signals_of(1), np.array([50.0])).fits == made.judge(signals_of(1), np.array([5.0])).fits


@given(arrays(np.float64, st.integers(1, 30), elements=st.floats(-20, 20)), st.floats(-3, 3), st.floats(-3, 3))
def test_no_list_is_reordered(scores: NDArray[np.float64], slope: float, lead: float) -> None:
    made = calibration(hit={"best": 1.0}, slope={"constant": slope, "lead_of_1": lead})
    sure = made.judge(signals_of(len(scores)), scores)
    assert sure.slope >= LEAST_SLOPE
    order = np.argsort(scores)
    assert (np.diff(sure.log_odds(scores)[order]) >= 0).all()


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    made = calibration(hit={"best": 0.5}, slope={"constant": 2.0}, fits={"crowd": -1.0})
    made.save(tmp_path / "one.npz")
    made.save(tmp_path / "two.npz")
    loaded = Calibration.load(tmp_path / "one.npz")
    assert np.array_equal(loaded.hit, made.hit)
    assert np.array_equal(loaded.fits, made.fits)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(HeadInvalid, match="it cannot be read"):
        Calibration.load(tmp_path / "bad.npz")


def test_a_file_of_other_features_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as other:
        other.setattr("mmsearch.retrieval.fusion.calibration.FEATURES", ("best",))
        calibration().save(tmp_path / "old.npz")
    with pytest.raises(HeadInvalid, match="it was made of other features than this version measures"):
        Calibration.load(tmp_path / "old.npz")


def test_a_regression_on_a_constant_gives_the_log_odds_of_the_mean() -> None:
    found = logistic(np.ones((40000, 1)), np.arange(40000) < 10000, np.ones(40000))
    assert found == pytest.approx([math.log(1 / 3)], abs=1e-3)


def test_a_heavier_case_counts_as_several() -> None:
    inputs, true = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]]), np.array([False, True, False])
    weighed = logistic(inputs, true, np.array([1.0, 3.0, 2.0]))
    assert weighed == pytest.approx(logistic(inputs.repeat([1, 3, 2], axis=0), true.repeat([1, 3, 2]), np.ones(6)))


def drawn(count: int, seed: int) -> Lists:
    """Lists of which the first three are right by log odds `best` - 2 · (how far behind), and sometimes nothing is."""
    rng = np.random.default_rng(seed)
    known = np.zeros((count, F))
    known[:, 0] = rng.normal(0, 1.5, count)
    scores = known[:, :1] - np.array([0.0, 0.5, 1.0])
    there = rng.random(count) < 0.9
    right = rng.random(scores.shape) < 1 / (1 + np.exp(-(known[:, :1] + 2 * (scores - known[:, :1]))))
    return Lists(known, scores, right & there[:, None], there)


def test_probabilities_are_what_comes_true() -> None:
    made, judged = calibrate(drawn(6000, 0)), drawn(6000, 1)
    known = made.standardised(judged.features)
    log_odds = (known @ made.hit)[:, None] + (known @ made.slope)[:, None] * (judged.scores - judged.scores[:, :1])
    assert metrics.ece(1 / (1 + np.exp(-log_odds.ravel())), judged.right.ravel()) < 0.02


def test_lists_without_a_right_item_fit_less() -> None:
    lists = drawn(4000, 0)
    lists.features[:, 4] = lists.there + np.random.default_rng(1).normal(0, 0.5, 4000)
    made = calibrate(lists)
    assert metrics.auroc(made.standardised(lists.features) @ made.fits, lists.there) > 0.9
