"""Whether an adapter helps: photos that nothing was learned from, asked for before and after."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmsearch.retrieval.adapting.captioned import Captioned
from mmsearch.retrieval.metrics import compare

K = 10
HELD_OUT = 0.2
MIN_HELD_OUT = 40
TUNING = 0.1  # of what is not held out
_QUERIES = 1024  # ranked at once


@dataclass(frozen=True, slots=True)
class Split:
    """Three parts with no photo in common: to learn from, to stop by, and to judge by once."""

    train: Captioned
    tuning: Captioned
    held_out: Captioned


@dataclass(frozen=True, slots=True)
class Verdict:
    """R@10 of text to image among the held-out photos, in [0, 1].

    low, high: the 95 % interval of after - before.
    """

    photos: int
    before: float
    after: float
    low: float
    high: float

    @property
    def difference(self) -> float:
        return self.after - self.before

    @property
    def is_better(self) -> bool:
        """Whether the adapter is better with 95 % confidence."""
        return self.low > 0


def split(captioned: Captioned, seed: int) -> Split:
    """A split by photo, by chance."""
    count = len(captioned.photos)
    order = np.random.default_rng(seed).permutation(count)
    held_out = max(MIN_HELD_OUT, math.ceil(HELD_OUT * count))
    tuning = held_out + math.ceil(TUNING * (count - held_out))
    return Split(
        train=captioned.part(order[tuning:]),
        tuning=captioned.part(order[held_out:tuning]),
        held_out=captioned.part(order[:held_out]),
    )


def ranks(captioned: Captioned) -> NDArray[np.int64]:
    """(C,) the rank of each caption's own photo among all, 1 for the best; a tie counts as lost."""
    parts = [np.empty(0, np.int64)]
    for start in range(0, len(captioned.texts), _QUERIES):
        chosen = slice(start, start + _QUERIES)
        cosine = captioned.texts[chosen] @ captioned.photos.T
        own = np.take_along_axis(cosine, captioned.owner[chosen, None], axis=1)
        parts.append((cosine >= own).sum(axis=1))
    return np.concatenate(parts)


def judge(before: Captioned, after: Captioned, seed: int) -> Verdict:
    """Compare the same photos and captions by two models; a paired bootstrap by photo."""
    had, has = ranks(before) <= K, ranks(after) <= K
    gain = compare(had, has, before.owner, seed=seed)
    return Verdict(len(before.photos), float(had.mean()), float(has.mean()), gain.low, gain.high)
