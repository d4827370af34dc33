"""`autoencoder`: fills in the signals of the views that an item lacks, then scores what is there and what would be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from mmsearch.retrieval.fusion.heads.base import Head, Parameters, Sizes
from mmsearch.retrieval.fusion.heads.layers import Arrays, dense, drawn, flat, relu, silent
from mmsearch.retrieval.fusion.signals import Array, Signals

WIDTH = 32
SHARE = 0.1  # of the loss of filling in, beside the loss of ranking


class Autoencoder(Head):
    """residual = MLP(signals, those of lacking views as decoded from the others, which there are, item's, query's).

    A denoising autoencoder (Vincent et al. 2008) whose noise hides one whole view at a time.
    """

    name = "autoencoder"

    @classmethod
    def initial(cls, sizes: Sizes, rng: np.random.Generator) -> Arrays:
        signals = sizes.views * sizes.view_signals
        return {
            **drawn(rng, "encode", signals, WIDTH),
            **drawn(rng, "encode_present", sizes.views, WIDTH),
            **silent("decode", WIDTH, signals),
            **drawn(rng, "filled", signals, WIDTH),
            **drawn(rng, "present", sizes.views, WIDTH),
            **drawn(rng, "items", sizes.items, WIDTH),
            **drawn(rng, "query", sizes.query, WIDTH),
            **silent("out", WIDTH, 1),
        }

    @staticmethod
    def residual(xp: Any, parameters: Parameters, signals: Signals) -> Array:
        lacking = 1.0 * ~signals.present[..., None]
        filled = signals.views + _decoded(xp, parameters, signals) * lacking
        hidden = (
            dense(parameters, "filled", flat(filled))
            + dense(parameters, "present", 1.0 * signals.present)
            + dense(parameters, "items", signals.items)
            + dense(parameters, "query", signals.query)[..., None, :]
        )
        return dense(parameters, "out", relu(xp, hidden))[..., 0]

    @classmethod
    def auxiliary(cls, xp: Any, parameters: Parameters, signals: Signals) -> Array | float:
        """SHARE times the mean squared error of each view's signals, decoded from the item's others."""
        total: Array | float = 0.0
        for view in range(signals.present.shape[-1]):
            kept = xp.arange(signals.present.shape[-1]) != view
            rest = signals.present & kept
            told = signals.present[..., view] & rest.any(-1)
            hidden = replace(signals, present=rest, views=signals.views * rest[..., None])
            error = ((_decoded(xp, parameters, hidden) - signals.views)[..., view, :] ** 2).mean(-1)
            total = total + (error * told).sum() / xp.clip(1.0 * told.sum(), 1, None)
        return SHARE * total


def _decoded(xp: Any, parameters: Parameters, signals: Signals) -> Array:
    """(…, C, V, S) every view's signals, as the views present suggest them."""
    seen = dense(parameters, "encode", flat(signals.views))
    seen = relu(xp, seen + dense(parameters, "encode_present", 1.0 * signals.present))
    return dense(parameters, "decode", seen).reshape(signals.views.shape)


HEAD = Autoencoder
