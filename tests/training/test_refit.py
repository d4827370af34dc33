"""The last layer's objective."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from mmsearch.retrieval.training.joint_stage import JointData, JointHead, JointObjective  # noqa: E402
from mmsearch.retrieval.training.labels import Labels  # noqa: E402
from mmsearch.retrieval.training.refit import RefitObjective  # noqa: E402

PHOTOS, FEATURES, DIM = 12, 6, 4


def unit(count: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((count, DIM)).astype(np.float32)
    normed: np.ndarray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return normed


def data() -> JointData:
    """Eight of twelve photos have a caption each."""
    features = np.random.default_rng(0).standard_normal((PHOTOS, FEATURES)).astype(np.float32)
    nothing = np.full(PHOTOS, -1)
    labels = Labels(unit(2, 1), nothing, np.zeros((1, 2), bool), np.zeros(PHOTOS, int))
    return JointData(
        features, np.arange(8), [np.array([i]) for i in range(8)], unit(8, 2), labels,
        np.zeros((PHOTOS, 0), np.float16), np.zeros((0, DIM), np.float32), {},
    )  # fmt: skip


def head() -> JointHead:
    torch.manual_seed(0)
    return JointHead(FEATURES, DIM, inner=5, dropout=0.0).eval()


def test_without_a_guide_the_loss_is_that_of_captions_and_labels() -> None:
    rows = unit(PHOTOS, 3)
    guided, _ = RefitObjective(data(), rows, spread=0.3, guide=(0.0, 0.0)).loss(head(), 6, np.random.default_rng(5))
    plain, _ = JointObjective(data(), posterior=0.0, spread=0.3).loss(head(), 6, np.random.default_rng(5))
    assert guided.item() == pytest.approx(plain.item(), rel=1e-6)


def test_a_guide_adds_its_weights_times_the_distance_from_the_rows() -> None:
    rows = unit(PHOTOS, 3)
    total, parts = RefitObjective(data(), rows, spread=0.3, guide=(2.0, 0.5)).loss(head(), 6, np.random.default_rng(5))
    expected = parts["pair"] + 0.3 * parts["label"] + 2.0 * parts["cosine"] + 0.5 * parts["instance"]
    assert total.item() == pytest.approx(expected, rel=1e-5)


def test_rows_that_a_head_already_gives_cost_nothing_in_cosine() -> None:
    with torch.no_grad():
        rows = head().images(torch.from_numpy(data().features)).numpy()
    _, parts = RefitObjective(data(), rows, spread=0.0, guide=(2.0, 0.5)).loss(head(), 6, np.random.default_rng(5))
    assert parts["cosine"] == pytest.approx(0.0, abs=1e-6)
