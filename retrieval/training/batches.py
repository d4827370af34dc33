"""Batches of photos for training: which rows, and how their pixels are changed.

Every batch depends on the seed and the step alone, so a resumed run sees what an uninterrupted one would have seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mmsearch.retrieval.training.image_tower import normalised
from mmsearch.retrieval.training.placing import tensor
from mmsearch.retrieval.training.pool import Shelf


@dataclass(frozen=True, slots=True)
class Views:
    """How training photos are changed: crops of `crop` pixels at least (of the pool's), shown at `side` pixels.

    grey, jitter: the share of photos shown grey, and the spread of brightness and contrast.
    """

    side: int = 112
    crop: int = 104
    grey: float = 0.0
    jitter: float = 0.0


class PhotoPool:
    """The rows of several shelves under one numbering, 0 to N - 1."""

    def __init__(self, shelves: list[Shelf], keep: list[np.ndarray]) -> None:
        """keep: of each shelf, the row numbers that take part."""
        self.shelves = shelves
        self.shelf = np.concatenate([np.full(len(rows), at) for at, rows in enumerate(keep)]).astype(np.int32)
        self.row = np.concatenate(keep).astype(np.int64)

    def __len__(self) -> int:
        return len(self.row)

    def pixels(self, ids: np.ndarray) -> np.ndarray:
        """(N, S, S, 3) uint8."""
        return np.stack([self.shelves[self.shelf[i]].pixels[self.row[i]] for i in ids])


def generator(seed: int, step: int) -> np.random.Generator:
    return np.random.default_rng([seed, step])


def draw(weights: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """(count,) row numbers, drawn by weight; a row may come twice."""
    ladder = np.cumsum(weights)
    picked = np.searchsorted(ladder, rng.random(count) * ladder[-1], side="right")
    ids: np.ndarray = np.minimum(picked, len(weights) - 1)
    return ids


def changed(pixels: np.ndarray, views: Views, rng: np.random.Generator) -> Tensor:
    """(N, S, S, 3) uint8 -> normalised (N, 3, side, side): cropped, mirrored by chance, recoloured where asked."""
    count, full = pixels.shape[:2]
    crop = int(rng.integers(min(views.crop, full), full + 1))
    offsets = rng.integers(0, full - crop + 1, (count, 2))
    cut = np.stack([p[y : y + crop, x : x + crop] for p, (y, x) in zip(pixels, offsets, strict=True)])
    flip = rng.random(count) < 0.5
    cut[flip] = cut[flip, :, ::-1]
    out = normalised(tensor(cut))
    if crop != views.side:
        out = functional.interpolate(out, (views.side, views.side), mode="bilinear", antialias=False)
    return _recoloured(out, views, rng).contiguous(memory_format=torch.channels_last)


def _recoloured(pixels: Tensor, views: Views, rng: np.random.Generator) -> Tensor:
    count = len(pixels)
    if views.jitter:
        gain = tensor(1 + views.jitter * rng.standard_normal((count, 1, 1, 1))).float()
        shift = tensor(views.jitter * rng.standard_normal((count, 3, 1, 1))).float()
        pixels = pixels * gain + shift
    if views.grey:
        chosen = tensor(rng.random(count) < views.grey)
        pixels[chosen] = pixels[chosen].mean(dim=1, keepdim=True)
    return pixels
