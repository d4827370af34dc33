"""What a model's card says of cosines: how they spread where nothing fits, and what a z-score is worth."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mmsearch.index.items import VIEWS, View
from mmsearch.retrieval.encoders.base import ModelCard

Modality = Literal["text", "image"]
Floats = NDArray[np.float32]

# For models whose card says nothing: CLIP-like spaces, and a match that stands four deviations out.
_NULL: dict[tuple[str, str], tuple[float, float]] = {
    ("text", "image"): (0.12, 0.04),
    ("text", "text"): (0.45, 0.12),
    ("image", "image"): (0.45, 0.12),
    ("image", "text"): (0.12, 0.04),
}
_CALIBRATION = (1.5, -9.4)

# A card's calibration counts the one right row among some 1,000. Of a person's own photos many more fit a
# query than the one that was in mind; how many is assumed here, not measured. It spreads the scores and
# hardly moves the order.
FITTING_PER_WANTED = 30


def modality_of(view: View) -> Modality:
    """What the rows of a view are vectors of."""
    return "image" if view == "image" else "text"


def null(card: ModelCard, one: Modality, other: Modality) -> tuple[float, float]:
    """Mean and deviation (above 0) of the cosine of a pair of these modalities that does not belong together."""
    mean, std = card.null.get(one, {}).get(other, _NULL[one, other])
    return mean, max(std, 1e-6)


def standardised(card: ModelCard, modality: Modality, cosine: Floats) -> Floats:
    """Cosines (C, V) of such a query to rows of the views, as deviations above the null; NaN stays NaN."""
    mean, std = np.array([null(card, modality, modality_of(view)) for view in VIEWS], np.float32).T
    return np.asarray((cosine - mean) / std)


def logits(card: ModelCard, modality: Modality, z: Floats) -> NDArray[np.float64]:
    """(C, V) log odds that a row fits, by its z (C, V); NaN stays NaN."""
    lines = card.calibration.get(modality, {})
    slope, intercept = np.array([lines.get(modality_of(view), _CALIBRATION) for view in VIEWS]).T
    return np.asarray(slope * z + intercept + math.log(FITTING_PER_WANTED))
