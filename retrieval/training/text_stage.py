"""The text stage: the small text tower learns a large sentence model's space."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from mmsearch.retrieval.training.losses import embedding_distillation, info_nce, text_distillation
from mmsearch.retrieval.training.placing import array, tensor
from mmsearch.retrieval.training.tokenizing import trimmed


@dataclass(frozen=True, slots=True)
class TextSet:
    """Texts with their teacher's vectors.

    tokens: (T, L) int64 padded with 0. teacher: (T, D) float32 unit rows.
    group:  (T,) the photo or clip that a text describes; texts of one group are each other's matches.
    paired: (T,) bool, whether a group has other texts. dev: (T,) bool, never trained on.
    """

    tokens: np.ndarray
    teacher: np.ndarray
    group: np.ndarray
    paired: np.ndarray
    dev: np.ndarray


def rotated(teacher: np.ndarray, dim: int, sample: np.ndarray) -> np.ndarray:
    """(T, D) unit rows -> (T, dim) unit rows: the best `dim`-dimensional rotation, found on the sample's rows."""
    rows = teacher[sample].astype(np.float64)
    _, vectors = np.linalg.eigh(rows.T @ rows)
    turned = teacher.astype(np.float32) @ vectors[:, ::-1][:, :dim].astype(np.float32)
    unit: np.ndarray = turned / np.linalg.norm(turned, axis=1, keepdims=True)
    return unit


class TextImitation:
    """Objective: vectors like the teacher's, similarities like the teacher's, captions of one thing together."""

    def __init__(self, texts: TextSet, *, pairs: float = 0.1, scale: float = 20.0) -> None:
        self.texts, self.pairs, self.scale = texts, pairs, scale
        self.train = np.flatnonzero(~texts.dev)
        self.partner = Partners(texts)

    def loss(self, model: nn.Module, batch: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        ids = rng.choice(self.train, batch, replace=False)
        teacher = tensor(self.texts.teacher[ids])
        student = model(tensor(trimmed(self.texts.tokens[ids])))
        cosine = embedding_distillation(student, teacher)
        likeness = text_distillation(student, teacher, self.scale)
        total = cosine + 0.1 * likeness
        parts = {"cosine": float(cosine.detach()), "likeness": float(likeness.detach())}
        if self.pairs:
            pair = self._pair_loss(model, batch // 2, rng)
            total, parts["pair"] = total + self.pairs * pair, float(pair.detach())
        return total, parts

    def _pair_loss(self, model: nn.Module, batch: int, rng: np.random.Generator) -> Tensor:
        left, right = self.partner.draw(batch, rng)
        tokens = trimmed(self.texts.tokens[np.concatenate([left, right])])
        both = model(tensor(tokens))
        return info_nce(both[:batch], both[batch:], torch.tensor(self.scale))

    def measure(self, model: nn.Module) -> dict[str, float]:
        dev = np.flatnonzero(self.texts.dev & self.texts.paired)
        ours = embed_texts(model, self.texts.tokens[dev])
        recall = partner_recall(ours, self.texts.group[dev])
        return {"text_r10": recall, "teacher_r10": partner_recall(self.texts.teacher[dev], self.texts.group[dev])}


class Partners:
    """Draws pairs of texts of one group, each group at most once a batch."""

    def __init__(self, texts: TextSet) -> None:
        usable = np.flatnonzero(texts.paired & ~texts.dev)
        order = usable[np.argsort(texts.group[usable], kind="stable")]
        starts = np.flatnonzero(np.r_[True, np.diff(texts.group[order]) != 0])
        self.members = np.split(order, starts[1:])

    def draw(self, batch: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        groups = rng.choice(len(self.members), min(batch, len(self.members)), replace=False)
        pairs = np.array([rng.choice(self.members[g], 2, replace=False) for g in groups])
        return pairs[:, 0], pairs[:, 1]


def embed_texts(model: nn.Module, tokens: np.ndarray, batch: int = 256) -> np.ndarray:
    """(T, L) tokens -> (T, D) float32 unit rows, shortest texts first so that padding costs little."""
    order = np.argsort((tokens != 0).sum(1), kind="stable")
    rows = [model(tensor(trimmed(tokens[order[at : at + batch]]))) for at in range(0, len(order), batch)]
    out = np.empty((len(tokens), rows[0].shape[1]), dtype=np.float32)
    out[order] = array(torch.cat(rows).float())
    return out


def partner_recall(vectors: np.ndarray, group: np.ndarray, k: int = 10) -> float:
    """Share of texts (in per cent) whose k nearest others hold a text of the same group."""
    hits = 0
    for at in range(0, len(vectors), 1000):
        cosine = vectors[at : at + 1000] @ vectors.T
        rows = np.arange(len(cosine))
        cosine[rows, at + rows] = -2
        near = np.argpartition(-cosine, k, axis=1)[:, :k]
        hits += int((group[near] == group[at + rows][:, None]).any(axis=1).sum())
    return round(100 * hits / len(vectors), 2)
