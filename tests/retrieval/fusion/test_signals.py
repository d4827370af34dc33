"""Signals of candidates, against values worked out by hand. Views in order: image, caption, text, audio_caption."""

import math
from dataclasses import fields, replace

import numpy as np
import pytest
from tests.retrieval.fusion.lists_of import CARD, DIM, NAN, by_column, random_candidates

from mmsearch.retrieval.candidates import Candidates
from mmsearch.retrieval.fusion.nulls import FITTING_PER_WANTED
from mmsearch.retrieval.fusion.signals import (
    ITEM_SIGNALS,
    LACKING,
    QUERY_SIGNALS,
    VIEW_SIGNALS,
    Signals,
    agreement,
    measure,
)

TARGET = np.array([1, 0, 0, 0], np.float32)


def two() -> Candidates:
    """A photo with a caption, and a document."""
    present = np.array([[True, True, False, False], [False, False, True, False]])
    vectors = np.zeros((2, 4, DIM), np.float32)
    vectors[0, 0], vectors[0, 1], vectors[1, 2] = [0.6, 0.8, 0, 0], [0.8, 0.6, 0, 0], [0.5, 0.5, 0.5, 0.5]
    return Candidates(
        items=np.array([3, 8]),
        rows=np.where(present, 1, -1),
        cosine=np.array([[0.6, 0.8, NAN, NAN], [NAN, NAN, 0.5, NAN]], np.float32),
        hubness=np.array([[0.3, 0.5, NAN, NAN], [NAN, NAN, 0.7, NAN]], np.float32),
        words=np.array([[NAN, 4.0, NAN, NAN], [NAN, NAN, 1.0, NAN]], np.float32),
        name=np.array([0.0, 3.0], np.float32),
        name_coverage=np.array([0.0, 0.75], np.float32),
        vectors=by_column(vectors),
    )


def measured() -> Signals:
    return measure(CARD, ["a", "red", "dog"], TARGET, two())


def signal(signals: Signals, name: str) -> np.ndarray:
    found: np.ndarray = signals.views[..., VIEW_SIGNALS.index(name)]
    return found


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("z", [[5.0, 2.5, 0, 0], [0, 0, 1.0, 0]]),  # (cosine - mean) / deviation
        ("hub", [[2.0, 1.0, 0, 0], [0, 0, 2.0, 0]]),
        ("words", [[0, math.log(5), 0, 0], [0, 0, math.log(2), 0]]),
        ("words_share", [[0, 1.0, 0, 0], [0, 0, 0.25, 0]]),
        ("reciprocal_rank", [[1, 1, 0, 0], [0, 0, 1, 0]]),
        ("agreement", [[(0.96 - 0.1) / 0.1, (0.96 - 0.1) / 0.1, 0, 0], [0, 0, 0, 0]]),
    ],
)
def test_a_signal_of_a_view(name: str, expected: list[list[float]]) -> None:
    np.testing.assert_allclose(signal(measured(), name), expected, rtol=1e-5)


def test_odds_are_the_calibrated_logit_of_z_and_the_base_is_the_best_of_them() -> None:
    prior = math.log(FITTING_PER_WANTED)
    expected = np.array(
        [
            [5 - 2 + prior, 2 * 2.5 - 4 + prior, LACKING, LACKING],
            [LACKING, LACKING, 2 * 1 - 4 + prior, LACKING],
        ]
    )
    np.testing.assert_allclose(measured().odds, expected, rtol=1e-5)
    np.testing.assert_allclose(measured().base, [3 + prior, -2 + prior], rtol=1e-5)


def test_signals_of_an_item_are_its_name_and_how_many_views_it_has() -> None:
    np.testing.assert_allclose(measured().items, np.array([[0, 0, 0, 2], [math.log(4), 1, 0.75, 1]]), rtol=1e-6)


def test_signals_of_the_query() -> None:
    named = dict(zip(QUERY_SIGNALS, measured().query.tolist(), strict=True))
    # The best goes by z less half of the hub signal; a view that nothing has says 0.
    expected = {
        "query_words": math.log(4),
        "best_image": 4.0,
        "best_caption": 2.0,
        "best_text": 0.0,
        "best_audio_caption": 0.0,
        "lead_image": 0.0,
        "lead_caption": 0.0,
        "lead_text": 0.0,
        "lead_audio_caption": 0.0,
        "share_image": 0.5,
        "share_caption": 0.5,
        "share_text": 0.5,
        "share_audio_caption": 0.0,
        "best_words": math.log(5),
        "best_name": math.log(4),
    }
    assert named == pytest.approx(expected, abs=1e-5)


def test_lead_is_the_best_over_the_mean_of_the_best_ten() -> None:
    candidates = random_candidates(30, np.random.default_rng(0))
    query = measure(CARD, ["dog"], TARGET, candidates).query
    z = (candidates.cosine[:, 0] - 0.1) / 0.1 - 0.5 * (candidates.hubness[:, 0] - 0.1) / 0.1
    best = np.sort(z[~np.isnan(z)])[::-1][:10]
    assert query[QUERY_SIGNALS.index("lead_image")] == pytest.approx(best[0] - best.mean(), rel=1e-4)


