"""The layers of the heads that are networks, over NumPy or torch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.retrieval.fusion.heads.base import Parameters
from mmsearch.retrieval.fusion.signals import Array

Arrays = dict[str, NDArray[np.float32]]


def dense(parameters: Parameters, name: str, x: Array) -> Array:
    """(…, outputs) a line through x (…, inputs)."""
    return x @ parameters[f"{name}.weight"] + parameters[f"{name}.bias"]


def relu(xp: Any, x: Array) -> Array:
    """x where it is positive, else 0."""
    return xp.clip(x, 0, None)


def sigmoid(xp: Any, x: Array) -> Array:
    """The logistic of x, in (0, 1)."""
    return 1 / (1 + xp.exp(-x))


def softmax(xp: Any, x: Array) -> Array:
    """Shares of the last axis, which sum to 1."""
    powers = xp.exp(x - xp.amax(x, -1)[..., None])
    return powers / powers.sum(-1)[..., None]


def flat(x: Array) -> Array:
    """(…, V * S) of (…, V, S)."""
    return x.reshape((*x.shape[:-2], x.shape[-2] * x.shape[-1]))


def drawn(rng: np.random.Generator, name: str, inputs: int, outputs: int) -> Arrays:
    """Parameters of a dense layer that a relu follows (He et al. 2015)."""
    weight = rng.normal(0, np.sqrt(2 / max(inputs, 1)), (inputs, outputs))
    return {f"{name}.weight": weight.astype(np.float32), f"{name}.bias": np.zeros(outputs, np.float32)}


def silent(name: str, inputs: int, outputs: int) -> Arrays:
    """Parameters of a dense layer that gives 0."""
    return {
        f"{name}.weight": np.zeros((inputs, outputs), np.float32),
        f"{name}.bias": np.zeros(outputs, np.float32),
    }
