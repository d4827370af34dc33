"""A head start for the text tower: the token vectors whose sum comes nearest to the teacher's vector."""

from __future__ import annotations

import numpy as np
import torch

from mmsearch.retrieval.training.text_tower import PAD, Layer, TextTower


def token_vectors(tokens: np.ndarray, teacher: np.ndarray, vocabulary: int, penalty: float = 1.0) -> np.ndarray:
    """(V, D) ridge regression from scaled token counts to the teacher's rows.

    tokens: (T, L) int64 padded with 0; a text's counts are divided by the root of its length. teacher: (T, D).
    """
    gram = np.zeros((vocabulary, vocabulary), dtype=np.float32)
    moment = np.zeros((vocabulary, teacher.shape[1]), dtype=np.float32)
    for at in range(0, len(tokens), 2048):
        counts = _counts(tokens[at : at + 2048], vocabulary)
        gram += counts.T @ counts
        moment += counts.T @ teacher[at : at + 2048]
    gram[np.diag_indices(vocabulary)] += penalty
    return np.linalg.solve(gram, moment).astype(np.float32)


def bag_vectors(tokens: np.ndarray, vocabulary: int, dim: int, seed: int) -> np.ndarray:
    """(T, dim) unit rows: token counts, rare ones weighing more, projected at random; a teacher where there is none."""
    counts = _counts(tokens, vocabulary)
    rarity = np.log((1 + len(tokens)) / (1 + (counts > 0).sum(axis=0)))
    projection = np.random.default_rng(seed).standard_normal((vocabulary, dim))
    rows = (counts * rarity) @ projection
    unit: np.ndarray = (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)).astype(np.float32)
    return unit


def _counts(tokens: np.ndarray, vocabulary: int) -> np.ndarray:
    rows, columns = np.nonzero(tokens != PAD)
    counts = np.zeros((len(tokens), vocabulary), dtype=np.float32)
    np.add.at(counts, (rows, tokens[rows, columns]), 1.0)
    counts /= np.sqrt(np.maximum((tokens != PAD).sum(1), 1))[:, None].astype(np.float32)
    return counts


@torch.no_grad()
def start_from(tower: TextTower, vectors: np.ndarray, spread: float = 0.7) -> None:
    """Give the tower these token vectors, even attention, and layers that begin near the identity.

    Only where the tower's width is its output's; another tower is left as it is.
    """
    if tower.shape.width != vectors.shape[1] or tower.shape.width != tower.shape.dim:
        return
    tower.tokens.weight.copy_(torch.from_numpy(vectors / max(float(vectors.std()), 1e-9) * spread))
    tower.tokens.weight[PAD] = 0
    tower.embed.weight.copy_(torch.eye(tower.shape.dim))
    tower.embed.bias.zero_()
    tower.attend.weight.zero_()
    for layer in tower.layers:
        assert isinstance(layer, Layer)
        layer.out.weight.mul_(0.2)
        for weight in list(layer.feed.parameters())[2:3]:  # the matrix of the last linear layer
            weight.mul_(0.2)
