"""Learning an adapter by contrast: a caption nearer to its own photo than to the others of a batch, and the reverse.

Symmetric InfoNCE (van den Oord et al. 2018; Radford et al. 2021) with a learned temperature, its gradient written
out, lowered by Adam (Kingma and Ba 2015) with a decay of the maps towards the identity (Loshchilov and Hutter 2019).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.retrieval.adapting.captioned import Captioned, Say
from mmsearch.retrieval.encoders.adapter import Adapter

BATCH = 128
RATE = 3e-4  # tried on 1,000 photos: at three times the rate the tuning photos gain less
SCALE_RATE = 10 * RATE
DECAY = 10.0  # tried: 0 to 10 make no difference, 100 costs a fifth of the gain
FIRST_SCALE, LARGEST_SCALE = 20.0, 100.0
PATIENCE = 5  # epochs without a lower loss on the tuning photos before it stops
_QUERIES = 1024  # captions compared with all photos at once

Matrix = NDArray[Any]  # float32; the gradient is tried in float64


@dataclass(frozen=True, slots=True)
class Learned:
    """What fit arrived at. epochs: how many the adapter was learned in, 0 if none was better than nothing."""

    adapter: Adapter
    epochs: int


def fit(train: Captioned, tuning: Captioned, *, epochs: int, seed: int, say: Say) -> Learned:
    """The adapter, of those after each epoch on train, with the lowest loss on tuning.

    An epoch shows each photo once, with one of its captions by chance. It ends after so many epochs, or when the
    loss on tuning has long not fallen.
    """
    rng = np.random.default_rng(seed)
    weights = _Weights(train.photos.shape[1])
    best, best_epoch, best_loss = weights.adapter, 0, weights.loss(tuning)
    for epoch in range(1, epochs + 1):
        losses = [weights.step(train.texts[texts], train.photos[photos]) for texts, photos in _batches(train, rng)]
        loss = weights.loss(tuning)
        say(f"epoch {epoch}: loss {np.mean(losses):.3f}, on the tuning photos {loss:.3f}")
        if loss < best_loss:
            best, best_epoch, best_loss = weights.adapter, epoch, loss
        elif epoch - best_epoch >= PATIENCE:
            break
    return Learned(best, best_epoch)


def info_nce(texts: Matrix, photos: Matrix, adapter: Adapter, log_scale: float) -> tuple[float, Adapter, float]:
    """The loss of a batch, and its gradient by both maps and by log_scale, the logarithm of one over the temperature.

    texts, photos: (B, D) rows of the towers; row i of one belongs to row i of the other and to no other.
    """
    x, x_lengths = _turned(texts, adapter.text)
    y, y_lengths = _turned(photos, adapter.image)
    cosine = x @ y.T  # (B, B)
    scale = float(np.exp(log_scale))
    forth, back = _softmax(scale * cosine, axis=1), _softmax(scale * cosine, axis=0)
    loss = _surprise(np.diag(forth)) + _surprise(np.diag(back))
    by_cosine = scale * (forth + back - 2 * np.eye(len(x), dtype=x.dtype)) / (2 * len(x))
    by_text = texts.T @ _through_length(by_cosine @ y, x, x_lengths)
    by_image = photos.T @ _through_length(by_cosine.T @ x, y, y_lengths)
    return float(loss.mean() / 2), Adapter(by_text, by_image), float((by_cosine * cosine).sum())


class _Weights:
    """What is learned, and Adam's moments of its gradients."""

    def __init__(self, dim: int) -> None:
        self.adapter = Adapter.identity(dim)
        self._identity = np.eye(dim, dtype=np.float32)
        self._log_scale = float(np.log(FIRST_SCALE))
        self._text, self._image, self._scale = _Adam(RATE), _Adam(RATE), _Adam(SCALE_RATE)

    def step(self, texts: Matrix, photos: Matrix) -> float:
        """One step down the gradient of a batch; its loss before."""
        loss, gradient, by_log_scale = info_nce(texts, photos, self.adapter, self._log_scale)
        self.adapter = Adapter(
            self._lowered(self.adapter.text, self._text, gradient.text),
            self._lowered(self.adapter.image, self._image, gradient.image),
        )
        log_scale = self._log_scale - float(self._scale.change(np.array(by_log_scale)))
        self._log_scale = min(log_scale, float(np.log(LARGEST_SCALE)))
        return loss

    def loss(self, captioned: Captioned) -> float:
        """Of the probabilities of each caption's own photo among all, the mean negative logarithm."""
        turned = captioned.adapted(self.adapter)
        parts = []
        for start in range(0, len(turned.texts), _QUERIES):
            chosen = slice(start, start + _QUERIES)
            chances = _softmax(np.exp(self._log_scale) * turned.texts[chosen] @ turned.photos.T, axis=1)
            parts.append(_surprise(np.take_along_axis(chances, turned.owner[chosen, None], axis=1)))
        return float(np.concatenate(parts).mean())

    def _lowered(self, turn: Matrix, adam: _Adam, gradient: Matrix) -> Matrix:
        decayed = turn - RATE * DECAY * (turn - self._identity)
        return np.asarray(decayed - adam.change(gradient))


class _Adam:
    """The moments of one weight's gradient."""

    def __init__(self, rate: float, first: float = 0.9, second: float = 0.99) -> None:
        self._rate = rate
        self._decays = (first, second)
        self._mean: Matrix = np.zeros(())
        self._square: Matrix = np.zeros(())
        self._steps = 0

    def change(self, gradient: Matrix) -> Matrix:
        """What to subtract from the weight."""
        first, second = self._decays
        self._steps += 1
        self._mean = first * self._mean + (1 - first) * gradient
        self._square = second * self._square + (1 - second) * gradient**2
        mean = self._mean / (1 - first**self._steps)
        square = self._square / (1 - second**self._steps)
        return np.asarray(self._rate * mean / (np.sqrt(square) + 1e-8))


def _batches(train: Captioned, rng: np.random.Generator) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Captions (B,) and their photos (B,), every photo once and no batch much smaller than the others."""
    captions = rng.permutation(len(train.owner))
    # Of captions in random order, the first of each photo.
    photos, firsts = np.unique(train.owner[captions], return_index=True)
    order = rng.permutation(len(photos))
    for batch in np.array_split(order, max(1, len(order) // BATCH)):
        yield captions[firsts[batch]], photos[batch]


def _turned(rows: Matrix, turn: Matrix) -> tuple[Matrix, Matrix]:
    """The rows (B, D) after a map, scaled to unit length, and their lengths (B, 1) before that."""
    turned = rows @ turn
    lengths = np.maximum(np.linalg.norm(turned, axis=1, keepdims=True), 1e-12)
    return turned / lengths, lengths


def _through_length(by_unit: Matrix, unit: Matrix, lengths: Matrix) -> Matrix:
    """The gradient by rows (B, D), from the gradient by the rows scaled to unit length."""
    along = (by_unit * unit).sum(axis=1, keepdims=True)
    return np.asarray((by_unit - along * unit) / lengths)


def _softmax(logits: Matrix, axis: int) -> Matrix:
    powers = np.exp(logits - logits.max(axis=axis, keepdims=True))
    return np.asarray(powers / powers.sum(axis=axis, keepdims=True))


def _surprise(chances: Matrix) -> Matrix:
    return np.asarray(-np.log(np.maximum(chances, 1e-30)))
