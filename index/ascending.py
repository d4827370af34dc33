"""Looking ids up among ascending ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def find(ascending: NDArray[np.int64], values: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Which of values (N,) are among ascending ones (M,), and where (N,); a place says nothing of one that is not.

    No value stands twice among the ascending ones.

    >>> found, places = find(np.array([1, 2, 3]), np.array([3, 1, 9]))
    >>> found.tolist(), places[found].tolist()
    ([True, True, False], [2, 0])
    """
    if len(ascending) and ascending[-1] - ascending[0] == len(ascending) - 1:  # none was left out: nothing to look for
        places = values - ascending[0]
        return (places >= 0) & (places < len(ascending)), places
    places = np.searchsorted(ascending, values)
    found = places < len(ascending)
    found[found] = ascending[places[found]] == values[found]
    return found, places


def is_among(values: NDArray[np.int64], ascending: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of values (N,) are among ascending ones (M,); of few values much quicker than NumPy's own isin.

    >>> is_among(np.array([3, 1, 9]), np.array([1, 2, 3])).tolist()
    [True, True, False]
    """
    return find(ascending, values)[0]
