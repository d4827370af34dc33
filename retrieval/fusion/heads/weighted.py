"""`weighted`: each view has its say, a line through its signals; the views that a candidate has are averaged."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.retrieval.fusion.heads.base import Head, Parameters, Sizes, standardise
from mmsearch.retrieval.fusion.heads.linear import contributions
from mmsearch.retrieval.fusion.signals import Array, Signals


class Weighted(Head):
    """residual = Σ_v a_v (w_v · s_v + b_v) / Σ_v a_v + u · items, over the views present, a_v = exp(trust_v) > 0."""

    name = "weighted"
    method = "exact"

    @classmethod
    def initial(cls, sizes: Sizes, rng: np.random.Generator) -> dict[str, NDArray[np.float32]]:
        return {
            "trust": np.zeros(sizes.views, np.float32),
            "weights": np.zeros((sizes.views, sizes.view_signals), np.float32),
            "bias": np.zeros(sizes.views, np.float32),
            "items": np.zeros(sizes.items, np.float32),
        }

    @staticmethod
    def residual(xp: Any, parameters: Parameters, signals: Signals) -> Array:
        said = (signals.views * parameters["weights"]).sum(-1) + parameters["bias"]  # (…, C, V)
        return (said * shares(xp, parameters, signals)).sum(-1) + signals.items @ parameters["items"]

    def explain(self, signals: Signals, candidate: int) -> dict[str, float]:
        share = shares(np, self.parameters, signals)[candidate]  # (V,)
        weights = {
            "views": self.parameters["weights"] * share[:, None],
            "bias": self.parameters["bias"] * share,
            "items": self.parameters["items"],
        }
        return contributions(weights, signals, standardise(np, self.parameters, signals), candidate)


def shares(xp: Any, parameters: Parameters, signals: Signals) -> Array:
    """(…, C, V) the weight of each view, which add up to 1 over the views present; 0 for a candidate without any."""
    trust = xp.exp(parameters["trust"]) * signals.present
    return trust / xp.clip(trust.sum(-1), 1e-6, None)[..., None]


HEAD = Weighted
