"""`attention`: the candidates look at each other and at the query (a set transformer), then each is scored."""

from __future__ import annotations

from typing import Any

import numpy as np

from mmsearch.retrieval.fusion.heads.base import Head, Parameters, Sizes
from mmsearch.retrieval.fusion.heads.layers import Arrays, dense, drawn, relu, silent, softmax
from mmsearch.retrieval.fusion.signals import Array, Signals

WIDTH = 32
ASPECTS = 4  # tokens that the query is seen as
_PADDING = -1e4


class Attention(Head):
    """residual = out(tokens after attention over the candidates, after cross-attention to the query's tokens).

    A token is a candidate: the sum over its views of their signals and of their vector times the query's, both
    projected. Set Transformer, Lee et al. 2019. The projections bind it to the vectors of one model.
    """

    name = "attention"
    uses_vectors = True
    mixes_candidates = True

    @classmethod
    def initial(cls, sizes: Sizes, rng: np.random.Generator) -> Arrays:
        blocks = ("self", "cross")
        return {
            **drawn(rng, "views", sizes.view_signals, WIDTH),
            **drawn(rng, "present", sizes.views, WIDTH),
            **drawn(rng, "project", sizes.dim, WIDTH),
            **drawn(rng, "items", sizes.items, WIDTH),
            **drawn(rng, "aspects", sizes.dim, ASPECTS * WIDTH),
            **drawn(rng, "query", sizes.query, WIDTH),
            **{
                k: v
                for block in blocks
                for part in ("q", "k", "v")
                for k, v in drawn(rng, f"{block}_{part}", WIDTH, WIDTH).items()
            },
            **drawn(rng, "hidden", WIDTH, WIDTH),
            **silent("out", WIDTH, 1),
        }

    @staticmethod
    def residual(xp: Any, parameters: Parameters, signals: Signals) -> Array:
        tokens = _tokens(xp, parameters, signals)  # (…, C, WIDTH)
        barred = _PADDING * ~signals.valid[..., None, :]
        tokens = tokens + _attend(xp, parameters, "self", tokens, tokens, barred)
        tokens = tokens + _attend(xp, parameters, "cross", tokens, _aspects(xp, parameters, signals), 0.0)
        tokens = tokens + relu(xp, dense(parameters, "hidden", tokens))
        return dense(parameters, "out", tokens)[..., 0]


def _tokens(xp: Any, parameters: Parameters, signals: Signals) -> Array:
    """(…, C, WIDTH) one for each candidate."""
    target = dense(parameters, "project", signals.target)[..., None, None, :]
    views = dense(parameters, "views", signals.views) + dense(parameters, "project", signals.vectors) * target
    seen = (relu(xp, views) * signals.present[..., None]).sum(-2)
    return relu(
        xp, seen + dense(parameters, "present", 1.0 * signals.present) + dense(parameters, "items", signals.items)
    )


def _aspects(xp: Any, parameters: Parameters, signals: Signals) -> Array:
    """(…, ASPECTS + 1, WIDTH) the query: some views of its vector, and its signals."""
    aspects = dense(parameters, "aspects", signals.target)
    aspects = aspects.reshape((*aspects.shape[:-1], ASPECTS, WIDTH))
    return xp.concatenate([aspects, dense(parameters, "query", signals.query)[..., None, :]], axis=-2)


def _attend(xp: Any, parameters: Parameters, block: str, asking: Array, asked: Array, barred: Array | float) -> Array:
    """(…, C, WIDTH) scaled dot-product attention of one head (Vaswani et al. 2017)."""
    q, k, v = (dense(parameters, f"{block}_{part}", x) for part, x in (("q", asking), ("k", asked), ("v", asked)))
    return softmax(xp, q @ xp.swapaxes(k, -1, -2) / WIDTH**0.5 + barred) @ v


HEAD = Attention
