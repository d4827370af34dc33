"""Signals become scores. Views in order: image, caption, text, audio_caption."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mmsearch.retrieval.encoders.base import ModelCard
from mmsearch.retrieval.ranking import FITTING_PER_WANTED, BestCosine, NoisyOr, Signals, measure, order
from mmsearch.retrieval.types import Preprocess

NAN = math.nan
CARD = ModelCard(
    name="hand",
    dim=4,
    fingerprint="f",
    preprocess=Preprocess(8),
    context_length=16,
    null={
        "text": {"image": (0.1, 0.1), "text": (0.3, 0.2)},
        "image": {"image": (0.4, 0.1), "text": (0.0, 0.1)},
    },
    calibration={"text": {"image": (1.0, -2.0), "text": (2.0, -4.0)}},
)


def cosines(*rows: list[float]) -> np.ndarray:
    return np.array(rows, np.float32)


def signals(relevance: list[list[float]], unwanted: list[float] | None = None) -> Signals:
    values = np.array(relevance)
    return Signals(
        values.astype(np.float32),
        values.astype(np.float32),
        values,
        np.array(unwanted) if unwanted else np.zeros(len(values)),
    )


def fitting(logit: float) -> float:
    """The probability that a row fits, from the log odds that it is the one right row."""
    return 1 / (1 + math.exp(-logit) / FITTING_PER_WANTED)


def test_z_is_the_distance_from_unrelated_pairs_of_the_same_two_modalities() -> None:
    measured = measure(CARD, "text", cosines([0.4, 0.7, NAN, 0.3]))
    np.testing.assert_allclose(measured.z, [[3.0, 2.0, NAN, 0.0]], rtol=1e-5, atol=1e-6)


def test_relevance_is_the_logistic_of_z() -> None:
    measured = measure(CARD, "text", cosines([0.4, 0.7, NAN, 0.3]))
    expected = [[fitting(3.0 - 2.0), fitting(2 * 2.0 - 4.0), NAN, fitting(-4.0)]]
    np.testing.assert_allclose(measured.relevance, expected, rtol=1e-5)


def test_a_picture_is_judged_as_a_picture() -> None:
    measured = measure(CARD, "image", cosines([0.6, 0.2, NAN, NAN]))
    np.testing.assert_allclose(measured.z, [[2.0, 2.0, NAN, NAN]], rtol=1e-5)


def test_what_is_subtracted_counts_by_its_best_view() -> None:
    against = {"text": np.array([[[0.4, 0.3, NAN, NAN]], [[0.1, 0.3, NAN, NAN]]], np.float32)}
    measured = measure(CARD, "text", cosines([0.4, 0.7, NAN, NAN]), against)  # type: ignore[arg-type]
    np.testing.assert_allclose(measured.unwanted, [fitting(1.0)], rtol=1e-5)


def test_signals_are_named_and_missing_ones_left_out() -> None:
    named = measure(CARD, "text", cosines([0.4, NAN, NAN, NAN])).of(0)
    assert set(named) == {"cosine_image", "z_image", "relevance_image"}
    assert named["z_image"] == pytest.approx(3.0)


def test_noisy_or_is_one_minus_the_product_of_doubts() -> None:
    scores = NoisyOr().score(signals([[0.5, 0.8, NAN, NAN], [NAN, NAN, 0.3, NAN]]))
    np.testing.assert_allclose(scores, [1 - 0.5 * 0.2, 0.3])


def test_what_is_unwanted_is_pushed_down() -> None:
    scores = NoisyOr().score(signals([[0.8, NAN, NAN, NAN], [0.6, NAN, NAN, NAN]], [0.75, 0.0]))
    np.testing.assert_allclose(scores, [0.2, 0.6])


def test_best_cosine_is_the_highest_of_the_views() -> None:
    measured = measure(CARD, "text", cosines([0.4, 0.7, NAN, NAN], [NAN, NAN, NAN, -0.2]))
    np.testing.assert_allclose(BestCosine().score(measured), [0.7, -0.2], rtol=1e-6)


@pytest.mark.parametrize("fusion", [NoisyOr(), BestCosine()])
def test_no_candidates_have_no_scores(fusion: NoisyOr | BestCosine) -> None:
    assert fusion.score(measure(CARD, "text", np.empty((0, 4), np.float32))).shape == (0,)


def test_order_is_best_first_and_ties_go_to_the_smaller_id() -> None:
    assert order(np.array([0.1, 0.9, 0.9]), np.array([7, 8, 3])).tolist() == [2, 1, 0]


probabilities = hnp.arrays(np.float64, (5, 4), elements=st.floats(0, 1) | st.just(math.nan))


@given(probabilities)
def test_another_witness_never_lowers_a_score(relevance: np.ndarray) -> None:
    fewer = relevance.copy()
    fewer[:, 1] = math.nan
    with_all = NoisyOr().score(signals(relevance.tolist()))
    with_fewer = NoisyOr().score(signals(fewer.tolist()))
    assert (with_all >= with_fewer - 1e-12).all()
    assert ((with_all >= 0) & (with_all <= 1)).all()
