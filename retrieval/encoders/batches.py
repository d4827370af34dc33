"""What every encoder does around its towers: batching, and the mean over the passages of a long text."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.index.errors import UsageError
from mmsearch.retrieval.encoders.base import ModelCard
from mmsearch.retrieval.encoders.tokens import Tokens

Rows = NDArray[np.float32]


def embed_texts(
    texts: Sequence[str],
    tokens: Tokens,
    dim: int,
    tower: Callable[[NDArray[np.int64]], Rows],
    batch_size: int,
) -> Rows:
    """(N, D) unit rows of N texts; tower maps tokens (B, L) to rows (B, D), B at most batch_size.

    The row of a text longer than the context is the mean of its passages, weighted by their length.
    """
    if not texts:
        return np.empty((0, dim), np.float32)
    groups = [tokens.passages(text, ids) for text, ids in zip(texts, tokens.encode(texts), strict=True)]
    passages = list(itertools.chain.from_iterable(groups))
    lengths = np.array([len(passage) for passage in passages])
    rows = np.empty((len(passages), dim), np.float32)
    order = np.argsort(lengths, kind="stable")  # neighbours in length waste little padding
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        rows[chosen] = tower(tokens.batch([passages[i] for i in chosen]))
    if len(passages) == len(texts):
        return rows
    firsts = np.cumsum([0, *map(len, groups[:-1])])
    return unit_rows(np.add.reduceat(rows * lengths[:, None], firsts, axis=0))


def embed_images(pixels: Any, card: ModelCard, tower: Callable[[Any], Rows], batch_size: int) -> Rows:
    """(N, D) unit rows of N pictures (N, S, S, 3); tower maps at most batch_size of them to their rows.

    pixels: an array, or a tensor for a tower that takes tensors.
    """
    side = card.preprocess.size
    dtype = str(pixels.dtype).removeprefix("torch.")
    if dtype != "uint8" or tuple(pixels.shape[1:]) != (side, side, 3):
        raise UsageError(
            f"the model {card.name} takes pictures as uint8 (N, {side}, {side}, 3), but got {dtype} {pixels.shape}"
        )
    rows = [tower(pixels[start : start + batch_size]) for start in range(0, len(pixels), batch_size)]
    return np.concatenate([np.empty((0, card.dim), np.float32), *rows])


def unit_rows(rows: NDArray[np.floating]) -> Rows:
    """The rows (N, D) scaled to unit length; a row of zeros stays one."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, np.finfo(np.float32).tiny), np.float32)
