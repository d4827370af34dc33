"""What the additive heads share: a line through the signals of each view, whose parts are the reasons of a score."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.index.items import VIEWS
from mmsearch.retrieval.fusion.heads.base import Head, Parameters, Sizes, standardise
from mmsearch.retrieval.fusion.signals import ITEM_SIGNALS, VIEW_SIGNALS, Array, Signals


class Linear(Head):
    """residual = Σ_v a_v (w_v · s_v + b_v) + u · items; the heads differ in a_v, the say that each view has."""

    method = "exact"

    @staticmethod
    @abstractmethod
    def say(xp: Any, parameters: Parameters, signals: Signals) -> Array:
        """(…, C, V) how much each view counts, 0 for one that the candidate lacks."""

    @classmethod
    def initial(cls, sizes: Sizes, rng: np.random.Generator) -> dict[str, NDArray[np.float32]]:
        return {
            "weights": np.zeros((sizes.views, sizes.view_signals), np.float32),
            "bias": np.zeros(sizes.views, np.float32),
            "items": np.zeros(sizes.items, np.float32),
        }

    @classmethod
    def residual(cls, xp: Any, parameters: Parameters, signals: Signals) -> Array:
        said = (signals.views * parameters["weights"]).sum(-1) + parameters["bias"]  # (…, C, V)
        return (said * cls.say(xp, parameters, signals)).sum(-1) + signals.items @ parameters["items"]

    def explain(self, signals: Signals, candidate: int) -> dict[str, float]:
        """`base`, `caption.words`, `caption.has`, `name` and the like: each signal's weight times its value."""
        known = standardise(np, self.parameters, signals)
        say = self.say(np, self.parameters, known)[candidate]  # (V,)
        parts = {"base": float(signals.base[candidate])}
        for column in np.flatnonzero(signals.present[candidate]).tolist():
            values = say[column] * self.parameters["weights"][column] * known.views[candidate, column]
            parts |= {f"{VIEWS[column]}.{name}": float(value) for name, value in zip(VIEW_SIGNALS, values, strict=True)}
            parts[f"{VIEWS[column]}.has"] = float(say[column] * self.parameters["bias"][column])
        values = self.parameters["items"] * known.items[candidate]
        return parts | {name: float(value) for name, value in zip(ITEM_SIGNALS, values, strict=True)}
