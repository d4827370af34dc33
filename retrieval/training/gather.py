"""One numbering over all shelves: what may be trained on, what it is called, and what is kept for development."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmsearch.retrieval.training.batches import PhotoPool
from mmsearch.retrieval.training.corpus import plain
from mmsearch.retrieval.training.pool import Shelf, near_duplicates
from mmsearch.retrieval.training.sources import share

FEW = 15  # a set of fewer classes is told apart from those of the other small sets too


@dataclass(frozen=True, slots=True)
class DevPart:
    """Captioned photos never trained on: (M, S, S, 3) pixels, (M, F) features, C captions and their photos (C,)."""

    pixels: np.ndarray
    features: np.ndarray
    captions: list[str]
    owner: np.ndarray


@dataclass(frozen=True, slots=True)
class Gathered:
    """N photos to train on.

    features: (N, F) float16, scores: (N, C) float16 of the teacher, zeros where it saw nothing; known: (N,) bool.
    captions: all captions; caption_rows: per captioned photo its captions' numbers; captioned: (P,) photo numbers.
    names:    K class names; label: (N,) class or -1; group: (N,) set; rivals: (G, K) bool, the set's classes.
    weights:  (N,) how often a photo is drawn.
    """

    pool: PhotoPool
    features: np.ndarray
    scores: np.ndarray
    known: np.ndarray
    captions: list[str]
    caption_rows: list[np.ndarray]
    captioned: np.ndarray
    names: list[str]
    label: np.ndarray
    group: np.ndarray
    rivals: np.ndarray
    weights: np.ndarray
    dev: dict[str, DevPart]

    def basis(self, dim: int) -> Callable[[np.ndarray], np.ndarray]:
        """The map from teacher features (M, F) to their first `dim` principal components (M, dim) float16."""
        seen = self.features[self.known].astype(np.float32)
        mean = seen.mean(axis=0)
        _, vectors = np.linalg.eigh(np.cov((seen - mean).T))
        axes = vectors[:, ::-1][:, :dim].astype(np.float32)
        return lambda rows: ((rows.astype(np.float32) - mean) @ axes).astype(np.float16)


def gather(shelves: list[Shelf], apart_bits: int, uncaptioned: int = 0) -> Gathered:
    """Number the photos of the train splits; left out are repeats and look-alikes of photos that are kept apart.

    uncaptioned: at most so many photos without captions take part, chosen by a hash of their keys, so that a smaller
                 choice lies within a larger one; 0 for all.
    """
    kept = _kept(shelves, apart_bits)
    kept = _thinned(shelves, kept, uncaptioned) if uncaptioned else kept
    rows = [dict(shelf.rows[i], set=shelf.source.name) for shelf, ids in zip(shelves, kept, strict=True) for i in ids]
    features, known = _features(shelves, kept, "features")
    scores, _ = _features(shelves, kept, "scores")
    captions, caption_rows, captioned = _captions(rows)
    names, label, group, rivals = _labels(rows)
    return Gathered(
        PhotoPool(shelves, kept), features, scores, known, captions, caption_rows, captioned,
        names, label, group, rivals, _weights(shelves, kept, known), _dev(shelves),
    )  # fmt: skip


def _kept(shelves: list[Shelf], bits: int) -> list[np.ndarray]:
    prints = [np.array([int(str(row["print"]), 16) for row in shelf.rows], dtype=np.uint64) for shelf in shelves]
    train = [np.array([row["split"] == "train" for row in shelf.rows], dtype=bool) for shelf in shelves]
    apart = np.unique(np.concatenate([p[~t] for p, t in zip(prints, train, strict=True)]))
    seen: set[int] = set()
    kept = []
    for hashes, usable in zip(prints, train, strict=True):
        usable = usable & ~near_duplicates(hashes, apart, bits)
        new = [i for i in np.flatnonzero(usable) if int(hashes[i]) not in seen and not seen.add(int(hashes[i]))]  # type: ignore[func-returns-value]
        kept.append(np.array(new, dtype=np.int64))
    return kept


def _thinned(shelves: list[Shelf], kept: list[np.ndarray], most: int) -> list[np.ndarray]:
    chances = [
        np.array([-1.0 if row["captions"] else share(f"{shelf.source.name}/{row['key']}") for row in shelf.rows])
        for shelf in shelves
    ]
    drawn = np.sort(np.concatenate([c[ids] for c, ids in zip(chances, kept, strict=True)]))
    drawn = drawn[drawn >= 0]
    limit = drawn[most - 1] if most <= len(drawn) else 1.0
    return [ids[c[ids] <= limit] for c, ids in zip(chances, kept, strict=True)]


def _weights(shelves: list[Shelf], kept: list[np.ndarray], known: np.ndarray) -> np.ndarray:
    """(N,) float: every source gets its share of the draws; a photo that the teacher did not see counts half."""
    value = np.where(known, 1.0, 0.5)
    of = np.concatenate([np.full(len(ids), at) for at, ids in enumerate(kept)])
    size = np.bincount(of, value, len(shelves))
    shares = np.array([shelf.source.share for shelf in shelves])
    free = shares == 0
    shares[free] = max(0.0, 1 - shares.sum()) * size[free] / max(size[free].sum(), 1e-9)
    weights: np.ndarray = value * (shares / np.maximum(size, 1e-9))[of]
    return weights


def _features(shelves: list[Shelf], kept: list[np.ndarray], name: str) -> tuple[np.ndarray, np.ndarray]:
    found = {at: shelf.features(name) for at, shelf in enumerate(shelves) if (shelf.folder / f"{name}.npy").exists()}
    width = next(iter(found.values())).shape[1] if found else 1
    parts = [
        found[at][ids] if at in found else np.zeros((len(ids), width), dtype=np.float16) for at, ids in enumerate(kept)
    ]
    known = np.concatenate([np.full(len(ids), at in found) for at, ids in enumerate(kept)])
    return np.concatenate(parts), known


def _captions(rows: list[dict[str, Any]]) -> tuple[list[str], list[np.ndarray], np.ndarray]:
    captions: list[str] = []
    numbers: list[np.ndarray] = []
    photos = [at for at, row in enumerate(rows) if row["captions"]]
    for at in photos:
        numbers.append(np.arange(len(captions), len(captions) + len(rows[at]["captions"])))
        captions.extend(rows[at]["captions"])
    return captions, numbers, np.array(photos, dtype=np.int64)


def _labels(rows: list[dict[str, Any]]) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray]:
    names = sorted({plain(row["label"]) for row in rows if row["label"]})
    sets = sorted({row["set"] for row in rows})
    place = {name: at for at, name in enumerate(names)}
    label = np.array([place[plain(row["label"])] if row["label"] else -1 for row in rows], dtype=np.int32)
    group = np.array([sets.index(row["set"]) for row in rows], dtype=np.int32)
    rivals = np.zeros((len(sets), len(names)), dtype=bool)
    rivals[group[label >= 0], label[label >= 0]] = True
    few = (rivals.sum(1) > 0) & (rivals.sum(1) < FEW)
    rivals[few] |= rivals[few].any(axis=0)
    return names, label, group, rivals


def _dev(shelves: list[Shelf]) -> dict[str, DevPart]:
    parts = {}
    for shelf in shelves:
        ids = np.array([i for i, row in enumerate(shelf.rows) if row["split"] == "dev"], dtype=np.int64)
        if len(ids) and (shelf.folder / "features.npy").exists():
            captions = [(c, at) for at, i in enumerate(ids) for c in shelf.rows[i]["captions"]]
            owner = np.array([at for _, at in captions], dtype=np.int64)
            pixels, features = np.asarray(shelf.pixels[ids]), shelf.features("features")[ids]
            parts[shelf.source.name] = DevPart(pixels, features, [c for c, _ in captions], owner)
    return parts
