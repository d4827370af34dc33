"""How sure an answer is: a probability for each hit, and whether anything fits at all.

A score of a head orders the candidates of one query; of two queries it says little, for one may have many fair
candidates and the other none that is better. So the log odds of a hit are a line through its score (Platt 1999) whose
slope and height depend on the query's own list: how far its best stands out, how many come near, how well its views and
words do. A line with a slope above 0 never reorders.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmsearch.index.errors import HeadInvalid
from mmsearch.index.items import VIEWS
from mmsearch.retrieval.fusion.signals import QUERY_SIGNALS, VIEW_SIGNALS, Signals

FEATURES = (
    "best",
    "lead_of_1",
    "lead_of_5",
    "lead_of_20",
    "crowd",
    *(f"first_{view}" for view in VIEWS),
    "first_words",
    *QUERY_SIGNALS,
)
LEAST_SLOPE = 0.05
SHIPPED = Path(__file__).parent / "calibration.npz"
_LEADS = (1, 5, 20)
_CROWD = 100  # a longer list, of a deeper page, must not look fuller
_CLIP = 5.0  # deviations from the lists of training beyond which a feature says no more
_WORDS = VIEW_SIGNALS.index("words")


@dataclass(frozen=True, slots=True)
class Sureness:
    """What the list of one query says of its hits.

    slope, intercept: the log odds of a hit with score s are slope · s + intercept; slope > 0.
    fits:             in [0, 1], the probability that the library holds what is asked for.
    """

    slope: float
    intercept: float
    fits: float

    def log_odds(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """(C,) of the candidates that have scores (C,)."""
        return self.slope * scores + self.intercept


@dataclass(frozen=True, slots=True)
class Calibration:
    """Three lines through the F standardised features of a list, each (F + 1,) float64 with its constant last.

    mean, scale: (F,) of the features in training.
    hit:   log odds that the first hit is right.
    slope: how fast they fall with the score of the further ones.
    fits:  log odds that the library holds what is asked for.
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    hit: NDArray[np.float64]
    slope: NDArray[np.float64]
    fits: NDArray[np.float64]

    def judge(self, signals: Signals, scores: NDArray[np.float64]) -> Sureness:
        """How sure the hits of one query are, by its signals and the scores (C,) that a head made of them."""
        if not len(scores):
            return Sureness(1.0, 0.0, 0.0)
        return self.of_features(features(signals, scores), float(scores.max()))

    def of_features(self, values: NDArray[np.float64], best: float) -> Sureness:
        """How sure the hits of a list of those features (F,) are, whose best score is `best`."""
        known = self.standardised(values)
        slope = max(float(known @ self.slope), LEAST_SLOPE)
        return Sureness(slope, float(known @ self.hit) - slope * best, _chance(float(known @ self.fits)))

    def along(self, slope: float, shift: float) -> Calibration:
        """The same, with slope · its log odds of a hit + shift; slope > 0."""
        constant = np.append(np.zeros(len(self.mean)), shift)
        return replace(self, hit=slope * self.hit + constant, slope=slope * self.slope)

    def standardised(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Features (…, F) as deviations from those of training, cut off, with the constant 1 at the end: (…, F + 1)."""
        known = np.clip((values - self.mean) / self.scale, -_CLIP, _CLIP)
        return np.concatenate([known, np.ones((*known.shape[:-1], 1))], axis=-1)

    def save(self, path: Path) -> None:
        """Write the calibration; equal ones make equal files."""
        numbers = {each.name: getattr(self, each.name).astype(np.float32) for each in fields(self)}
        with path.open("wb") as file:
            np.savez(file, features=FEATURES, **numbers)

    @classmethod
    def load(cls, path: Path) -> Calibration:
        """The calibration in a file; HeadInvalid where it cannot be read or was made of other features."""
        try:
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
                made_of = file["features"].tolist()
                numbers = {each.name: file[each.name].astype(np.float64) for each in fields(cls)}
        except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise HeadInvalid(path=path, reason=f"it cannot be read ({error})") from error
        if made_of != list(FEATURES):
            raise HeadInvalid(path=path, reason="it was made of other features than this version measures")
        return cls(**numbers)


@cache
def shipped() -> Calibration:
    """The calibration of the shipped head, read when it is first needed."""
    return Calibration.load(SHIPPED)


def features(signals: Signals, scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """(F,) by FEATURES: what the list of one query looks like, with its scores (C,), C > 0.

    best:      the highest score. lead_of_N: how far it is above the mean of the next N, 0 where there are none.
    crowd:     the log of how many come near it, log Σ exp(s - best) over the best 100.
    first_VIEW: 1 if the best candidate has the view. first_words: the most that a view of it shares with the query.
    """
    order = np.argsort(-scores, kind="stable")[:_CROWD]
    ranked, first = scores[order], order[0]
    leads = [ranked[0] - ranked[1 : n + 1].mean() if len(ranked) > 1 else 0.0 for n in _LEADS]
    crowd = np.log(np.exp(ranked - ranked[0]).sum())
    words = signals.views[first, :, _WORDS].max()
    return np.array([ranked[0], *leads, crowd, *signals.present[first], words, *signals.query], np.float64)


def _chance(log_odds: float) -> float:
    return float(1 / (1 + np.exp(-log_odds)))
