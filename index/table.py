"""Where the rows of a store are: the places of ids among those of its segments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmsearch.index.ascending import find
from mmsearch.index.segments import Segment
from mmsearch.index.vectors import PADDING_ID


class Table(NamedTuple):
    """Where each row is. A place counts the rows of all segments, those that are gone as well.

    stored: (M,) the id at each place, PADDING_ID where the row is gone.
    ids:    (N,) those that are there, ascending.
    places: (N,) of ids; None where they are 0 to N - 1.
    """

    stored: NDArray[np.int64]
    ids: NDArray[np.int64]
    places: NDArray[np.int64] | None

    def find(self, ids: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Which of ids (M,) are there, and the places of those that are."""
        found, at = find(self.ids, ids)
        return found, at[found] if self.places is None else self.places[at[found]]


def table_of(segments: Sequence[Segment]) -> Table:
    """The table of all rows of some segments."""
    stored = np.concatenate([np.empty(0, np.int64), *(each.ids for each in segments)])
    starts = np.cumsum([0, *(len(each.ids) for each in segments)])
    for segment, start in zip(segments, starts, strict=False):
        stored[start + segment.gone] = PADDING_ID
    if stored.size and stored[0] != PADDING_ID and np.all(stored[1:] > stored[:-1]):  # as a catalogue gives them
        return Table(stored, stored, None)
    places = np.flatnonzero(stored != PADDING_ID)
    places = places[np.argsort(stored[places])]
    return Table(stored, stored[places], places)
