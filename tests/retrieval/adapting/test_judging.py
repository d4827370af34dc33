from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsearch.retrieval.adapting.captioned import Captioned
from mmsearch.retrieval.adapting.judging import Verdict, judge, ranks, split
from mmsearch.retrieval.encoders.batches import unit_rows


def numbered(count: int, per_photo: int = 1) -> Captioned:
    """Photos and captions whose rows begin with the number of the photo."""
    numbers = np.arange(count, dtype=np.float32)
    owner = np.repeat(np.arange(count), per_photo)
    photos = np.stack([numbers, np.ones(count, np.float32)], axis=1)
    return Captioned(photos, photos[owner], owner)


def found(right: list[bool]) -> Captioned:
    """One caption a photo, each nearest to its own photo where right says so, else last of all."""
    photos = np.eye(len(right), dtype=np.float32)
    return Captioned(photos, np.where(right, 1, -1)[:, None].astype(np.float32) * photos, np.arange(len(right)))


def repeated(captioned: Captioned) -> Captioned:
    """Each caption ten times."""
    return Captioned(captioned.photos, np.repeat(captioned.texts, 10, axis=0), np.repeat(captioned.owner, 10))


@given(count=st.integers(200, 700), per_photo=st.integers(1, 3), seed=st.integers(0, 5))
def test_every_photo_is_in_one_part_with_all_its_captions(count: int, per_photo: int, seed: int) -> None:
    parts = split(numbered(count, per_photo), seed)
    photos = [part.photos[:, 0] for part in (parts.train, parts.tuning, parts.held_out)]
    assert sorted(np.concatenate(photos)) == list(range(count))
    for part in (parts.train, parts.tuning, parts.held_out):
        np.testing.assert_array_equal(part.texts, part.photos[part.owner])
        np.testing.assert_array_equal(np.bincount(part.owner), per_photo)


@pytest.mark.parametrize(("count", "held_out"), [(200, 40), (201, 41), (1000, 200)])
def test_a_fifth_is_held_out(count: int, held_out: int) -> None:
    assert len(split(numbered(count), 0).held_out.photos) == held_out


def test_at_least_forty_are_held_out() -> None:
    assert len(split(numbered(120), 0).held_out.photos) == 40


def test_a_tenth_of_the_rest_is_for_tuning() -> None:
    assert len(split(numbered(200), 0).tuning.photos) == 16


def test_the_seed_makes_the_split() -> None:
    first, again, other = (split(numbered(200), seed).held_out.photos for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_rank_counts_the_photos_that_are_nearer() -> None:
    photos = unit_rows(np.array([[1, 0], [1, 1], [0, 1]]))
    texts = unit_rows(np.array([[1, 0.1], [1, 0.1], [1, 0.1]]))
    assert ranks(Captioned(photos, texts, np.array([0, 1, 2]))).tolist() == [1, 2, 3]


def test_a_tie_counts_as_lost() -> None:
    same = np.ones((4, 1), np.float32)
    assert ranks(Captioned(same, same, np.arange(4))).tolist() == [4, 4, 4, 4]


def test_ranks_of_many_captions_are_those_of_each() -> None:
    rng = np.random.default_rng(0)
    photos, texts = unit_rows(rng.normal(size=(7, 4))), unit_rows(rng.normal(size=(2500, 4)))
    owner = rng.integers(0, 7, 2500)
    cosine = texts @ photos.T
    expected = (cosine >= cosine[np.arange(2500), owner][:, None]).sum(axis=1)
    np.testing.assert_array_equal(ranks(Captioned(photos, texts, owner)), expected)


def test_the_recall_is_the_share_of_captions_within_ten() -> None:
    verdict = judge(found([True] * 30 + [False] * 10), found([True] * 34 + [False] * 6), seed=0)
    assert (verdict.photos, verdict.before, verdict.after) == (40, 0.75, 0.85)
    assert verdict.difference == pytest.approx(0.1)


def test_the_interval_is_that_of_a_binomial() -> None:
    """100 photos, 20 gained and none lost: the deviation of the share is sqrt(.2 * .8 / 100) = 0.04."""
    verdict = judge(found([True] * 50 + [False] * 50), found([True] * 70 + [False] * 30), seed=0)
    assert verdict.low == pytest.approx(0.2 - 1.96 * 0.04, abs=0.015)
    assert verdict.high == pytest.approx(0.2 + 1.96 * 0.04, abs=0.015)
    assert verdict.is_better


def test_gains_and_losses_that_may_be_chance_are_not_better() -> None:
    before = found([True] * 10 + [False] * 12 + [True] * 20)
    after = found([False] * 10 + [True] * 12 + [True] * 20)
    verdict = judge(before, after, seed=0)
    assert verdict.difference > 0 > verdict.low
    assert not verdict.is_better


def test_the_captions_of_a_photo_are_drawn_together() -> None:
    """Ten captions of each of 40 photos, all gained in 8 of them, is no surer than one caption of each."""
    before, after = found([True] * 20 + [False] * 20), found([True] * 28 + [False] * 12)
    one = judge(before, after, seed=0)
    ten = judge(repeated(before), repeated(after), seed=0)
    assert (ten.low, ten.high) == (one.low, one.high)


def test_no_difference_is_not_better() -> None:
    same = found([True, False] * 20)
    assert judge(same, same, seed=0) == Verdict(photos=40, before=0.5, after=0.5, low=0.0, high=0.0)
    assert not judge(same, same, seed=0).is_better


def test_photos_count_by_their_captions() -> None:
    """All that was lost is found: whichever photos are drawn, however many captions they have, the gain is 1."""
    owner = np.repeat(np.arange(40), np.arange(40) % 5 + 1)
    before, after = (Captioned(f.photos, f.texts[owner], owner) for f in (found([False] * 40), found([True] * 40)))
    assert judge(before, after, seed=0) == Verdict(photos=40, before=0.0, after=1.0, low=1.0, high=1.0)
