"""The image stages: imitate the teachers over the whole pool, then meet the captions."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from mmsearch.retrieval.training.batches import PhotoPool, Views, changed, draw
from mmsearch.retrieval.training.image_tower import normalised
from mmsearch.retrieval.training.labels import Labels
from mmsearch.retrieval.training.losses import (
    embedding_distillation,
    feature_distillation,
    hard_negatives,
    info_nce,
)
from mmsearch.retrieval.training.placing import array, tensor


@dataclass(frozen=True, slots=True)
class PhotoTargets:
    """What each of the pool's N photos should become.

    features: (N, F) float16, the teacher's features, rotated to their principal components.
    joint:    (N, D) float16 unit rows of the shared space, or None before that space exists.
    weights:  (N,) how often a photo is drawn.
    known:    (N,) bool, whether the teacher saw the photo; the others have zeros above and only a label to learn from.
    labels:   class names as vectors of the shared space, or None.
    """

    features: np.ndarray
    joint: np.ndarray | None
    weights: np.ndarray
    known: np.ndarray
    labels: Labels | None = None


@dataclass(frozen=True, slots=True)
class DevPhotos:
    """Photos never trained on, with the texts that should find them.

    pixels:   (M, S, S, 3) uint8. features: (M, F) targets.
    texts:    (C, D) unit rows; owner: (C,) the photo of each text.
    """

    pixels: np.ndarray
    features: np.ndarray
    texts: np.ndarray
    owner: np.ndarray


@dataclass(frozen=True, slots=True)
class ImageWeights:
    """Shares of the losses; 0 leaves one out. bank: how many rows beyond the batch's serve as negatives."""

    features: float = 1.0
    cosine: float = 1.0
    instance: float = 0.2
    labels: float = 0.0
    captions: float = 0.0
    hard: float = 0.0
    share: float = 0.4  # of a batch that is captioned photos, where captions count
    margin: float = 0.1
    bank: int = 0
    views: Views = field(default_factory=Views)


class ImageImitation:
    """Objective: the teacher's features and shared-space vector of every photo; captions where asked.

    captioned: (P,) photos with captions, as numbers of the pool; captions: of each, its rows of `texts` (T, D).
    """

    def __init__(
        self, pool: PhotoPool, targets: PhotoTargets, dev: dict[str, DevPhotos], weights: ImageWeights,
        captioned: np.ndarray | None = None, captions: list[np.ndarray] | None = None, texts: np.ndarray | None = None,
    ) -> None:  # fmt: skip
        self.pool, self.targets, self.dev, self.weights = pool, targets, dev, weights
        self.captioned, self.captions, self.texts = captioned, captions, texts
        self.scale = torch.tensor(25.0)

    def loss(self, model: nn.Module, batch: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        wanted = self.captioned if self.weights.captions > 0 else None
        count = 0 if wanted is None else min(int(batch * self.weights.share), len(wanted))
        ids = draw(self.targets.weights, batch - count, rng)
        chosen = None if wanted is None else rng.choice(len(wanted), count, replace=False)
        if chosen is not None and self.captioned is not None:
            ids = np.concatenate([self.captioned[chosen], ids])
        embedding, features = model(changed(self.pool.pixels(ids), self.weights.views, rng))
        terms = self._imitation(embedding, features, ids, rng)
        if chosen is not None:
            terms |= self._alignment(embedding[:count], chosen, rng)
        total = sum((getattr(self.weights, name) * term for name, term in terms.items()), torch.zeros(()))
        return total, {name: float(term.detach()) for name, term in terms.items()}

    def _imitation(
        self, embedding: Tensor, features: Tensor, ids: np.ndarray, rng: np.random.Generator
    ) -> dict[str, Tensor]:
        known = np.flatnonzero(self.targets.known[ids])
        rows, seen = tensor(known), ids[known]
        wanted = tensor(self.targets.features[seen].astype(np.float32))
        terms = {"features": feature_distillation(features[rows], wanted)}
        if self.targets.joint is not None:
            joint = tensor(self.targets.joint[seen].astype(np.float32))
            terms["cosine"] = embedding_distillation(embedding[rows], joint)
            same = tensor(seen[:, None] == seen[None, :])
            terms["instance"] = info_nce(embedding[rows], joint, self.scale, same, self._bank(self.targets.joint, rng))
        labels = self.targets.labels
        if labels is not None and self.weights.labels:
            terms["labels"] = labels.loss(embedding, tensor(labels.vectors), ids, self.scale)
        return terms

    def _bank(self, rows: np.ndarray, rng: np.random.Generator) -> Tensor | None:
        """Further negatives: rows drawn from all of them, which cost nothing since they are kept."""
        if not self.weights.bank:
            return None
        return tensor(rows[rng.integers(0, len(rows), self.weights.bank)].astype(np.float32))

    def _alignment(self, embedding: Tensor, chosen: np.ndarray, rng: np.random.Generator) -> dict[str, Tensor]:
        if self.captions is None or self.texts is None:
            return {}
        rows = np.array([rng.choice(self.captions[at]) for at in chosen])
        texts = tensor(self.texts[rows])
        terms = {"captions": info_nce(embedding, texts, self.scale, extra=self._bank(self.texts, rng))}
        if self.weights.hard:
            terms["hard"] = hard_negatives(embedding, texts, self.weights.margin)
        return terms

    def measure(self, model: nn.Module) -> dict[str, float]:
        figures: dict[str, float] = {}
        for name, dev in self.dev.items():
            vectors, features = embed_photos(model, dev.pixels)
            wanted = tensor(dev.features.astype(np.float32))
            figures[f"{name}_features"] = round(float(feature_distillation(tensor(features), wanted)), 4)
            if self.targets.joint is not None:
                found = recalls(dev.texts @ vectors.T, dev.owner)
                figures |= {f"{name}_{key}": value for key, value in found.items()}
        return figures


def embed_photos(
    model: nn.Module, pixels: np.ndarray, side: int = 0, batch: int = 100
) -> tuple[np.ndarray, np.ndarray]:
    """(N, S, S, 3) uint8 -> ((N, D) unit rows, (N, F) features), at another side where one is given."""
    rows: list[tuple[Tensor, Tensor]] = []
    for at in range(0, len(pixels), batch):
        shown = normalised(tensor(np.ascontiguousarray(pixels[at : at + batch])))
        if side and side != shown.shape[-1]:
            shown = functional.interpolate(shown, (side, side), mode="bilinear", antialias=True)
        rows.append(model(shown.contiguous(memory_format=torch.channels_last)))
    vectors, features = (array(torch.cat(part).float()) for part in zip(*rows, strict=True))
    return vectors, features


def recalls(scores: np.ndarray, owner: np.ndarray, ks: tuple[int, ...] = (1, 5, 10)) -> dict[str, float]:
    """Per cent of queries whose own row is among the k best, and the median rank (1 is best).

    scores: (Q, N); owner: (Q,) the wanted row of each query. Ties count against the wanted row.
    """
    own = np.take_along_axis(scores, owner[:, None], axis=1)
    rank = (scores >= own).sum(axis=1)
    figures = {f"r{k}": round(float(100 * (rank <= k).mean()), 2) for k in ks}
    return figures | {"median_rank": float(np.median(rank))}
