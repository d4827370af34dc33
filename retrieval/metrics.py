"""How good a ranking is, how sure that is, and how honest its probabilities are.

Published as `mmsearch.metrics`. Measures of a ranking give a value for each query, so that they can be averaged,
grouped and compared; `found` turns lists of answers into what they take.

>>> hits = found([["b", "a", "c"], ["c", "d"]], [{"a"}, {"d", "e"}])
>>> mrr(hits).tolist()
[0.5, 0.5]
>>> recall_at(hits, np.array([1, 2]), k=2).tolist()
[1.0, 0.5]
>>> interval(mrr(hits))
Interval(mean=0.5, low=0.5, high=0.5)
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 2000
_CONFIDENCE = (0.025, 0.975)
_DRAWN_AT_ONCE = 500_000  # groups of several resamples, as many as the caches of a processor hold

Values = NDArray[np.float64]
Groups = Sequence[Hashable] | NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and its 95 % interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """By how much the mean of one ranking's values is above another's, with the 95 % interval.

    p_value: two-sided, of there being no difference; at least 1 / (resamples + 1).
    """

    difference: float
    low: float
    high: float
    p_value: float

    @property
    def is_better(self) -> bool:
        """Whether it is above with 95 % confidence."""
        return self.low > 0


def found(answers: Sequence[Sequence[Hashable]], relevant: Sequence[Collection[Hashable]]) -> NDArray[np.bool_]:
    """(Q, R) whether the answer at each rank is relevant; False beyond a query's last answer."""
    depth = max(map(len, answers), default=0)
    hits = np.zeros((len(answers), depth), np.bool_)
    for row, given, wanted in zip(hits, answers, relevant, strict=True):
        row[: len(given)] = [answer in wanted for answer in given]
    return hits


def precision_at(hits: NDArray[np.bool_], k: int) -> Values:
    """(Q,) share of the first k places of hits (Q, R) that hold something relevant: |relevant in the first k| / k."""
    shares: Values = hits[:, :k].sum(axis=1) / k
    return shares


def recall_at(hits: NDArray[np.bool_], wanted: NDArray[np.int64], k: int) -> Values:
    """(Q,) share of the wanted (Q,) relevant items that are among the first k: |relevant in the first k| / |relevant|.

    0 where none is wanted.
    """
    shares: Values = hits[:, :k].sum(axis=1) / np.maximum(wanted, 1)
    return shares


def mrr(hits: NDArray[np.bool_]) -> Values:
    """(Q,) 1 / rank of the first relevant answer, 0 without one; the mean is the MRR (Voorhees 1999)."""
    if not hits.shape[1]:
        return np.zeros(len(hits))
    return np.where(hits.any(axis=1), 1 / (1 + hits.argmax(axis=1)), 0.0)


def ndcg_at(hits: NDArray[np.bool_], wanted: NDArray[np.int64], k: int) -> Values:
    """(Q,) DCG / ideal DCG of the first k, where DCG = Σ relevant / log2(rank + 1) (Järvelin & Kekäläinen 2002).

    0 where none is wanted.
    """
    gains = 1 / np.log2(np.arange(2, k + 2))
    ideal = np.concatenate([[1.0], np.cumsum(gains)])[np.minimum(wanted, k)]
    shown = hits[:, :k]
    gained: Values = shown @ gains[: shown.shape[1]] / ideal
    return gained


def interval(values: ArrayLike, groups: Groups | None = None, *, seed: int = 0) -> Interval:
    """The mean of values (Q,) and its percentile bootstrap interval (Efron 1979).

    groups: (Q,) names or numbers of what values belong to, such as the photo that was asked for. A group is drawn
            as a whole (Field & Welsh 2007), because several queries for one photo are no independent evidence.
    """
    each = np.asarray(values, np.float64)
    low, high = np.quantile(_resampled(each, groups, seed), _CONFIDENCE)
    return Interval(_mean(each), float(low), float(high))


def compare(before: ArrayLike, after: ArrayLike, groups: Groups | None = None, *, seed: int = 0) -> Comparison:
    """How after (Q,) differs from before (Q,) on the same queries: a paired bootstrap by groups, as in interval.

    The p-value is twice the smaller share of resamples on one side of 0 (Efron & Tibshirani 1993, chapter 15),
    counting the sample itself as one of them.
    """
    gain = np.asarray(after, np.float64) - np.asarray(before, np.float64)
    means = _resampled(gain, groups, seed)
    low, high = np.quantile(means, _CONFIDENCE)
    fewer = 1 + min(np.count_nonzero(means <= 0), np.count_nonzero(means >= 0))
    return Comparison(_mean(gain), float(low), float(high), min(1.0, 2 * fewer / (len(means) + 1)))


def auroc(scores: ArrayLike, positive: ArrayLike) -> float:
    """The probability that a positive one scores above a negative one, ties counting half (Hanley & McNeil 1982).

    scores (N,) and positive (N,) bool; NaN where one of the two kinds is missing.
    """
    truth = np.asarray(positive, np.bool_)
    _, places, counts = np.unique(np.asarray(scores), return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts - 1) / 2)[places]  # tied scores share the mean of their ranks
    many, others = int(truth.sum()), int((~truth).sum())
    if not many or not others:
        return float("nan")
    return float((rank[truth].sum() - many * (many + 1) / 2) / (many * others))


def ece(probabilities: ArrayLike, outcomes: ArrayLike, bins: int = 15) -> float:
    """Expected calibration error (Guo et al. 2017): Σ over bins of |B| / N · |mean outcome - mean probability|.

    probabilities (N,) in [0, 1] fall into bins of equal width; outcomes (N,) bool; NaN without any.
    """
    stated, true = np.asarray(probabilities, np.float64), np.asarray(outcomes, np.float64)
    if not len(stated):
        return float("nan")
    places = np.minimum((stated * bins).astype(np.int64), bins - 1)
    return float(np.abs(np.bincount(places, true - stated, bins)).sum() / len(stated))


def _mean(values: Values) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _resampled(each: Values, groups: Groups | None, seed: int) -> Values:
    """(RESAMPLES,) means of each (Q,), taken over as many groups as there are, drawn with replacement."""
    if not len(each):
        return np.full(RESAMPLES, np.nan)
    places = np.arange(len(each)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    sums, sizes = np.bincount(places, each), np.bincount(places)
    rng = np.random.default_rng(seed)
    means = np.empty(RESAMPLES)
    at_once = max(1, _DRAWN_AT_ONCE // len(sums))
    for start in range(0, RESAMPLES, at_once):
        part = means[start : start + at_once]
        drawn = rng.integers(0, len(sums), (len(part), len(sums)))
        part[:] = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    return means
