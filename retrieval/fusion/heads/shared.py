"""`shared`: one network reads every view in turn; what it saw is pooled."""

from __future__ import annotations

from typing import Any

import numpy as np

from mmsearch.retrieval.fusion.heads.base import Head, Parameters, Sizes
from mmsearch.retrieval.fusion.heads.layers import Arrays, dense, drawn, relu, silent
from mmsearch.retrieval.fusion.signals import Array, Signals

WIDTH = 32


class Shared(Head):
    """residual = g(Σ_v f(signals of v, odds of v, is v the photo, the query's), the item's), over the views present.

    One f for all views (Deep Sets, Zaheer et al. 2017): what it learns of captions holds for passages of documents.
    """

    name = "shared"

    @classmethod
    def initial(cls, sizes: Sizes, rng: np.random.Generator) -> Arrays:
        return {
            **drawn(rng, "views", sizes.view_signals, WIDTH),
            "photo": np.zeros(WIDTH, np.float32),
            "odds": np.zeros(WIDTH, np.float32),
            **drawn(rng, "query", sizes.query, WIDTH),
            **drawn(rng, "seen", WIDTH, WIDTH),
            **drawn(rng, "items", sizes.items, WIDTH),
            **silent("out", WIDTH, 1),
        }

    @staticmethod
    def residual(xp: Any, parameters: Parameters, signals: Signals) -> Array:
        hidden = dense(parameters, "views", signals.views)  # (…, C, V, WIDTH)
        hidden = hidden + dense(parameters, "query", signals.query)[..., None, None, :]
        hidden = hidden + (xp.clip(signals.odds, -10, 10) / 5)[..., None] * parameters["odds"]
        hidden[..., 0, :] += parameters["photo"]
        seen = (relu(xp, hidden) * signals.present[..., None]).sum(-2)  # (…, C, WIDTH)
        hidden = relu(xp, dense(parameters, "seen", seen) + dense(parameters, "items", signals.items))
        return dense(parameters, "out", hidden)[..., 0]


HEAD = Shared
