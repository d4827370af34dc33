"""How far a cosine is from chance: the null distributions and logistic curves that model.json carries."""

from __future__ import annotations

import numpy as np


def null_moments(queries: np.ndarray, rows: np.ndarray, owner: np.ndarray | None) -> tuple[float, float]:
    """Mean and standard deviation of the cosine between a query and a row that it does not belong to.

    queries (Q, D) and rows (N, D) unit rows; owner (Q,) each query's own row, left out, or None where none is.
    """
    cosine = queries @ rows.T
    keep = np.ones(cosine.shape, dtype=bool)
    if owner is not None:
        keep[np.arange(len(queries)), owner] = False
    values = cosine[keep]
    return float(values.mean()), float(values.std())


def logistic(
    queries: np.ndarray, rows: np.ndarray, owner: np.ndarray, null: tuple[float, float]
) -> tuple[float, float]:
    """[slope, intercept] of sigmoid(slope * z + intercept): the chance that a row is the wanted one.

    z = (cosine - null mean) / null deviation, over all pairs of a library of N rows; fitted by Newton's method.
    """
    z = ((queries @ rows.T - null[0]) / null[1]).astype(np.float64)
    wanted = np.zeros(z.shape)
    wanted[np.arange(len(queries)), owner] = 1
    return newton_logistic(z.ravel(), wanted.ravel())


def newton_logistic(z: np.ndarray, wanted: np.ndarray, steps: int = 50) -> tuple[float, float]:
    """Maximum-likelihood [slope, intercept] of a logistic curve, with a ridge of 1e-6.

    >>> slope, intercept = newton_logistic(np.array([-1.0, 0.0, 0.0, 1.0]), np.array([0, 0, 1, 1]))
    >>> slope > 0 and abs(intercept) < 1e-6
    True
    """
    weights = np.array([1.0, np.log((wanted.mean() + 1e-9) / (1 - wanted.mean() + 1e-9))])
    for _ in range(steps):
        chance = 1 / (1 + np.exp(-np.clip(weights[0] * z + weights[1], -40, 40)))
        error, spread = chance - wanted, chance * (1 - chance)
        slope = np.array([(error * z).sum(), error.sum()]) + 1e-6 * weights
        cross = (spread * z).sum()
        bend = np.array([[(spread * z * z).sum() + 1e-6, cross], [cross, spread.sum() + 1e-6]])
        change = np.linalg.solve(bend, slope)
        weights -= np.clip(change, -1, 1)
        if np.abs(change).max() < 1e-9:
            break
    return float(weights[0]), float(weights[1])
