"""Heads learn what a list shows them. Needs torch."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from tests.retrieval.fusion.lists_of import DIM, examples_of, random_signals

from mmsearch.retrieval.fusion.heads import HEADS, head_class
from mmsearch.retrieval.fusion.heads.base import CONSTANT, Sizes, standardise
from mmsearch.retrieval.fusion.options import Loss, Options
from mmsearch.retrieval.fusion.signals import LACKING, VIEW_SIGNALS, Signals
from mmsearch.retrieval.training.fusion import _hidden, fit
from mmsearch.retrieval.training.fusion_losses import LOSSES, lambdarank, listwise, pairwise

SCORES = torch.tensor([[2.0, 1.0, 0.0, 9.0]])
VALID = torch.tensor([[True, True, True, False]])


def right(*places: int) -> torch.Tensor:
    return torch.isin(torch.arange(4), torch.tensor(places))[None]


def softplus(x: float) -> float:
    return float(np.log1p(np.exp(x)))


def test_listwise_is_the_surprise_at_the_right_item() -> None:
    expected = np.log(np.exp(2) + np.exp(1) + 1) - 1.0
    assert listwise(SCORES, right(1), VALID).item() == pytest.approx(expected)


def test_listwise_wants_an_even_share_for_each_right_item() -> None:
    expected = np.log(np.exp(2) + np.exp(1) + 1) - (1.0 + 0.0) / 2
    assert listwise(SCORES, right(1, 2), VALID).item() == pytest.approx(expected)


def test_pairwise_is_the_mean_over_right_and_wrong_pairs() -> None:
    expected = (softplus(2.0 - 1.0) + softplus(0.0 - 1.0)) / 2
    assert pairwise(SCORES, right(1), VALID).item() == pytest.approx(expected)


def test_lambdarank_weighs_pairs_by_the_ndcg_that_they_move() -> None:
    discount = [1 / np.log2(rank + 2) for rank in range(3)]
    expected = softplus(1.0) * (discount[0] - discount[1]) + softplus(-1.0) * (discount[1] - discount[2])
    assert lambdarank(SCORES, right(1), VALID).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("loss", LOSSES.values())
def test_no_loss_looks_at_padding(loss: object) -> None:
    louder = SCORES + torch.tensor([[0.0, 0.0, 0.0, 50.0]])
    assert callable(loss)
    assert loss(SCORES, right(1), VALID).item() == pytest.approx(loss(louder, right(1), VALID).item())


def lists_by(signal: str, count: int = 240) -> tuple[list[Signals], list[int]]:
    """Lists whose right candidate has the most of one signal of its photo; the base says nothing."""
    lists, best = [], []
    for seed in range(count):
        made = random_signals(12, seed)
        present = made.present.copy()
        present[:, 0] = True
        views = made.views.copy()
        views[:, 0] = 0
        views[:, 0, VIEW_SIGNALS.index(signal)] = np.random.default_rng(seed).normal(size=12)
        level = {"odds": 0 * made.odds, "base": 0 * made.base}
        lists.append(replace(made, views=views, present=present, **level))
        best.append(int(views[:, 0, VIEW_SIGNALS.index(signal)].argmax()))
    return lists, best


OPTIONS = Options(epochs=10, patience=10, batch=16, rate=0.03, drop=0.0, drop_captions=0.0, hold=0.2)


@pytest.mark.parametrize("name", HEADS)
def test_a_head_learns_the_signal_that_tells_the_right_item(name: str) -> None:
    lists, best = lists_by("density")
    head = head_class(name).fit(examples_of(lists[:200], best[:200]), OPTIONS)
    found = [int(head.score(each).argmax()) for each in lists[200:]]
    assert np.mean(np.equal(found, best[200:])) > 0.6  # by chance 1 in 12


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_teaches(loss: Loss) -> None:
    lists, best = lists_by("margin")
    head = fit(head_class("product"), examples_of(lists[:200], best[:200]), replace(OPTIONS, loss=loss))
    found = [int(head.score(each).argmax()) for each in lists[200:]]
    assert np.mean(np.equal(found, best[200:])) > 0.6


@pytest.mark.parametrize("name", HEADS)
def test_torch_and_numpy_agree(name: str) -> None:
    head = head_class(name).untrained(Sizes(dim=DIM))
    rng = np.random.default_rng(0)
    for each, values in head.parameters.items():
        if not each.startswith(CONSTANT):
            head.parameters[each] = (values + rng.normal(0, 0.3, values.shape)).astype(np.float32)
    signals = random_signals(9)
    tensors = Signals(**{each: torch.from_numpy(np.asarray(getattr(signals, each))) for each in Signals.__slots__})
    parameters = {each: torch.from_numpy(np.asarray(values)) for each, values in head.parameters.items()}
    found = tensors.base + head.residual(torch, parameters, standardise(torch, parameters, tensors))
    np.testing.assert_allclose(found.numpy(), head.score(signals), rtol=1e-4, atol=1e-5)


def test_equal_seeds_make_equal_heads() -> None:
    lists, best = lists_by("density", 20)
    one, other = (head_class("concat").fit(examples_of(lists, best), replace(OPTIONS, epochs=2)) for _ in range(2))
    for name, values in one.parameters.items():
        np.testing.assert_array_equal(values, other.parameters[name])


def test_without_anything_to_learn_the_head_stays_as_it_was() -> None:
    lists, _ = lists_by("density", 20)
    nowhere = replace(examples_of(lists, [0] * 20), relevant=np.zeros((20, 12), bool))
    head = head_class("product").fit(nowhere, OPTIONS)
    np.testing.assert_array_equal(head.score(lists[0]), lists[0].base.astype(np.float64))


def test_training_goes_on_from_a_head_and_a_strong_pull_keeps_it_near() -> None:
    lists, best = lists_by("density")
    learned = head_class("product").fit(examples_of(lists, best), OPTIONS)
    other_lists, other_best = lists_by("margin")
    again = examples_of(other_lists, other_best)
    free = head_class("product").fit(again, replace(OPTIONS, decay=0.0), start=learned)
    pulled = head_class("product").fit(again, replace(OPTIONS, decay=30.0), start=learned)
    near, far = (np.abs(each.parameters["weights"] - learned.parameters["weights"]).max() for each in (pulled, free))
    assert 0 < near < far / 3


def test_a_head_starts_with_the_signals_of_training_standardised() -> None:
    lists, best = lists_by("density", 30)
    head = fit(head_class("product"), examples_of(lists, best), replace(OPTIONS, epochs=0, hold=0.0))
    query = np.stack([each.query for each in lists])
    np.testing.assert_allclose(head.parameters["input.query_mean"], query.mean(axis=0), rtol=1e-4, atol=1e-5)


def tensors(count: int) -> Signals:
    lists = [random_signals(10, seed) for seed in range(count)]
    return Signals(
        **{each: torch.from_numpy(np.stack([getattr(one, each) for one in lists])) for each in Signals.__slots__}
    )


def test_hiding_views_leaves_every_candidate_one_and_lowers_the_base_with_them() -> None:
    before = tensors(20)
    after = _hidden(before, Options(drop=0.6, drop_captions=0.0), np.random.default_rng(0))
    assert after.present.any(-1).all()
    assert (after.present <= before.present).all()
    assert after.present.sum() < before.present.sum()
    assert torch.equal(after.odds > LACKING, after.present)
    assert torch.equal(after.base, after.odds.amax(-1))
    assert not after.views[~after.present].any()


def test_hiding_captions_leaves_the_photos_where_there_are_any() -> None:
    before = tensors(20)
    after = _hidden(before, Options(drop=0.0, drop_captions=1.0), np.random.default_rng(0))
    photo = before.present[..., 0]
    assert torch.equal(after.present[photo].sum(-1), torch.ones(int(photo.sum()), dtype=torch.int64))
    assert torch.equal(after.present[~photo], before.present[~photo])
