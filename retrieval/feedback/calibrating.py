"""How sure the answers of a user's own head are, learned from the judgements that it was not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmsearch.retrieval.feedback.heads import Line
from mmsearch.retrieval.fusion.calibration import Calibration
from mmsearch.retrieval.fusion.examples import Examples
from mmsearch.retrieval.fusion.heads.base import Head
from mmsearch.retrieval.training.calibration import newton_logistic

ENOUGH = 50  # right answers, and wrong ones; from fewer a line would be drawn by chance
_HITS = 10  # the first so many of each list are shown, and learned from


class Told(NamedTuple):
    """The first judged hits of some lists: their log odds (M,) by a calibration, and whether they are right (M,)."""

    log_odds: NDArray[np.float64]
    right: NDArray[np.bool_]


def told(head: Head, sure: Calibration, examples: Examples) -> Told:
    """What a calibration says of the lists that a head makes of judged queries, and what is right."""
    # Of feedback only some candidates count; how a list looks is told by all.
    every = replace(examples, valid=examples.present.sum(axis=-1) > 0)
    parts = [_told(head, sure, every, examples.valid[at], at) for at in range(len(examples))]
    return Told(*(np.concatenate(each) for each in zip(*parts, strict=True)))


def line(parts: Sequence[Told]) -> Line | None:
    """The line from what was said to what was right (Platt 1999); None where too few say, or it would fall."""
    log_odds, right = (np.concatenate(each) for each in zip(*parts, strict=True))
    if min(right.sum(), (~right).sum()) < ENOUGH:
        return None
    found = Line(*newton_logistic(log_odds, right.astype(np.float64)))
    return found if found.slope > 0 else None


def _told(head: Head, sure: Calibration, examples: Examples, counts: NDArray[np.bool_], at: int) -> Told:
    """Of one query. counts: (C,) which candidates were judged."""
    signals = examples.signals(at, vectors=head.uses_vectors)
    scores = head.score(signals)[signals.valid]  # what pads a list stands at its end
    first = np.argsort(-scores, kind="stable")[:_HITS]
    first = first[counts[first]]
    return Told(sure.judge(signals, scores).log_odds(scores[first]), examples.relevant[at, first])
