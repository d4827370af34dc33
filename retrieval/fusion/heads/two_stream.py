"""`two_stream`: one network looks at the photo, one reads what is written; a gate says whom to trust for this query."""

from __future__ import annotations

from typing import Any

import numpy as np

from mmsearch.retrieval.fusion.heads.base import Head, Parameters, Sizes
from mmsearch.retrieval.fusion.heads.layers import Arrays, dense, drawn, flat, relu, sigmoid, silent
from mmsearch.retrieval.fusion.signals import Array, Signals

WIDTH = 24


class TwoStream(Head):
    """residual = g visual(photo) + (1 - g) verbal(texts, name), g = gate(query, which views there are) in (0, 1)."""

    name = "two_stream"

    @classmethod
    def initial(cls, sizes: Sizes, rng: np.random.Generator) -> Arrays:
        return {
            **drawn(rng, "visual", sizes.view_signals, WIDTH),
            **silent("visual_out", WIDTH, 1),
            **drawn(rng, "verbal", (sizes.views - 1) * sizes.view_signals + sizes.views + sizes.items, WIDTH),
            **drawn(rng, "verbal_hidden", WIDTH, WIDTH),
            **silent("verbal_out", WIDTH, 1),
            **drawn(rng, "gate", sizes.query, WIDTH),
            **drawn(rng, "gate_present", sizes.views, WIDTH),
            **silent("gate_out", WIDTH, 1),
        }

    @staticmethod
    def residual(xp: Any, parameters: Parameters, signals: Signals) -> Array:
        present = 1.0 * signals.present
        visual = relu(xp, dense(parameters, "visual", signals.views[..., 0, :]))
        visual = dense(parameters, "visual_out", visual)[..., 0] * present[..., 0]
        texts = xp.concatenate([flat(signals.views[..., 1:, :]), present, signals.items], axis=-1)
        verbal = relu(xp, dense(parameters, "verbal_hidden", relu(xp, dense(parameters, "verbal", texts))))
        verbal = dense(parameters, "verbal_out", verbal)[..., 0]
        gate = dense(parameters, "gate", signals.query)[..., None, :] + dense(parameters, "gate_present", present)
        trust = sigmoid(xp, dense(parameters, "gate_out", relu(xp, gate)))[..., 0]
        return trust * visual + (1 - trust) * verbal


HEAD = TwoStream
