"""Every head keeps one contract; what is special to a head comes after."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.retrieval.fusion.lists_of import DIM, random_signals

from mmsearch.index.errors import HeadInvalid, UsageError
from mmsearch.retrieval.fusion.heads import HEADS, SHIPPED, head_class, load, shipped
from mmsearch.retrieval.fusion.heads.base import CLIP, CONSTANT, Head, Sizes
from mmsearch.retrieval.fusion.signals import ITEM_SIGNALS, QUERY_SIGNALS, VIEW_SIGNALS, Signals

SIZES = Sizes(dim=DIM)


def stirred(name: str, seed: int = 1) -> Head:
    """A head of that kind with parameters by chance, as if trained."""
    head = head_class(name).untrained(SIZES)
    rng = np.random.default_rng(seed)
    for each, values in head.parameters.items():
        if not each.startswith(CONSTANT):
            head.parameters[each] = (values + rng.normal(0, 0.3, values.shape)).astype(np.float32)
    return head


def reordered(signals: Signals, order: np.ndarray) -> Signals:
    per_candidate = ("odds", "base", "views", "present", "items", "vectors", "valid")
    return replace(signals, **{name: getattr(signals, name)[order] for name in per_candidate})


def batch(lists: list[Signals]) -> Signals:
    return Signals(**{name: np.stack([getattr(each, name) for each in lists]) for name in Signals.__slots__})


@pytest.mark.parametrize("name", HEADS)
def test_an_untrained_head_changes_nothing(name: str) -> None:
    signals = random_signals(7)
    np.testing.assert_array_equal(head_class(name).untrained(SIZES).score(signals), signals.base.astype(np.float64))


@pytest.mark.parametrize("name", HEADS)
def test_a_saved_head_scores_as_before(name: str, tmp_path: Path) -> None:
    head, signals = stirred(name), random_signals(7)
    head.save(tmp_path / "head.npz")
    read = load(tmp_path / "head.npz")
    assert type(read) is type(head)
    np.testing.assert_array_equal(read.score(signals), head.score(signals))


@pytest.mark.parametrize("name", HEADS)
def test_equal_heads_make_equal_files(name: str, tmp_path: Path) -> None:
    for path in (tmp_path / "one.npz", tmp_path / "other.npz"):
        stirred(name).save(path)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "other.npz").read_bytes()


@pytest.mark.parametrize("name", HEADS)
def test_contributions_sum_to_the_score(name: str) -> None:
    head, signals = stirred(name), random_signals(9)
    for candidate in (0, 8):
        parts = head.explain(signals, candidate)
        assert sum(parts.values()) == pytest.approx(head.score(signals)[candidate], rel=1e-4)
        assert parts["base"] == pytest.approx(float(signals.base[candidate]))


@pytest.mark.parametrize("name", HEADS)
def test_a_head_sees_what_was_not_hidden_from_it(name: str) -> None:
    head = stirred(name)
    assert head.seen.all()
    hidden = np.random.default_rng(3).random(head.seen.shape) < 0.5
    head.parameters[f"{CONSTANT}views_scale"][hidden] = np.inf
    np.testing.assert_array_equal(head.seen, ~hidden)
    signals = random_signals(9)
    np.testing.assert_array_equal(head.score(replace(signals, views=signals.views * head.seen)), head.score(signals))


@pytest.mark.parametrize("name", HEADS)
def test_scores_follow_the_candidates_in_any_order(name: str) -> None:
    head, signals = stirred(name), random_signals(9)
    order = np.random.default_rng(0).permutation(9)
    np.testing.assert_allclose(head.score(reordered(signals, order)), head.score(signals)[order], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", HEADS)
def test_a_list_scores_alone_as_in_a_batch(name: str) -> None:
    head, lists = stirred(name), [random_signals(9, seed) for seed in range(3)]
    together = head.score(batch(lists))
    for alone, scores in zip(lists, together, strict=True):
        np.testing.assert_allclose(head.score(alone), scores, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", HEADS)
def test_padding_changes_no_score(name: str) -> None:
    head, signals = stirred(name), random_signals(9)
    padded = reordered(signals, np.array([*range(9), 0, 0]))
    padded = replace(padded, valid=np.arange(11) < 9)
    np.testing.assert_allclose(head.score(padded)[:9], head.score(signals), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", HEADS)
def test_no_candidates_have_no_scores(name: str) -> None:
    assert stirred(name).score(random_signals(0)).shape == (0,)


@pytest.mark.parametrize("name", [name for name in HEADS if not head_class(name).mixes_candidates])
def test_a_candidate_scores_by_itself(name: str) -> None:
    head, signals = stirred(name), random_signals(9)
    alone = head.score(reordered(signals, np.array([4])))
    np.testing.assert_allclose(alone, head.score(signals)[[4]], rtol=1e-4)


@pytest.mark.parametrize("name", HEADS)
def test_signals_of_a_view_that_is_lacking_say_nothing(name: str) -> None:
    head, signals = stirred(name), random_signals(9)
    loud = replace(signals, views=np.where(signals.present[..., None], signals.views, 99).astype(np.float32))
    np.testing.assert_allclose(head.score(loud), head.score(signals), rtol=1e-5)


@pytest.mark.parametrize("name", HEADS)
def test_a_signal_far_beyond_those_of_training_says_no_more(name: str) -> None:
    head, signals = stirred(name), random_signals(9)
    one, other = (replace(signals, items=np.full_like(signals.items, far)) for far in (CLIP, 100 * CLIP))
    np.testing.assert_array_equal(head.score(one), head.score(other))


def test_weighted_averages_what_the_views_say() -> None:
    head = head_class("weighted").untrained()
    head.parameters["weights"][0, VIEW_SIGNALS.index("z")] = 2.0
    head.parameters["weights"][1, VIEW_SIGNALS.index("z")] = 4.0
    head.parameters["trust"][1] = np.log(3)
    head.parameters["bias"][:2] = [0.5, -0.5]
    signals = random_signals(1)
    views = np.zeros_like(signals.views)
    views[0, :2, VIEW_SIGNALS.index("z")] = [1.0, 2.0]
    both = replace(signals, views=views, present=np.array([[True, True, False, False]]), items=0 * signals.items)
    photo, caption = 2.0 * 1.0 + 0.5, 4.0 * 2.0 - 0.5
    assert head.score(both)[0] - both.base[0] == pytest.approx((1 * photo + 3 * caption) / 4)


def test_product_adds_what_the_views_say() -> None:
    head = head_class("product").untrained()
    head.parameters["weights"][:2, VIEW_SIGNALS.index("z")] = [2.0, 4.0]
    head.parameters["bias"][:2] = [0.5, -0.5]
    head.parameters["items"][ITEM_SIGNALS.index("name")] = 3.0
    signals = random_signals(1)
    views = np.zeros_like(signals.views)
    views[0, :2, VIEW_SIGNALS.index("z")] = [1.0, 2.0]
    items = np.array([[1.5, 0, 0, 0]], np.float32)
    both = replace(signals, views=views, present=np.array([[True, True, False, False]]), items=items)
    parts = head.explain(both, 0)
    assert {name: part for name, part in parts.items() if part and name != "base"} == pytest.approx(
        {"image.z": 2.0, "image.has": 0.5, "caption.z": 8.0, "caption.has": -0.5, "name": 4.5}
    )


def test_the_gate_shares_out_what_the_two_streams_say() -> None:
    head = head_class("two_stream").untrained()
    head.parameters["visual_out.bias"][:] = 4.0
    head.parameters["verbal_out.bias"][:] = 2.0
    head.parameters["gate_out.bias"][:] = np.log(3)  # three quarters for what is seen
    signals = random_signals(6)
    expected = np.where(signals.present[:, 0], 3.0, 0.0) + 0.5
    np.testing.assert_allclose(head.score(signals) - signals.base, expected, rtol=1e-4)


def test_shared_reads_a_caption_as_it_reads_a_document() -> None:
    head, signals = stirred("shared"), random_signals(1)
    swap = [0, 2, 1, 3]
    swapped = replace(
        signals, views=signals.views[:, swap], present=signals.present[:, swap], odds=signals.odds[:, swap]
    )
    np.testing.assert_allclose(head.score(signals), head.score(swapped), rtol=1e-5)


def test_the_autoencoder_scores_what_a_lacking_view_would_have_been() -> None:
    head, signals = stirred("autoencoder"), random_signals(6)
    forgetful = stirred("autoencoder")
    for name in ("decode.weight", "decode.bias"):
        forgetful.parameters[name][:] = 0
    lacking = ~signals.present.all(axis=1)
    assert lacking.any()
    assert (np.abs(head.score(signals) - forgetful.score(signals)) > 1e-3)[lacking].all()


def test_attention_sees_the_other_candidates_and_the_vectors() -> None:
    head, signals = stirred("attention"), random_signals(9)
    fewer = head.score(reordered(signals, np.arange(4)))
    assert np.abs(fewer - head.score(signals)[:4]).max() > 1e-3
    blind = head.score(replace(signals, vectors=0 * signals.vectors))
    assert np.abs(blind - head.score(signals)).max() > 1e-3


def test_only_the_head_that_looks_at_vectors_is_bound_to_their_length() -> None:
    assert {name: stirred(name).dim for name in HEADS if stirred(name).dim} == {"attention": DIM}


def test_a_head_of_no_known_name_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        head_class("oracle")
    assert str(caught.value) == f"there is no fusion head 'oracle'; there are {', '.join(HEADS)}."


def test_a_damaged_file_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    path.write_bytes(b"no archive")
    with pytest.raises(HeadInvalid, match=f"the fusion head {path} cannot be used: it cannot be read"):
        load(path)


def test_a_head_of_other_signals_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "old.npz"
    stirred("product").save(path)
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    np.savez(path, **arrays | {"signals": arrays["signals"][:-1]})
    with pytest.raises(HeadInvalid) as caught:
        load(path)
    assert str(caught.value) == (
        f"the fusion head {path} cannot be used: it was made for other signals than this version measures"
    )


def test_the_shipped_head_is_small_and_bound_to_no_model() -> None:
    assert SHIPPED.stat().st_size < 2_000_000
    assert shipped().dim is None


def test_a_shapley_share_of_an_additive_head_is_its_contribution() -> None:
    from mmsearch.retrieval.fusion.heads.shapley import shares

    head, signals = stirred("product"), random_signals(5)
    exact, sampled = head.explain(signals, 2), shares(head, signals, 2)
    biases = sum(part for name, part in exact.items() if name.endswith(".has"))
    assert sampled["has"] == pytest.approx(biases, rel=1e-4)
    for name, part in sampled.items():
        if name not in ("has", "base", "query"):
            assert part == pytest.approx(exact[name], abs=1e-4)
    assert sampled["query"] == pytest.approx(0, abs=1e-6)
    assert len(QUERY_SIGNALS) == signals.query.shape[-1]
