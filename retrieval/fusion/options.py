"""How a head is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Loss = Literal["listwise", "pairwise", "lambdarank"]


@dataclass(frozen=True, slots=True)
class Options:
    """Settings of one training run.

    loss:     `listwise` softmax, `pairwise` logistic, or `lambdarank`.
    epochs:   at most so many passes; patience: passes without a lower loss on the held-out part before it stops.
    rate:     Adam's step. decay: the pull of the parameters towards where they started.
    drop:     chance that a view of a candidate is hidden in training; drop_captions: that a whole query loses every
              view but the photos, where its right item has one.
    blind:    signals that the head is not to look at, as VIEW.SIGNAL: those that training data tell wrongly.
    hold:     share of the groups (photos) kept out of the steps, to stop by.
    """

    loss: Loss = "listwise"
    epochs: int = 30
    patience: int = 4
    batch: int = 64
    rate: float = 3e-3
    decay: float = 1e-4
    drop: float = 0.1
    drop_captions: float = 0.05
    blind: tuple[str, ...] = ()
    hold: float = 0.1
    seed: int = 0
