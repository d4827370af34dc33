"""What is known of each candidate of a query, as numbers that mean the same for every embedding model.

Cosines are standardised by the model's own null (the cosines of pairs that do not belong together), so that a head
trained with one model reads the signals of another. Everything else is made of these, of ranks, and of words.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.index.items import VIEWS
from mmsearch.retrieval.candidates import Candidates, VectorsOf
from mmsearch.retrieval.encoders.base import ModelCard
from mmsearch.retrieval.fusion import lists
from mmsearch.retrieval.fusion.nulls import logits, modality_of, null, standardised

Array = Any  # NumPy's array at query time, torch's tensor in training
Floats = NDArray[np.float32]

VIEW_SIGNALS = (
    "z",
    "hub",
    "list_z",
    "reciprocal_rank",
    "margin",
    "words",
    "words_share",
    "centroid",
    "density",
    "agreement",
)
ITEM_SIGNALS = ("name", "name_share", "name_coverage", "views")
QUERY_SIGNALS = (
    "query_words",
    *(f"best_{view}" for view in VIEWS),
    *(f"lead_{view}" for view in VIEWS),
    *(f"share_{view}" for view in VIEWS),
    "best_words",
    "best_name",
)

EVERY_SIGNAL = np.ones((len(VIEWS), len(VIEW_SIGNALS)), np.bool_)

# What a row has only among the others of its view, by their values and their vectors; these take time to look up.
_OF_A_LIST: dict[str, Callable[[Floats, Callable[[], Floats]], Floats]] = {
    "list_z": lambda values, rows: lists.list_z(values),
    "reciprocal_rank": lambda values, rows: lists.reciprocal_rank(values),
    "margin": lambda values, rows: lists.margin(values),
    "centroid": lambda values, rows: lists.centroid(rows(), values),
    "density": lambda values, rows: lists.density(rows()),
}

# Ranks and lists go by z less this share of the hub signal: NNN's alpha, near its best on held-out captions.
HUB_SHARE = 0.5
LACKING = -30.0  # log odds of a view that is not there
LEAD_OVER = 10  # best_ and lead_ look at so many of the best candidates


@dataclass(frozen=True, slots=True)
class Signals:
    """The signals of C candidates over the V views of VIEWS, all float32; of a batch, with leading dimensions, padded.

    odds:    (C, V) calibrated logit of each view's z, LACKING where the candidate lacks the view.
    base:    (C,) the best single score: the highest of its odds.
    views:   (C, V, S) by VIEW_SIGNALS, 0 where the candidate lacks the view.
    present: (C, V) bool, which views it has.
    items:   (C, I) by ITEM_SIGNALS.
    query:   (Q,) by QUERY_SIGNALS, the same for every candidate.
    vectors: (C, V, D) unit rows, 0 where lacking, for a head that looks at them, else D = 0. target: (D,) the query's.
    valid:   (C,) bool, False where a batch is padded.
    """

    odds: Array
    base: Array
    views: Array
    present: Array
    items: Array
    query: Array
    vectors: Array
    target: Array
    valid: Array

    def __len__(self) -> int:
        return len(self.base)


def measure(
    card: ModelCard,
    text_words: Sequence[str],
    target: Floats,
    candidates: Candidates,
    *,
    seen: NDArray[np.bool_] = EVERY_SIGNAL,
    vectors: bool = True,
) -> Signals:
    """The signals of the candidates of a text query. Nothing here depends on the order of the candidates.

    text_words: the query's words. target: (D,) its unit vector.
    seen:    (V, S) the signals that are looked at; one that takes a list, and that nobody looks at, is left 0.
    vectors: False leaves them empty, for the heads that do not look at them.
    """
    present = candidates.rows >= 0
    z, hub = (standardised(card, "text", values) for values in (candidates.cosine, candidates.hubness))
    for column, has in _places(present):
        hub[has, column] = lists.filled(hub[has, column])
    corrected = z - HUB_SHARE * hub
    words, name = np.nan_to_num(candidates.words), np.log1p(candidates.name)
    by_name = {
        "z": z,
        "hub": hub,
        "words": np.log1p(words),
        "words_share": lists.share_of_best(words),
        "agreement": agreement(card, candidates.vectors, present),
        **_of_lists(corrected, candidates.vectors, present, seen),
    }
    views = np.stack([by_name[each] for each in VIEW_SIGNALS], axis=-1)
    views[~present] = 0
    shares = lists.share_of_best(candidates.name), candidates.name_coverage
    odds = np.where(present, logits(card, "text", z), LACKING).astype(np.float32)
    return Signals(
        odds=odds,
        base=odds.max(axis=1),
        views=views,
        present=present,
        items=np.stack([name, *shares, present.sum(axis=1)], axis=-1).astype(np.float32),
        query=_query_signals(text_words, corrected, present, by_name["words"], name),
        vectors=candidates.all_vectors() if vectors else np.zeros((*present.shape, 0), np.float32),
        target=target,
        valid=np.ones(len(present), bool),
    )


def agreement(card: ModelCard, vectors: VectorsOf, present: NDArray[np.bool_]) -> Floats:
    """(C, V) z of each view's row to the item's other views, on average; 0 for a view that stands alone.

    A caption that belongs to another photo disagrees with its own.
    """
    total, count = np.zeros(present.shape, np.float32), np.zeros(present.shape, np.float32)
    for one, other in combinations([column for column, _ in _places(present)], 2):
        both = np.flatnonzero(present[:, one] & present[:, other])
        if not len(both):
            continue
        cosine = np.einsum("cd,cd->c", vectors(one)[both], vectors(other)[both])
        mean, std = null(card, modality_of(VIEWS[one]), modality_of(VIEWS[other]))
        for column in (one, other):
            total[both, column] += (cosine - mean) / std
            count[both, column] += 1
    total /= np.maximum(count, 1)
    return total


def _of_lists(
    corrected: Floats, vectors: VectorsOf, present: NDArray[np.bool_], seen: NDArray[np.bool_]
) -> dict[str, Floats]:
    """(C, V) by name what the rows of each view have among each other; 0 of what is not looked at."""
    found = {signal: np.zeros(present.shape, np.float32) for signal in _OF_A_LIST}
    for column, has in _places(present):
        values, rows = corrected[has, column], partial(_rows, vectors, column, has)
        for signal, of_a_list in _OF_A_LIST.items():
            if seen[column, VIEW_SIGNALS.index(signal)]:
                found[signal][has, column] = of_a_list(values, rows)
    return found


def _rows(vectors: VectorsOf, column: int, has: NDArray[np.int64]) -> Floats:
    return vectors(column)[has]


def _places(present: NDArray[np.bool_]) -> list[tuple[int, NDArray[np.int64]]]:
    """The views that any candidate has, with the places of those that do."""
    return [(column, np.flatnonzero(present[:, column])) for column in np.flatnonzero(present.any(axis=0)).tolist()]


def _query_signals(
    text_words: Sequence[str], corrected: Floats, present: NDArray[np.bool_], words: Floats, name: Floats
) -> Floats:
    """(Q,) by QUERY_SIGNALS; 0 for a view that no candidate has."""
    best, lead, share = ([0.0] * len(VIEWS) for _ in range(3))
    for column, has in _places(present):
        found = np.sort(corrected[has, column])[::-1][:LEAD_OVER]
        best[column], lead[column] = float(found[0]), float(found[0] - found.mean())
        share[column] = len(has) / len(present)
    greatest = [float(values.max(initial=0.0)) for values in (words, name)]
    return np.array([math.log1p(len(text_words)), *best, *lead, *share, *greatest], np.float32)
