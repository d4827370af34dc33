"""`product`: the views are experts whose odds multiply, each a log-linear one; their logits add up."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.retrieval.fusion.heads.base import Head, Parameters, Sizes, standardise
from mmsearch.retrieval.fusion.heads.linear import contributions
from mmsearch.retrieval.fusion.signals import Array, Signals


class Product(Head):
    """residual = Σ_v (w_v · s_v + b_v) + u · items, over the views present (product of experts, Hinton 2002)."""

    name = "product"
    method = "exact"

    @classmethod
    def initial(cls, sizes: Sizes, rng: np.random.Generator) -> dict[str, NDArray[np.float32]]:
        return {
            "weights": np.zeros((sizes.views, sizes.view_signals), np.float32),
            "bias": np.zeros(sizes.views, np.float32),
            "items": np.zeros(sizes.items, np.float32),
        }

    @staticmethod
    def residual(xp: Any, parameters: Parameters, signals: Signals) -> Array:
        said = (signals.views * parameters["weights"]).sum(-1) + parameters["bias"]  # (…, C, V)
        return (said * signals.present).sum(-1) + signals.items @ parameters["items"]

    def explain(self, signals: Signals, candidate: int) -> dict[str, float]:
        weights = {
            "views": self.parameters["weights"],
            "bias": self.parameters["bias"],
            "items": self.parameters["items"],
        }
        return contributions(weights, signals, standardise(np, self.parameters, signals), candidate)


HEAD = Product