def test_agreement_of_three_views_is_the_mean_over_the_other_two() -> None:
    vectors = np.zeros((1, 4, DIM), np.float32)
    vectors[0, 0], vectors[0, 1], vectors[0, 3] = [1, 0, 0, 0], [0.6, 0.8, 0, 0], [0, 1, 0, 0]
    found = agreement(CARD, by_column(vectors), np.array([[True, True, False, True]]))
    photo_caption, photo_audio, caption_audio = (0.6 - 0.1) / 0.1, (0 - 0.1) / 0.1, (0.8 - 0.3) / 0.2
    expected = [[photo_caption + photo_audio, photo_caption + caption_audio, 0, photo_audio + caption_audio]]
    np.testing.assert_allclose(found, np.array(expected) / 2, rtol=1e-5)


def test_a_row_whose_hubness_is_not_known_counts_as_the_others_of_its_view() -> None:
    candidates = random_candidates(3, np.random.default_rng(0))
    hubness = np.array([[0.3] * 4, [NAN] * 4, [0.5] * 4], np.float32)
    known = measure(CARD, ["dog"], TARGET, replace(candidates, rows=np.ones((3, 4), np.int64), hubness=hubness))
    np.testing.assert_allclose(signal(known, "hub")[:, 0], [2.0, 3.0, 4.0], rtol=1e-5)


def test_where_no_hubness_is_known_nothing_is_a_hub() -> None:
    candidates = two()
    unknown = measure(CARD, ["dog"], TARGET, replace(candidates, hubness=np.full((2, 4), NAN, np.float32)))
    np.testing.assert_array_equal(signal(unknown, "hub"), np.zeros((2, 4)))
    assert np.isfinite(unknown.views).all()


def test_no_candidates_have_signals_of_no_candidates() -> None:
    empty = random_candidates(0, np.random.default_rng(0))
    found = measure(CARD, [], TARGET, empty)
    assert len(found) == 0
    assert found.views.shape == (0, 4, len(VIEW_SIGNALS))
    assert found.items.shape == (0, len(ITEM_SIGNALS))
    assert np.isfinite(found.query).all()


def test_signals_do_not_depend_on_the_order_of_the_candidates() -> None:
    candidates = random_candidates(40, np.random.default_rng(1))
    order = np.random.default_rng(2).permutation(40)
    arrays = {each.name: getattr(candidates, each.name) for each in fields(Candidates) if each.name != "vectors"}
    turned = Candidates(
        **{name: values[order] for name, values in arrays.items()},
        vectors=by_column(candidates.all_vectors()[order]),
    )
    one, other = (measure(CARD, ["dog"], TARGET, each) for each in (candidates, turned))
    np.testing.assert_allclose(one.views[order], other.views, atol=1e-5)
    np.testing.assert_allclose(one.query, other.query, atol=1e-5)


def test_a_model_whose_cosines_are_stretched_has_the_same_signals() -> None:
    candidates = random_candidates(20, np.random.default_rng(3))
    stretched = replace(candidates, cosine=candidates.cosine * 2 + 0.1, hubness=candidates.hubness * 2 + 0.1)
    null = {
        kind: {row: (mean * 2 + 0.1, std * 2) for row, (mean, std) in rows.items()} for kind, rows in CARD.null.items()
    }
    one = measure(CARD, ["dog"], TARGET, candidates)
    other = measure(replace(CARD, null={"text": null["text"], "image": CARD.null["image"]}), ["dog"], TARGET, stretched)
    names = ("z", "hub", "list_z", "reciprocal_rank", "margin")
    for name in names:
        np.testing.assert_allclose(signal(one, name), signal(other, name), atol=1e-4)


def test_what_nobody_looks_at_is_0_and_all_else_as_it_was() -> None:
    candidates = random_candidates(20, np.random.default_rng(4))
    seen = np.random.default_rng(5).random((4, len(VIEW_SIGNALS))) < 0.5
    every, some = measure(CARD, ["dog"], TARGET, candidates), measure(CARD, ["dog"], TARGET, candidates, seen=seen)
    compared = [VIEW_SIGNALS.index(name) for name in ("list_z", "reciprocal_rank", "margin", "centroid", "density")]
    left = np.ones(seen.shape, bool)
    left[:, compared] = seen[:, compared]
    np.testing.assert_array_equal(some.views, np.where(left, every.views, 0))
    np.testing.assert_array_equal(some.query, every.query)


def test_vectors_are_looked_up_for_those_who_look_at_them() -> None:
    candidates = random_candidates(5, np.random.default_rng(6))
    np.testing.assert_array_equal(measure(CARD, [], TARGET, candidates).vectors, candidates.all_vectors())
    assert measure(CARD, [], TARGET, candidates, vectors=False).vectors.shape == (5, 4, 0)


def test_a_photo_that_is_only_a_photo_needs_no_vector_for_a_head_that_sees_no_company() -> None:
    photos = replace(two(), rows=np.array([[1, -1, -1, -1]] * 2), vectors=lambda column: pytest.fail("looked up"))
    seen = np.ones((4, len(VIEW_SIGNALS)), bool)
    seen[:, [VIEW_SIGNALS.index("centroid"), VIEW_SIGNALS.index("density")]] = False
    assert measure(CARD, [], TARGET, photos, seen=seen, vectors=False).present.tolist() == [[True, *[False] * 3]] * 2
