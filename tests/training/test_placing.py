"""Training on another device than the CPU, as far as a machine without one can tell: by tensors that have no values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from tests.training import test_refit, test_towers  # noqa: E402

from mmsearch.retrieval.training.image_tower import ImageTower  # noqa: E402
from mmsearch.retrieval.training.joint_stage import JointHead, JointObjective  # noqa: E402
from mmsearch.retrieval.training.labels import Labels  # noqa: E402
from mmsearch.retrieval.training.placing import array, placed, tensor  # noqa: E402
from mmsearch.retrieval.training.refit import RefitObjective  # noqa: E402
from mmsearch.retrieval.training.text_stage import TextImitation, TextSet  # noqa: E402
from mmsearch.retrieval.training.text_tower import TextTower  # noqa: E402

# What a loss ends with, and what no shape without values can give: so everything before it was on one device.
READ = "item|_local_scalar_dense"


def lowered(model: Any, objective: Any, batch: int = 6) -> None:
    with pytest.raises(RuntimeError, match=READ):
        objective.loss(model.train(), batch, np.random.default_rng(0))


def test_values_come_to_the_device_and_back() -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    with placed("meta"):
        assert tensor(values).device.type == "meta"
    kept = tensor(values)
    assert kept.device.type == "cpu"
    assert kept.data_ptr() == values.ctypes.data
    np.testing.assert_array_equal(array(kept.requires_grad_()), values)


def test_the_image_objective_stays_on_the_device_of_its_tower() -> None:
    with placed("meta"):
        lowered(ImageTower(test_towers.IMAGE), test_towers.objective())


def test_the_joint_objectives_stay_on_the_device_of_their_head() -> None:
    data = test_refit.data()
    labels = Labels(data.labels.vectors, np.arange(12) % 2, np.ones((1, 2), bool), data.labels.group)
    with placed("meta"):
        head = JointHead(test_refit.FEATURES, test_refit.DIM, inner=5)
        joint = JointObjective(data)
        joint.data = type(data)(
            data.features, data.captioned, data.captions, data.texts, labels,
            np.ones((12, 2), np.float16), test_refit.unit(2, 5), {},
        )  # fmt: skip
        lowered(head, joint)
        lowered(head, RefitObjective(data, test_refit.unit(12, 3), spread=0.3, guide=(2.0, 0.5)))


def test_the_text_objective_stays_on_the_device_of_its_tower() -> None:
    rng = np.random.default_rng(0)
    tokens = rng.integers(1, 40, (8, 12))
    teacher = rng.standard_normal((8, test_towers.DIM)).astype(np.float32)
    texts = TextSet(tokens, teacher, np.arange(8) // 2, np.ones(8, bool), np.zeros(8, bool))
    with placed("meta"):
        lowered(TextTower(test_towers.TEXT), TextImitation(texts))
