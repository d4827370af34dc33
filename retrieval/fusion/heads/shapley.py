"""How a head that mixes its signals shares out a score: Shapley values over groups of signals, by sampled orders.

Shapley 1953; Štrumbelj and Kononenko 2014. A signal that is not yet revealed is 0 when standardised, the mean of
training. The steps of each order sum to the score, so their means do, exactly, whichever orders were sampled.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mmsearch.index.items import VIEWS
from mmsearch.retrieval.fusion.heads.base import Head, standardise
from mmsearch.retrieval.fusion.signals import ITEM_SIGNALS, VIEW_SIGNALS, Signals

ORDERS = 16  # each is also taken in reverse
Masks = dict[str, NDArray[np.bool_]]  # which signals are revealed: views (V, S), items (I,), query (Q,)


def shares(head: Head, signals: Signals, candidate: int) -> dict[str, float]:
    """Contributions by name (`base`, `has`, `caption.words`, `name`, `query`), which sum to the candidate's score.

    `has` is what its views give by being there, `query` what the query's own signals change. The signals of the
    other candidates stay as they are.
    """
    standard = standardise(np, head.parameters, signals)
    if not head.mixes_candidates:
        standard, candidate = _only(standard, candidate), 0
    groups = _groups(standard, candidate)
    names, masks = list(groups), list(groups.values())
    rng = np.random.default_rng(0)
    total = np.zeros(len(names))
    for _ in range(ORDERS):
        there = rng.permutation(len(names))
        for order in (there, there[::-1]):
            values = _revealed(head, standard, candidate, [masks[at] for at in order])
            total[order] += np.diff(values)
    shared = dict(zip(names, (total / (2 * ORDERS)).tolist(), strict=True))
    return {"base": float(standard.base[candidate]), "has": float(values[0])} | shared


def _only(signals: Signals, candidate: int) -> Signals:
    one = slice(candidate, candidate + 1)
    per_candidate = ("odds", "base", "views", "present", "items", "vectors", "valid")
    return replace(signals, **{name: getattr(signals, name)[one] for name in per_candidate})


def _groups(signals: Signals, candidate: int) -> dict[str, Masks]:
    """The signals that are revealed one after the other: those of each view that is there, the item's, the query's."""
    shapes = {"views": signals.views.shape[-2:], "items": signals.items.shape[-1:], "query": signals.query.shape[-1:]}
    groups: dict[str, Masks] = {}

    def add(name: str, part: str, at: tuple[int, ...] | slice) -> None:
        groups[name] = {each: np.zeros(shape, bool) for each, shape in shapes.items()}
        groups[name][part][at] = True

    for column in np.flatnonzero(signals.present[candidate]).tolist():
        for at, signal in enumerate(VIEW_SIGNALS):
            if signals.views[candidate, column, at]:
                add(f"{VIEWS[column]}.{signal}", "views", (column, at))
    for at, signal in enumerate(ITEM_SIGNALS):
        add(signal, "items", (at,))
    add("query", "query", slice(None))
    return groups


def _revealed(head: Head, signals: Signals, candidate: int, masks: list[Masks]) -> NDArray[np.float64]:
    """(G + 1,) the candidate's residual with none, the first, the first two, ... of G groups revealed."""
    shown = {
        part: np.cumsum([np.zeros_like(masks[0][part]), *(mask[part] for mask in masks)], axis=0) > 0
        for part in ("views", "items", "query")
    }
    repeated = {name: np.repeat(getattr(signals, name)[None], len(masks) + 1, axis=0) for name in Signals.__slots__}
    repeated["views"][:, candidate] *= shown["views"]
    repeated["items"][:, candidate] *= shown["items"]
    repeated["query"] *= shown["query"]
    return np.asarray(head.residual(np, head.parameters, Signals(**repeated)), np.float64)[:, candidate]
