"""What is known of each candidate of a query, as numbers that mean the same for every embedding model.

Cosines are standardised by the model's own null (the cosines of pairs that do not belong together), so that a head
trained with one model reads the signals of another. Everything else is made of these, of ranks, and of words.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.index.items import VIEWS
from mmsearch.retrieval.candidates import Candidates
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
    vectors: (C, V, D) unit rows, 0 where lacking. target: (D,) the query's. Only for a head that looks at vectors.
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


def measure(card: ModelCard, text_words: Sequence[str], target: Floats, candidates: Candidates) -> Signals:
    """The signals of the candidates of a text query. Nothing here depends on the order of the candidates.

    text_words: the query's words. target: (D,) its unit vector.
    """
    present = candidates.rows >= 0
    z = standardised(card, "text", candidates.cosine)
    hub = lists.filled(standardised(card, "text", candidates.hubness), present)
    corrected = z - HUB_SHARE * hub
    words, name = np.log1p(np.nan_to_num(candidates.words)), np.log1p(candidates.name)
    by_name = {
        "z": z,
        "hub": hub,
        "list_z": lists.list_z(corrected),
        "reciprocal_rank": lists.reciprocal_rank(corrected),
        "margin": lists.margin(corrected),
        "words": words,
        "words_share": lists.share_of_best(np.nan_to_num(candidates.words)),
        "centroid": lists.centroid(candidates.vectors, corrected),
        "density": lists.density(candidates.vectors, present),
        "agreement": agreement(card, candidates.vectors, present),
    }
    odds = np.where(present, logits(card, "text", z), LACKING).astype(np.float32)
    views = np.stack([np.where(present, np.nan_to_num(by_name[each]), 0) for each in VIEW_SIGNALS], axis=-1)
    shares = lists.share_of_best(candidates.name), candidates.name_coverage
    items = np.stack([name, *shares, present.sum(axis=1)], axis=-1)
    return Signals(
        odds=odds,
        base=odds.max(axis=1),
        views=views.astype(np.float32),
        present=present,
        items=items.astype(np.float32),
        query=_query_signals(text_words, corrected, words, name),
        vectors=candidates.vectors,
        target=target,
        valid=np.ones(len(present), bool),
    )


def agreement(card: ModelCard, vectors: Floats, present: NDArray[np.bool_]) -> Floats:
    """(C, V) z of each view's row to the item's other views, on average; 0 for a view that stands alone.

    A caption that belongs to another photo disagrees with its own.
    """
    total, count = np.zeros(present.shape, np.float32), np.zeros(present.shape, np.float32)
    for one, other in combinations(range(len(VIEWS)), 2):
        both = np.flatnonzero(present[:, one] & present[:, other])
        if not len(both):
            continue
        cosine = np.einsum("cd,cd->c", vectors[both, one], vectors[both, other])
        mean, std = null(card, modality_of(VIEWS[one]), modality_of(VIEWS[other]))
        for column in (one, other):
            total[both, column] += (cosine - mean) / std
            count[both, column] += 1
    total /= np.maximum(count, 1)
    return total


def _query_signals(text_words: Sequence[str], corrected: Floats, words: Floats, name: Floats) -> Floats:
    """(Q,) by QUERY_SIGNALS; 0 for a view that no candidate has."""
    best, lead, share = [], [], []
    for column in range(len(VIEWS)):
        found = np.sort(corrected[~np.isnan(corrected[:, column]), column])[::-1][:LEAD_OVER]
        best.append(float(found[0]) if len(found) else 0.0)
        lead.append(float(found[0] - found.mean()) if len(found) else 0.0)
        share.append(float(np.mean(~np.isnan(corrected[:, column]))) if len(corrected) else 0.0)
    greatest = [float(values.max(initial=0.0)) for values in (words, name)]
    return np.array([math.log1p(len(text_words)), *best, *lead, *share, *greatest], np.float32)
