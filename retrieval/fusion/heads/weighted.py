"""`weighted`: each view has its say, a line through its signals; the views that a candidate has are averaged."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.retrieval.fusion.heads.base import Parameters, Sizes
from mmsearch.retrieval.fusion.heads.linear import Linear
from mmsearch.retrieval.fusion.signals import Array, Signals


class Weighted(Linear):
    """residual = Σ_v a_v (w_v · s_v + b_v) / Σ_v a_v + u · items, over the views present, a_v = exp(trust_v) > 0."""

    name = "weighted"

    @classmethod
    def initial(cls, sizes: Sizes, rng: np.random.Generator) -> dict[str, NDArray[np.float32]]:
        return {"trust": np.zeros(sizes.views, np.float32)} | super().initial(sizes, rng)

    @staticmethod
    def say(xp: Any, parameters: Parameters, signals: Signals) -> Array:
        trust = xp.exp(parameters["trust"]) * signals.present
        return trust / xp.clip(trust.sum(-1), 1e-6, None)[..., None]


HEAD = Weighted
