"""Candidates become an order: by the learned fusion, by the chance that a view fits, or by the plain cosine.

A raw cosine cannot be compared between views: the vectors of texts and of images lie in different cones of the space
(the modality gap, Liang et al. 2022), so every caption would outrank every photo. All but the plain cosine therefore
begin with the log odds that a row fits, which the model's own statistics give (retrieval/fusion/nulls.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmsearch.index.items import VIEWS
from mmsearch.index.lexicon import query_words
from mmsearch.retrieval.candidates import Candidates
from mmsearch.retrieval.encoders.base import ModelCard
from mmsearch.retrieval.fusion.calibration import Calibration
from mmsearch.retrieval.fusion.heads.base import Head
from mmsearch.retrieval.fusion.nulls import Modality, logits, standardised
from mmsearch.retrieval.fusion.signals import LACKING, measure
from mmsearch.retrieval.queries import QueryVector

Floats = NDArray[np.float64]
_CERTAIN = 1 - 1e-9  # nothing is ruled out altogether


@dataclass(frozen=True, slots=True)
class Ranked:
    """What was made of C candidates.

    scores:        (C,) higher is better.
    probabilities: (C,) in [0, 1] that a candidate is what was wanted; None where nothing says so.
    views:         (C,) int64 column of the view that speaks most for each.
    fits:          in [0, 1] that the library holds what is asked for; None where nothing says so.
    method:        how contributions were found: `exact`, or as the head says.
    contributions: what added how much to the score of the candidate at a place, by name; they sum to it.
    """

    scores: Floats
    probabilities: Floats | None
    views: NDArray[np.int64]
    fits: float | None
    method: str
    contributions: Callable[[int], dict[str, float]]


def by_cosine(candidates: Candidates) -> Ranked:
    """The order of the cosine of the best view, in [-1, 1]."""
    cosine = np.nan_to_num(candidates.cosine, nan=-1.0).astype(np.float64)
    views = np.argmax(cosine, axis=1)
    scores = np.max(cosine, axis=1, initial=-1.0)
    return Ranked(scores, None, views, None, "exact", lambda at: {f"{VIEWS[views[at]]}.cosine": float(scores[at])})


def by_relevance(card: ModelCard, query: QueryVector, candidates: Candidates) -> Ranked:
    """The order of the log odds that at least one view fits, and that the item is not what was subtracted.

    Views are taken as independent witnesses (noisy-or, Pearl 1988): a missing one says nothing, so that no item is
    punished for having no caption, and a second one only ever helps. For pictures, of which no fusion was learned.
    """
    odds = _odds(card, query.modality, candidates)
    belief = np.logaddexp(0, odds).sum(axis=1)  # -log of the chance that no view fits
    log_odds = belief + np.log(-np.expm1(-belief))
    best, penalty = odds.max(axis=1), _penalty(log_odds, unwanted(card, query, candidates))

    def contributions(at: int) -> dict[str, float]:
        parts = {"base": float(best[at]), "others": float(log_odds[at] - best[at])}
        return parts | ({"unwanted": float(penalty[at])} if penalty[at] else {})

    scores = log_odds + penalty
    return Ranked(scores, _chance(scores), np.argmax(odds, axis=1), None, "exact", contributions)


def by_fusion(card: ModelCard, head: Head, sure: Calibration, query: QueryVector, candidates: Candidates) -> Ranked:
    """The order that a head makes of the signals of a text query, each score calibrated among those of the list."""
    words = query_words(query.words)
    signals = measure(card, words, query.vector, candidates, seen=head.seen, vectors=head.uses_vectors)
    learned = head.score(signals)
    sureness = sure.judge(signals, learned)
    penalty = _penalty(sureness.log_odds(learned), unwanted(card, query, candidates)) / sureness.slope

    def contributions(at: int) -> dict[str, float]:
        return head.explain(signals, at) | ({"unwanted": float(penalty[at])} if penalty[at] else {})

    return Ranked(
        scores=learned + penalty,
        probabilities=_chance(sureness.log_odds(learned + penalty)),
        views=np.argmax(signals.odds, axis=1),
        fits=sureness.fits,
        method=head.method,
        contributions=contributions,
    )


def unwanted(card: ModelCard, query: QueryVector, candidates: Candidates) -> Floats:
    """(C,) in [0, 1], how surely each candidate is what was subtracted, by its best view; 0 where nothing was."""
    found = np.zeros(len(candidates))
    if not query.subtracted:
        return found
    vectors = candidates.all_vectors()
    for modality, vector in query.subtracted:
        cosine = np.where(candidates.rows >= 0, vectors @ vector, np.float32(np.nan))
        odds = np.nan_to_num(logits(card, modality, standardised(card, modality, cosine)), nan=LACKING)
        found = np.maximum(found, _chance(odds.max(axis=1)))
    return found


def measured(
    card: ModelCard, query: QueryVector, candidates: Candidates, places: Sequence[int]
) -> list[dict[str, float]]:
    """What was measured of the candidates at some places, by name, without what they lack."""
    at = np.asarray(places, np.int64)
    cosine = candidates.cosine[at]
    by_view: dict[str, NDArray[np.float32]] = {
        "cosine": cosine,
        "z": standardised(card, query.modality, cosine),
        "hubness": candidates.hubness[at],
        "words": candidates.words[at],
    }
    found: list[NDArray[np.floating]] = [*by_view.values(), candidates.name[at, None]]
    names = [f"{name}_{view}" for name in by_view for view in VIEWS] + ["name"]
    if query.subtracted:
        found.append(unwanted(card, query, candidates)[at, None])
        names.append("unwanted")
    values = np.concatenate(found, axis=1).tolist()  # as float64: what is float32 stays what it is
    return [{name: value for name, value in zip(names, row, strict=True) if not math.isnan(value)} for row in values]


def order(scores: Floats, items: NDArray[np.int64]) -> NDArray[np.int64]:
    """Positions best first, ties to the smaller item id.

    >>> order(np.array([0.1, 0.9, 0.9]), np.array([7, 8, 3])).tolist()
    [2, 1, 0]
    """
    # lexsort's last key is the primary one.
    return np.lexsort((items, -scores))


def _odds(card: ModelCard, modality: Modality, candidates: Candidates) -> Floats:
    """(C, V) log odds that each view fits, LACKING where there is none."""
    return np.nan_to_num(logits(card, modality, standardised(card, modality, candidates.cosine)), nan=LACKING)


def _penalty(log_odds: Floats, ruled_out: Floats) -> Floats:
    """What to add to log odds (C,) of P so that they become those of P (1 - ruled_out)."""
    doubt = np.minimum(ruled_out, _CERTAIN)
    penalty: Floats = np.log1p(-doubt) - np.log1p(doubt * np.exp(log_odds))
    return penalty


def _chance(log_odds: Floats) -> Floats:
    chance: Floats = 1 / (1 + np.exp(-log_odds))
    return chance
