from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mmsearch.retrieval.adapting import learning
from mmsearch.retrieval.adapting.captioned import Captioned
from mmsearch.retrieval.adapting.judging import ranks
from mmsearch.retrieval.adapting.learning import PATIENCE, fit, info_nce
from mmsearch.retrieval.encoders.adapter import Adapter
from mmsearch.retrieval.encoders.batches import unit_rows


def rows(count: int, dim: int, seed: int) -> NDArray[Any]:
    return np.random.default_rng(seed).normal(size=(count, dim))


def turned_apart(count: int, seed: int, angle: float = 0.3) -> Captioned:
    """Two captions a photo, their rows the photo's turned by the same map, and a little noise."""
    photos = unit_rows(rows(count, 8, seed))
    skew = rows(8, 8, seed=99)
    turn = np.eye(8) + angle * (skew - skew.T)
    owner = np.repeat(np.arange(count), 2)
    noise = 0.01 * rows(len(owner), 8, seed + 1)
    return Captioned(photos, unit_rows(photos[owner] @ turn + noise), owner)


def said_nothing(step: str) -> None:
    pass


def test_the_loss_is_the_mean_surprise_of_both_directions() -> None:
    """Two orthogonal photos with their own rows as captions, at a scale of 2."""
    loss, _, _ = info_nce(np.eye(2), np.eye(2), Adapter.identity(2), np.log(2.0))
    assert loss == pytest.approx(-np.log(np.e**2 / (np.e**2 + 1)))


@pytest.mark.parametrize("which", ["text", "image"])
def test_the_gradient_of_a_map_is_that_of_finite_differences(which: str) -> None:
    texts, photos, step = rows(5, 4, 1), rows(5, 4, 2), 1e-6
    maps: dict[str, Any] = {"text": np.eye(4) + 0.1 * rows(4, 4, 3), "image": np.eye(4) + 0.1 * rows(4, 4, 4)}
    gradient = getattr(info_nce(texts, photos, Adapter(**maps), 1.0)[1], which)
    for place in np.ndindex(4, 4):
        losses = []
        for sign in (1, -1):
            moved = maps[which].copy()
            moved[place] += sign * step
            losses.append(info_nce(texts, photos, Adapter(**(maps | {which: moved})), 1.0)[0])
        assert gradient[place] == pytest.approx((losses[0] - losses[1]) / (2 * step), abs=1e-6)


def test_the_gradient_of_the_temperature_is_that_of_finite_differences() -> None:
    texts, photos, step = rows(5, 4, 1), rows(5, 4, 2), 1e-6
    higher, lower = (info_nce(texts, photos, Adapter.identity(4), 1.0 + sign * step)[0] for sign in (1, -1))
    gradient = info_nce(texts, photos, Adapter.identity(4), 1.0)[2]
    assert gradient == pytest.approx((higher - lower) / (2 * step), abs=1e-6)


def test_what_is_learned_holds_for_other_photos() -> None:
    learned = fit(turned_apart(256, 1), turned_apart(64, 2), epochs=60, seed=0, say=said_nothing)
    others = turned_apart(200, 3)
    before, after = ((ranks(each) == 1).mean() for each in (others, others.adapted(learned.adapter)))
    assert before < 0.75
    assert after > before + 0.15


def test_the_same_seed_learns_the_same() -> None:
    first, second = (fit(turned_apart(64, 1), turned_apart(20, 2), epochs=3, seed=5, say=said_nothing) for _ in "ab")
    np.testing.assert_array_equal(first.adapter.text, second.adapter.text)
    np.testing.assert_array_equal(first.adapter.image, second.adapter.image)


def test_another_seed_learns_another_adapter() -> None:
    first, second = (fit(turned_apart(64, 1), turned_apart(20, 2), epochs=3, seed=s, say=said_nothing) for s in (1, 2))
    assert not np.array_equal(first.adapter.text, second.adapter.text)


def test_it_stops_when_the_tuning_photos_gain_nothing() -> None:
    """Their captions are turned the other way round, so they lose with every step."""
    said: list[str] = []
    learned = fit(turned_apart(64, 1), turned_apart(30, 2, angle=-0.3), epochs=100, seed=0, say=said.append)
    assert len(said) == learned.epochs + PATIENCE < 100


def test_without_any_gain_nothing_is_changed() -> None:
    """Among equal photos with equal captions there is nothing to gain."""
    same = np.ones((20, 8)) / np.sqrt(8)
    equal = Captioned(same.astype(np.float32), same.astype(np.float32), np.arange(20))
    learned = fit(turned_apart(64, 1), equal, epochs=30, seed=0, say=said_nothing)
    np.testing.assert_array_equal(learned.adapter.text, np.eye(8))
    assert learned.epochs == 0


def test_decay_keeps_the_maps_near_the_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    away = []
    for decay in (0.0, 300.0):
        monkeypatch.setattr(learning, "DECAY", decay)
        learned = fit(turned_apart(64, 1), turned_apart(20, 2), epochs=60, seed=0, say=said_nothing)
        away.append(np.linalg.norm(learned.adapter.text - np.eye(8)))
    assert away[1] < away[0] / 2


def test_an_epoch_says_how_it_went() -> None:
    said: list[str] = []
    fit(turned_apart(64, 1), turned_apart(20, 2), epochs=2, seed=0, say=said.append)
    assert [line.partition(":")[0] for line in said] == ["epoch 1", "epoch 2"]
