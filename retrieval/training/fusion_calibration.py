"""Fitting how sure an answer is: logistic regressions on the lists that a head made of judged queries."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmsearch.retrieval.fusion.calibration import Calibration, features
from mmsearch.retrieval.fusion.examples import Examples
from mmsearch.retrieval.fusion.heads.base import Head

HITS = 10  # the first so many of each list are learned from: what is shown
ABSENT = 0.1  # share of queries that a library cannot answer, as the probability of a hit supposes it
RIDGE = 1.0  # pull of the standardised weights towards 0, in lists
_LEAST_SCALE = 0.05
_BATCH = 256
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Lists:
    """What a head made of N judged queries.

    features: (N, F) of each list. scores: (N, H) of the first H hits, best first, -inf where there are fewer.
    right:    (N, H) bool. there: (N,) bool, whether the library holds a right item.
    """

    features: Floats
    scores: Floats
    right: NDArray[np.bool_]
    there: NDArray[np.bool_]


def lists_of(head: Head, examples: Examples) -> Lists:
    """The lists that the head makes of judged queries; queries without any candidate are left out."""
    parts = [_lists(head, examples, at) for at in np.array_split(np.arange(len(examples)), len(examples) // _BATCH + 1)]
    known, scores, right = (np.concatenate(each) for each in zip(*parts, strict=True))
    asked = examples.valid.any(axis=1)
    return Lists(known, scores, right, (examples.wanted > 0)[asked])


def calibrate(lists: Lists) -> Calibration:
    """The calibration that lists tell, of queries whose right item is in the library and of some whose is not.

    Either kind counts by its share, ABSENT for the probability of a hit and half for whether anything fits, however
    many lists there are of it.
    """
    mean, scale = lists.features.mean(axis=0), np.maximum(lists.features.std(axis=0), _LEAST_SCALE)
    count = lists.features.shape[1] + 1
    blank = Calibration(mean, scale, np.zeros(count), np.zeros(count), np.zeros(count))
    known = blank.standardised(lists.features)
    behind = lists.scores - lists.scores[:, :1]  # (N, H), <= 0
    query, rank = np.nonzero(np.isfinite(behind))
    inputs = np.concatenate([known[query], known[query] * behind[query, rank][:, None]], axis=1)
    each = _shares(lists.there, ABSENT)
    hit = logistic(inputs, lists.right[query, rank], each[query] / (1 + rank))
    fits = logistic(known, lists.there, _shares(lists.there, 0.5))
    return Calibration(mean, scale, hit[:count], hit[count:], fits)


def logistic(inputs: Floats, true: NDArray[np.bool_], weights: Floats, steps: int = 25) -> Floats:
    """(F,) maximum-likelihood weights of a logistic regression on inputs (N, F), with a ridge, by Newton's method."""
    found = np.zeros(inputs.shape[1])
    for _ in range(steps):
        chance = 1 / (1 + np.exp(-np.clip(inputs @ found, -30, 30)))
        slope = inputs.T @ (weights * (chance - true)) + RIDGE * found
        bend = inputs.T @ (inputs * (weights * chance * (1 - chance))[:, None])
        change = np.linalg.solve(bend + RIDGE * np.eye(len(found)), slope)
        found -= np.clip(change, -2, 2)
        if np.abs(change).max() < 1e-8:
            break
    return found


def _lists(head: Head, examples: Examples, at: NDArray[np.int64]) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Features (B, F), scores (B, H) and right (B, H) of the queries at those places that have candidates."""
    at = at[examples.valid[at].any(axis=1)]
    signals = examples.signals(at, vectors=head.uses_vectors)
    scores = np.where(signals.valid, head.score(signals), -np.inf)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :HITS]
    singles = (examples.signals(one, vectors=False) for one in at)
    made = [features(single, row[row > -np.inf]) for single, row in zip(singles, scores, strict=True)]
    right = np.take_along_axis(examples.relevant[at], order, axis=1)
    return np.array(made), np.take_along_axis(scores, order, axis=1), right


def _shares(there: NDArray[np.bool_], absent: float) -> Floats:
    """(N,) weights that add up to N, of which those that are not there have that share."""
    count = len(there)
    missing = max(1, int((~there).sum()))
    return np.where(there, (1 - absent) * count / max(1, count - missing), absent * count / missing)
