"""Signals that a candidate has only among the others of its list. Pure; NaN marks what a candidate lacks.

Each takes the candidates of one query, C of them, with the V views as columns, and depends on no order of them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

CENTROID_OF = 10  # the best so many rows of a view make its centroid
NEIGHBOURS = 5  # density is the mean of so many greatest cosines


def filled(values: Floats, present: NDArray[np.bool_]) -> Floats:
    """(C, V) the values, those not measured though the view is present as the mean of their column, else as 0."""
    out = values.copy()
    for column in range(values.shape[1]):
        known = values[~np.isnan(values[:, column]), column]
        lacks = present[:, column] & np.isnan(values[:, column])
        out[lacks, column] = known.mean() if len(known) else 0.0
    return out


def list_z(values: Floats) -> Floats:
    """(C, V) deviations of each value from the mean of its column; 0 where a column holds fewer than two values."""
    out = np.full(values.shape, np.nan, np.float32)
    for column in range(values.shape[1]):
        has = ~np.isnan(values[:, column])
        found = values[has, column].astype(np.float64)
        spread = found.std() if len(found) > 1 else 0.0
        out[has, column] = (found - found.mean()) / spread if spread > 1e-6 else 0.0
    return out


def reciprocal_rank(values: Floats) -> Floats:
    """(C, V) one over each value's rank in its column, 1 for the greatest; equal values share the better rank."""
    out = np.full(values.shape, np.nan, np.float32)
    for column in range(values.shape[1]):
        has = ~np.isnan(values[:, column])
        found = values[has, column]
        greater = len(found) - np.searchsorted(np.sort(found), found, side="right")
        out[has, column] = 1 / (1 + greater)
    return out


def margin(values: Floats) -> Floats:
    """(C, V) how far each value is above the best of the others in its column, below 0 for all but one; 0 if alone."""
    out = np.full(values.shape, np.nan, np.float32)
    for column in range(values.shape[1]):
        has = np.flatnonzero(~np.isnan(values[:, column]))
        found = values[has, column]
        if len(found) < 2:
            out[has, column] = 0.0
            continue
        second, first = np.sort(found)[-2:]
        out[has, column] = found - np.where(found == first, second, first)
    return out


def share_of_best(values: Floats) -> Floats:
    """Values >= 0 as a share of the greatest of them all; all 0 where that is 0."""
    greatest = float(values.max(initial=0.0))
    return values / greatest if greatest > 0 else np.zeros_like(values)


def centroid(vectors: Floats, values: Floats) -> Floats:
    """(C, V) cosine of each row to the mean of the rows of its column with the greatest values (Rocchio's feedback).

    vectors: (C, V, D) unit rows. A row is left out of the mean that it is compared with; alone it has 0.
    """
    out = np.full(values.shape, np.nan, np.float32)
    for column in range(values.shape[1]):
        has = np.flatnonzero(~np.isnan(values[:, column]))
        if len(has) < 2:
            out[has, column] = 0.0
            continue
        rows, found = vectors[has, column], values[has, column]
        least = np.sort(found)[-CENTROID_OF] if len(found) > CENTROID_OF else -np.inf
        own = (found >= least).astype(np.float32)
        total = own @ rows  # (D,)
        along = rows @ total  # (H,)
        length = np.sqrt(np.maximum(total @ total - own * (2 * along - 1), 1e-6))  # of the total less the own row
        out[has, column] = (along - own) / length
    return out


def density(vectors: Floats, present: NDArray[np.bool_]) -> Floats:
    """(C, V) mean cosine of each row to its nearest others in its column; 0 where it is alone."""
    out = np.full(present.shape, np.nan, np.float32)
    for column in range(present.shape[1]):
        has = np.flatnonzero(present[:, column])
        cosine = vectors[has, column] @ vectors[has, column].T  # (H, H)
        np.fill_diagonal(cosine, -np.inf)
        near = min(NEIGHBOURS, len(has) - 1)
        out[has, column] = np.partition(cosine, -near, axis=1)[:, -near:].mean(axis=1) if near > 0 else 0.0
    return out
