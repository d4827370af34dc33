"""`product`: the views are experts whose odds multiply, each a log-linear one; their logits add up."""

from __future__ import annotations

from typing import Any

from mmsearch.retrieval.fusion.heads.base import Parameters
from mmsearch.retrieval.fusion.heads.linear import Linear
from mmsearch.retrieval.fusion.signals import Array, Signals


class Product(Linear):
    """residual = Σ_v (w_v · s_v + b_v) + u · items, over the views present (product of experts, Hinton 2002)."""

    name = "product"

    @staticmethod
    def say(xp: Any, parameters: Parameters, signals: Signals) -> Array:
        return signals.present


HEAD = Product
