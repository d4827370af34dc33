"""Queries whose answer is not there: what they wanted is taken out of the library, and they are asked all the same."""

from __future__ import annotations

import numpy as np

from mmsearch.retrieval.evaluation.judged import JudgedSet


def taken_out(judged: JudgedSet, share: float, seed: int = 0) -> JudgedSet:
    """The set without the right items of a share of its groups of queries, drawn by chance.

    All queries stay; of those whose items are gone, `relevant` is empty.
    """
    groups = sorted({query.group for query in judged.queries})
    drawn = np.random.default_rng(seed).permutation(len(groups))[: round(share * len(groups))]
    chosen = {groups[at] for at in drawn.tolist()}
    gone = {item for query in judged.queries if query.group in chosen for item in query.relevant}
    kept = [at for at in range(len(judged.items)) if at not in gone]
    place = {old: new for new, old in enumerate(kept)}
    return JudgedSet(tuple(judged.items[at] for at in kept), tuple(query.moved(place) for query in judged.queries))
