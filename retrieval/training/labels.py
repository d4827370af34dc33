"""Class names as texts: a labelled photo is told apart from the other classes of its own set."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor
from torch.nn import functional

from mmsearch.retrieval.training.placing import tensor


@dataclass(frozen=True, slots=True)
class Labels:
    """Class names as texts.

    vectors: (K, D) text vectors of the names. of: (N,) each photo's class, -1 without one.
    rivals:  (G, K) bool, the classes that a photo of group g is told apart from; group: (N,) each photo's group.
    """

    vectors: np.ndarray
    of: np.ndarray
    rivals: np.ndarray
    group: np.ndarray

    def loss(self, embedding: Tensor, vectors: Tensor, ids: np.ndarray, scale: Tensor) -> Tensor:
        """Cross-entropy of the labelled rows of a batch over their own group's class names."""
        rows = np.flatnonzero(self.of[ids] >= 0)
        if len(rows) == 0:
            return embedding.sum() * 0
        logits = scale * embedding[tensor(rows)] @ vectors.T
        allowed = tensor(self.rivals[self.group[ids[rows]]])
        target = tensor(self.of[ids[rows]].astype(np.int64))
        return functional.cross_entropy(logits.masked_fill(~allowed, -1e4), target)
