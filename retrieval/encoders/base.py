"""What every pair of towers offers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mmsearch.retrieval.types import Preprocess


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What `model.json` says of a model.

    fingerprint: names the vectors that the model makes: the same fingerprint, the same space.
    null:        null[query modality][row modality] = (mean, std) of the cosine of a pair that does not belong together.
    calibration: calibration[query modality][row modality] = (slope, intercept) of the logistic from the
                 z-score of a cosine to the probability that the row is what was wanted.
    Modalities are `text` and `image`.
    """

    name: str
    dim: int
    fingerprint: str
    preprocess: Preprocess
    context_length: int
    description: str = ""
    licence: str = ""
    version: str = "1"
    null: Mapping[str, Mapping[str, tuple[float, float]]] = field(default_factory=dict)
    calibration: Mapping[str, Mapping[str, tuple[float, float]]] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)


class Encoder(Protocol):
    """Two towers into one space. Rows are float32 of unit length."""

    card: ModelCard

    def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(N, D) rows of N texts. A text longer than the tower's context is the mean of its passages."""

    def images(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(N, D) rows of N pictures (N, S, S, 3), RGB, prepared as card.preprocess says."""

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Character spans, in order, that cover text and each fit the tower's context; [] for blank text."""

    def close(self) -> None:
        """Give back sessions and device memory."""
