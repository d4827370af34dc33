"""Sets of ids as bits, sixty-four in a word: what common words are in is half of all ids there are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Bits = NDArray[np.uint64]  # (B,); id i is bit i of its bytes, the lowest bit of a byte first


def packed(ids: NDArray[np.int64], span: int) -> Bits:
    """The set of ids (N,), each from 0 to span - 1; sets of one span can be joined and cut by | and &.

    >>> members(packed(np.array([9, 2]), 10)).tolist()
    [2, 9]
    """
    flags = np.zeros(-(-span // 64) * 64, np.bool_)
    flags[ids] = True
    return np.packbits(flags, bitorder="little").view(np.uint64)


def members(bits: Bits, limit: int | None = None) -> NDArray[np.int64]:
    """The ids (N,) of a set, ascending; only the first `limit` of them if given."""
    octets = bits.view(np.uint8)
    some = np.flatnonzero(octets)[:limit]  # each of them holds at least one
    at = np.flatnonzero(np.unpackbits(octets[some], bitorder="little"))[:limit]
    return np.asarray((some[at >> 3] << 3) + (at & 7))


def size(bits: Bits) -> int:
    """How many ids a set holds."""
    return int(np.count_nonzero(np.unpackbits(bits.view(np.uint8)).view(np.bool_)))
