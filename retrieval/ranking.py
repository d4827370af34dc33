"""Signals of candidates, and how they become one score.

A raw cosine cannot be compared between views: the vectors of texts and of images lie in different cones
of the space (the modality gap, Liang et al. 2022), so every caption would outrank every photo. Each
cosine is therefore standardised by the cosines of pairs that do not belong together, which the model's
own statistics give, and mapped to the probability that the row fits the query.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from mmsearch.index.items import VIEWS
from mmsearch.retrieval.encoders.base import ModelCard

Modality = Literal["text", "image"]

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


@dataclass(frozen=True, slots=True)
class Signals:
    """What is known of each candidate, C candidates and the V views of VIEWS; NaN where an item lacks a view.

    cosine:   (C, V) float32 of the best row to the query.
    z:        (C, V) float32 standard deviations above the cosine of a pair that does not belong together.
    relevance: (C, V) float64 in [0, 1], the probability that the row fits the query.
    unwanted: (C,) float64 in [0, 1], how surely the item is what was subtracted; 0 without a subtracted term.
    """

    cosine: NDArray[np.float32]
    z: NDArray[np.float32]
    relevance: NDArray[np.float64]
    unwanted: NDArray[np.float64]

    def of(self, candidate: int) -> dict[str, float]:
        """The signals of one candidate by name, those that it lacks left out."""
        named = {
            f"{name}_{view}": float(values[candidate, column])
            for name, values in (("cosine", self.cosine), ("z", self.z), ("relevance", self.relevance))
            for column, view in enumerate(VIEWS)
            if not np.isnan(values[candidate, column])
        }
        return named | ({"unwanted": float(self.unwanted[candidate])} if self.unwanted[candidate] else {})


def measure(
    card: ModelCard,
    modality: Modality,
    cosine: NDArray[np.float32],
    against: Mapping[Modality, NDArray[np.float32]] | None = None,
) -> Signals:
    """The signals of candidates with cosine (C, V) to a query of the given modality.

    against: per modality, cosines (M, C, V) to M subtracted terms.
    """
    z, relevance = _relevance(card, modality, cosine)
    unwanted = np.zeros(len(cosine))
    for kind, cosines in (against or {}).items():
        for each in cosines:
            unwanted = np.maximum(unwanted, _best(_relevance(card, kind, each)[1]))
    return Signals(cosine, z, relevance, unwanted)


def _relevance(
    card: ModelCard, modality: Modality, cosine: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    z = np.empty_like(cosine)
    logit = np.empty(cosine.shape)
    for column, view in enumerate(VIEWS):
        row = "image" if view == "image" else "text"
        mean, std = card.null.get(modality, {}).get(row, _NULL[modality, row])
        slope, intercept = card.calibration.get(modality, {}).get(row, _CALIBRATION)
        z[:, column] = (cosine[:, column] - mean) / max(std, 1e-6)
        logit[:, column] = slope * z[:, column] + intercept + math.log(FITTING_PER_WANTED)
    return z, 1 / (1 + np.exp(-logit))


def _best(relevance: NDArray[np.float64]) -> NDArray[np.float64]:
    """The highest relevance (C,) over the views that a candidate has."""
    best: NDArray[np.float64] = np.max(np.nan_to_num(relevance, nan=0.0), axis=1, initial=0.0)
    return best


class Fusion(Protocol):
    """Turns the signals of candidates into one score each."""

    def score(self, signals: Signals) -> NDArray[np.float64]:
        """(C,) float64, higher is better."""


class BestCosine:
    """The cosine of the best view: what a search without re-ranking gives."""

    def score(self, signals: Signals) -> NDArray[np.float64]:
        """(C,) cosine in [-1, 1]."""
        best: NDArray[np.float32] = np.max(np.nan_to_num(signals.cosine, nan=-1.0), axis=1, initial=-1.0)
        return best.astype(np.float64)


class NoisyOr:
    """The probability that at least one view is right and the item is not what was subtracted.

    Views are taken as independent witnesses (noisy-or, Pearl 1988): a missing view says nothing, so an
    item is never punished for having no caption, and a second witness only ever helps.
    """

    def score(self, signals: Signals) -> NDArray[np.float64]:
        """(C,) in [0, 1]."""
        doubt: NDArray[np.float64] = np.prod(1 - np.nan_to_num(signals.relevance, nan=0.0), axis=1)
        return (1 - doubt) * (1 - signals.unwanted)


def order(scores: NDArray[np.float64], items: NDArray[np.int64]) -> NDArray[np.int64]:
    """Positions best first, ties to the smaller item id.

    >>> order(np.array([0.1, 0.9, 0.9]), np.array([7, 8, 3])).tolist()
    [2, 1, 0]
    """
    # lexsort's last key is the primary one.
    return np.lexsort((items, -scores))
