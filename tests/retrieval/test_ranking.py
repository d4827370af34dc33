"""Candidates become an order. Views in order: image, caption, text, audio_caption."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.retrieval.fusion.lists_of import by_column

from mmsearch.index.items import VIEWS
from mmsearch.retrieval.candidates import Candidates
from mmsearch.retrieval.encoders.base import ModelCard
from mmsearch.retrieval.fusion.calibration import FEATURES, Calibration
from mmsearch.retrieval.fusion.heads.weighted import Weighted
from mmsearch.retrieval.fusion.nulls import FITTING_PER_WANTED
from mmsearch.retrieval.queries import QueryVector
from mmsearch.retrieval.ranking import by_cosine, by_fusion, by_relevance, measured, order, unwanted
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


PICTURE = QueryVector(np.array([1, 0, 0, 0], np.float32), "text")
SURE = Calibration(
    mean=np.zeros(len(FEATURES)),
    scale=np.ones(len(FEATURES)),
    hit=np.array([1.0, *[0.0] * len(FEATURES)]),  # log odds of the first: its score
    slope=np.array([*[0.0] * len(FEATURES), 0.5]),
    fits=np.array([*[0.0] * len(FEATURES), 1.5]),
)


def candidates(*cosine: list[float], second: Mapping[str, list[float]] | None = None) -> Candidates:
    """Items 10, 11, … with these cosines to the first axis and, by view, `second` to the second; NaN where lacking."""
    first = np.array(cosine, np.float32).reshape(-1, len(VIEWS))
    vectors = np.zeros((*first.shape, 4), np.float32)
    vectors[..., 0] = np.nan_to_num(first)
    for view, values in (second or {}).items():
        vectors[:, VIEWS.index(view), 1] = values
    has = ~np.isnan(first)
    rows = np.where(has, np.arange(first.size).reshape(first.shape), -1)
    words = np.where(has & (np.array(VIEWS) != "image"), 0, np.nan).astype(np.float32)
    hubness = np.full(first.shape, np.nan, np.float32)
    items, nothing = np.arange(10, 10 + len(first)), np.zeros(len(first), np.float32)
    return Candidates(items, rows, first, hubness, words, nothing, nothing, by_column(vectors))


def without(axis: int) -> QueryVector:
    """The picture query less a text along an axis."""
    return QueryVector(PICTURE.vector, "text", (("text", np.eye(4, dtype=np.float32)[axis]),))


def fitting(logit: float) -> float:
    """The probability that a row fits, from the log odds that it is the one right row."""
    return 1 / (1 + math.exp(-logit) / FITTING_PER_WANTED)


def test_what_is_measured_is_named_and_what_is_missing_left_out() -> None:
    (named,) = measured(CARD, PICTURE, candidates([0.4, 0.7, NAN, NAN]), [0])
    assert set(named) == {"cosine_image", "cosine_caption", "z_image", "z_caption", "words_caption", "name"}
    assert named["z_image"] == pytest.approx((0.4 - 0.1) / 0.1)
    assert named["z_caption"] == pytest.approx((0.7 - 0.3) / 0.2)


def test_a_picture_is_judged_as_a_picture() -> None:
    (named,) = measured(CARD, QueryVector(PICTURE.vector, "image"), candidates([0.6, 0.2, NAN, NAN]), [0])
    assert (named["z_image"], named["z_caption"]) == pytest.approx((2, 2))


def test_a_view_fits_by_the_logistic_of_its_z() -> None:
    ranked = by_relevance(CARD, PICTURE, candidates([0.4, NAN, NAN, NAN], [NAN, 0.7, NAN, NAN]))
    assert ranked.probabilities == pytest.approx([fitting(3.0 - 2.0), fitting(2 * 2.0 - 4.0)])


def test_relevance_is_one_minus_the_product_of_doubts() -> None:
    ranked = by_relevance(CARD, PICTURE, candidates([0.4, 0.7, NAN, 0.3]))
    doubt = (1 - fitting(1.0)) * (1 - fitting(0.0)) * (1 - fitting(-4.0))
    assert ranked.probabilities == pytest.approx([1 - doubt])
    assert ranked.scores == pytest.approx([math.log((1 - doubt) / doubt)])


def test_what_is_subtracted_counts_by_its_best_view() -> None:
    some = candidates([0.4, 0.7, NAN, NAN], second={"image": [0.4], "caption": [0.3]})
    assert unwanted(CARD, without(1), some) == pytest.approx([fitting(1.0)])
    assert unwanted(CARD, PICTURE, some).tolist() == [0]


def test_of_what_is_unwanted_only_the_rest_of_the_probability_is_left() -> None:
    some = candidates([0.4, NAN, NAN, NAN], [0.4, NAN, NAN, NAN], second={"image": [0.4, -0.5]})
    plain, less = by_relevance(CARD, PICTURE, some), by_relevance(CARD, without(1), some)
    assert plain.probabilities is not None
    assert less.probabilities == pytest.approx(plain.probabilities * (1 - unwanted(CARD, without(1), some)))


def test_the_fusion_multiplies_by_what_is_left_too() -> None:
    some = candidates([0.4, NAN, NAN, NAN], [0.2, 0.1, NAN, NAN], second={"image": [0.1, 0.4]})
    head = Weighted.untrained()
    plain, less = (by_fusion(CARD, head, SURE, query, some) for query in (PICTURE, without(1)))
    assert plain.probabilities is not None
    assert less.probabilities == pytest.approx(plain.probabilities * (1 - unwanted(CARD, without(1), some)))


def test_an_untrained_fusion_scores_by_the_best_view_and_is_calibrated() -> None:
    ranked = by_fusion(
        CARD, Weighted.untrained(), SURE, PICTURE, candidates([0.4, NAN, NAN, NAN], [NAN, 0.3, NAN, NAN])
    )
    best, other = 1.0 + math.log(FITTING_PER_WANTED), -4.0 + math.log(FITTING_PER_WANTED)
    assert ranked.scores == pytest.approx([best, other], rel=1e-5)
    assert ranked.probabilities == pytest.approx([1 / (1 + math.exp(-odds)) for odds in (best, best - 0.5 * 5)])
    assert ranked.fits == pytest.approx(1 / (1 + math.exp(-1.5)))
    assert ranked.views.tolist() == [0, 1]


def test_best_cosine_is_the_highest_of_the_views_and_says_no_probability() -> None:
    ranked = by_cosine(candidates([0.4, 0.7, NAN, NAN], [NAN, NAN, NAN, -0.2]))
    assert ranked.scores == pytest.approx([0.7, -0.2])
    assert ranked.views.tolist() == [1, 3]
    assert (ranked.probabilities, ranked.fits) == (None, None)


@pytest.mark.parametrize("query", [PICTURE, without(1)])
def test_contributions_sum_to_the_score(query: QueryVector) -> None:
    some = candidates([0.4, 0.7, NAN, 0.3], [NAN, 0.2, NAN, NAN], second={"image": [0.2, 0], "caption": [0, 0.6]})
    for ranked in (
        by_cosine(some),
        by_relevance(CARD, query, some),
        by_fusion(CARD, Weighted.untrained(), SURE, query, some),
    ):
        sums = [sum(ranked.contributions(at).values()) for at in range(2)]
        assert sums == pytest.approx(ranked.scores.tolist(), abs=1e-5)


def test_what_was_subtracted_has_a_contribution_of_its_own() -> None:
    some = candidates([0.4, NAN, NAN, NAN], second={"image": [0.4]})
    assert by_fusion(CARD, Weighted.untrained(), SURE, without(1), some).contributions(0)["unwanted"] < -1
    assert "unwanted" not in by_relevance(CARD, PICTURE, some).contributions(0)


def test_no_candidates_have_no_scores() -> None:
    none = candidates()
    assert by_cosine(none).scores.shape == by_relevance(CARD, PICTURE, none).scores.shape == (0,)
    fused = by_fusion(CARD, Weighted.untrained(), SURE, PICTURE, none)
    assert (fused.scores.shape, fused.fits) == ((0,), 0)


def test_order_is_best_first_and_ties_go_to_the_smaller_id() -> None:
    assert order(np.array([0.1, 0.9, 0.9]), np.array([7, 8, 3])).tolist() == [2, 1, 0]


cosines = st.lists(st.floats(-1, 1) | st.just(NAN), min_size=4, max_size=4)


@given(cosines)
def test_another_witness_never_lowers_a_relevance(cosine: list[float]) -> None:
    with_all, with_fewer = by_relevance(CARD, PICTURE, candidates(cosine, [cosine[0], NAN, *cosine[2:]])).scores
    assert with_all >= with_fewer - 1e-9
