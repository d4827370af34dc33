"""What the additive heads share: each signal's part of the score is its weight times its standardised value."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from mmsearch.index.items import VIEWS
from mmsearch.retrieval.fusion.signals import ITEM_SIGNALS, VIEW_SIGNALS, Signals


def contributions(
    weights: Mapping[str, NDArray[np.float32]], signals: Signals, standardised: Signals, candidate: int
) -> dict[str, float]:
    """Contributions by name (`base`, `caption.words`, `caption.has`, `name`), which sum to the score of a candidate.

    weights: `views` (V, S), `bias` (V,) and `items` (I,), as they hold for this candidate.
    """
    parts = {"base": float(signals.base[candidate])}
    for column in np.flatnonzero(signals.present[candidate]).tolist():
        values = weights["views"][column] * standardised.views[candidate, column]
        parts |= {f"{VIEWS[column]}.{name}": float(value) for name, value in zip(VIEW_SIGNALS, values, strict=True)}
        parts[f"{VIEWS[column]}.has"] = float(weights["bias"][column])
    values = weights["items"] * standardised.items[candidate]
    return parts | {name: float(value) for name, value in zip(ITEM_SIGNALS, values, strict=True)}
