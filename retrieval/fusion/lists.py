"""Signals that a row has only among the others of its list. Pure.

Each takes the H candidates of one query that have a view, and depends on no order of them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

CENTROID_OF = 10  # the best so many rows of a view make its centroid
NEIGHBOURS = 5  # density is the mean of so many greatest cosines


def filled(values: Floats) -> Floats:
    """(H,) the values, those that are not measured (NaN) as the mean of the others, or as 0 where none is."""
    lacking = np.isnan(values)
    if not lacking.any():
        return values
    known = values[~lacking]
    return np.where(lacking, known.mean() if len(known) else np.float32(0), values)


def list_z(values: Floats) -> Floats:
    """(H,) deviations of each value from the mean; 0 where there are fewer than two, or all are alike."""
    exact = values.astype(np.float64)
    centred = exact - exact.mean() if len(exact) else exact
    spread = float(np.sqrt(centred @ centred / max(len(exact), 1)))
    return (centred / spread).astype(np.float32) if spread > 1e-6 else np.zeros_like(values)


def reciprocal_rank(values: Floats) -> Floats:
    """(H,) one over each value's rank, 1 for the greatest; equal values share the better rank."""
    greater = len(values) - np.searchsorted(np.sort(values), values, side="right")
    return np.asarray(1 / (1 + greater), np.float32)


def margin(values: Floats) -> Floats:
    """(H,) how far each value is above the best of the others, below 0 for all but one; 0 if alone."""
    if len(values) < 2:
        return np.zeros_like(values)
    second, first = np.sort(values)[-2:]
    return np.asarray(values - np.where(values == first, second, first))


def share_of_best(values: Floats) -> Floats:
    """Values >= 0 as a share of the greatest of them all; all 0 where that is 0."""
    greatest = float(values.max(initial=0.0))
    return values / greatest if greatest > 0 else np.zeros_like(values)


def centroid(rows: Floats, values: Floats) -> Floats:
    """(H,) cosine of each of unit rows (H, D) to the mean of those with the greatest values (Rocchio's feedback).

    A row is left out of the mean that it is compared with; alone it has 0.
    """
    if len(rows) < 2:
        return np.zeros_like(values)
    least = np.sort(values)[-CENTROID_OF] if len(values) > CENTROID_OF else -np.inf
    own = (values >= least).astype(np.float32)
    total = own @ rows  # (D,)
    along = rows @ total  # (H,)
    length = np.sqrt(np.maximum(total @ total - own * (2 * along - 1), 1e-6))  # of the total less the own row
    return np.asarray((along - own) / length)


def density(rows: Floats) -> Floats:
    """(H,) mean cosine of each of unit rows (H, D) to its nearest others; 0 where it is alone."""
    near = min(NEIGHBOURS, len(rows) - 1)
    if near < 1:
        return np.zeros(len(rows), np.float32)
    cosine = rows @ rows.T  # (H, H)
    np.fill_diagonal(cosine, -np.inf)
    nearest: Floats = np.partition(cosine, -near, axis=1)[:, -near:].mean(axis=1)
    return nearest
