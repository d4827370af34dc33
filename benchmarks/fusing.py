"""Ways to fuse lists without learning a head: what the heads of `mmsearch.retrieval.fusion` are compared with.

A source is one list of scores of the candidates: the cosine of a view, BM25 of the words, of the name. Scores are
(Q, C, L) float32 for L sources, NaN where a candidate is not in a list; every method gives (Q, C).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mmsearch.index.items import VIEWS
from mmsearch.retrieval.evaluation.examples import choose, cosines
from mmsearch.retrieval.fusion.examples import Examples
from mmsearch.retrieval.fusion.signals import ITEM_SIGNALS, VIEW_SIGNALS

SOURCES = (*(f"{view}.cosine" for view in VIEWS), "words", "name")
RRF_K = 60
_TRIALS = 300
_FACTORS = (4.0, 2.0, 1.3)
_QUERIES = 3000

Scores = NDArray[np.float32]


def sources(examples: Examples) -> Scores:
    """(Q, C, L) the raw scores of SOURCES; BM25 of the view whose text says most."""
    scores = np.full((*examples.valid.shape, len(SOURCES)), np.nan, np.float32)
    for start in range(0, len(examples), 100):
        at = np.arange(start, min(start + 100, len(examples)))
        scores[at, :, : len(VIEWS)] = np.where(examples.present[at], cosines(examples, at), np.nan)
    words = np.expm1(examples.views[..., VIEW_SIGNALS.index("words")].astype(np.float32)).max(axis=-1)
    name = np.expm1(examples.items[..., ITEM_SIGNALS.index("name")].astype(np.float32))
    scores[..., -2], scores[..., -1] = np.where(words > 0, words, np.nan), np.where(name > 0, name, np.nan)
    scores[~examples.valid] = np.nan
    return scores


def normalised(scores: Scores) -> Scores:
    """Each list from 0, its least score, to 1, its greatest; 0 for what is not in it."""
    lacking = np.isnan(scores)
    least = np.where(lacking, np.inf, scores).min(axis=1, keepdims=True)
    spread = np.where(lacking, -np.inf, scores).max(axis=1, keepdims=True) - least
    with np.errstate(invalid="ignore"):
        scaled = np.where(spread > 0, (scores - least) / np.where(spread > 0, spread, 1), 1.0)
    return np.where(lacking, 0, scaled).astype(np.float32)


def ranks(scores: Scores) -> Scores:
    """The rank of each score in its list, from 1, equal ones sharing the better; NaN for what is not in it."""
    filled = np.where(np.isnan(scores), -np.inf, scores)
    out = np.empty_like(scores)
    for source in range(scores.shape[2]):
        for query, values in enumerate(filled[..., source]):
            out[query, :, source] = 1 + len(values) - np.searchsorted(np.sort(values), values, side="right")
    return np.where(np.isnan(scores), np.nan, out).astype(np.float32)


def comb_sum(scores: Scores) -> Scores:
    """CombSUM (Fox & Shaw 1994): the sum of the normalised scores."""
    return normalised(scores).sum(axis=2)


def comb_mnz(scores: Scores) -> Scores:
    """CombMNZ (Fox & Shaw 1994): CombSUM times the number of lists that hold the candidate."""
    return comb_sum(scores) * (~np.isnan(scores)).sum(axis=2)


def comb_max(scores: Scores) -> Scores:
    """CombMAX (Fox & Shaw 1994): the greatest of the normalised scores."""
    return normalised(scores).max(axis=2)


def rrf(scores: Scores) -> Scores:
    """Reciprocal rank fusion (Cormack, Clarke & Buettcher 2009): the sum of 1 / (60 + rank)."""
    return np.nansum(1 / (RRF_K + ranks(scores)), axis=2)


def isr(scores: Scores) -> Scores:
    """Inverse square rank (Mourao, Martins & Magalhaes 2014): the number of lists times the sum of 1 / rank^2."""
    return (~np.isnan(scores)).sum(axis=2) * np.nansum(1 / ranks(scores) ** 2, axis=2)


METHODS: dict[str, Callable[[Scores], Scores]] = {
    "CombSUM": comb_sum,
    "CombMNZ": comb_mnz,
    "CombMAX": comb_max,
    "reciprocal rank fusion": rrf,
    "inverse square rank": isr,
}


def tuned(lists: Scores, examples: Examples, seed: int = 0) -> NDArray[np.float32]:
    """(L,) the weights >= 0, of sum 1, whose convex combination of normalised lists has the highest R@1.

    By random search, then by changing one weight at a time around the best; on _QUERIES of the examples at most.
    """
    rng = np.random.default_rng(seed)
    drawn = rng.permutation(len(examples))[:_QUERIES]
    lists, examples = lists[drawn], choose(examples, drawn)
    scored = {tuple(weights): _first_right(lists @ weights, examples) for weights in _simplex(rng, _TRIALS)}
    best = max(scored, key=lambda weights: scored[weights])
    for factor in _FACTORS:
        for source in range(lists.shape[2]):
            for changed in (factor, 1 / factor):
                tried = np.array(best, np.float32)
                tried[source] = max(tried[source], 0.005) * changed
                tried /= tried.sum()
                scored[tuple(tried)] = _first_right(lists @ tried, examples)
        best = max(scored, key=lambda weights: scored[weights])
    return np.array(best, np.float32)


def _simplex(rng: np.random.Generator, count: int) -> NDArray[np.float32]:
    """Points of the simplex, many of them near its edges: some lists may say nothing."""
    return rng.dirichlet(np.full(len(SOURCES), 0.5), count).astype(np.float32)


def _first_right(scores: Scores, examples: Examples) -> float:
    """R@1 and, so that ties are rare, a little of the MRR."""
    scores = np.where(examples.valid, scores, -np.inf)
    right = np.where(examples.relevant, scores, -np.inf).max(axis=1)
    above = (scores > right[:, None]).sum(axis=1)
    was_found = examples.relevant.any(axis=1)
    return float((was_found & (above == 0)).mean() + 0.1 * (was_found / (1 + above)).mean())
