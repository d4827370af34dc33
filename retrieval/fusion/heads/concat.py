"""`concat`: a network over all signals side by side."""

from __future__ import annotations

from typing import Any

import numpy as np

from mmsearch.retrieval.fusion.heads.base import Head, Parameters, Sizes
from mmsearch.retrieval.fusion.heads.layers import Arrays, dense, drawn, flat, relu, silent
from mmsearch.retrieval.fusion.signals import Array, Signals

WIDTH = 32


class Concat(Head):
    """residual = MLP(signals of every view, which views there are, the item's, the query's); two hidden layers."""

    name = "concat"

    @classmethod
    def initial(cls, sizes: Sizes, rng: np.random.Generator) -> Arrays:
        return {
            **drawn(rng, "views", sizes.views * sizes.view_signals, WIDTH),
            **drawn(rng, "present", sizes.views, WIDTH),
            **drawn(rng, "items", sizes.items, WIDTH),
            **drawn(rng, "query", sizes.query, WIDTH),
            **drawn(rng, "hidden", WIDTH, WIDTH),
            **silent("out", WIDTH, 1),
        }

    @staticmethod
    def residual(xp: Any, parameters: Parameters, signals: Signals) -> Array:
        hidden = (
            dense(parameters, "views", flat(signals.views))
            + dense(parameters, "present", 1.0 * signals.present)
            + dense(parameters, "items", signals.items)
            + dense(parameters, "query", signals.query)[..., None, :]
        )
        hidden = relu(xp, dense(parameters, "hidden", relu(xp, hidden)))
        return dense(parameters, "out", hidden)[..., 0]


HEAD = Concat
