"""The facts of all rows in arrays, level with the catalogue, for a process that asks often."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from mmsearch.index.ascending import find, is_among
from mmsearch.index.items import VIEWS, View
from mmsearch.index.reader import Reader
from mmsearch.index.rows import GravesGone, RowFacts
from mmsearch.index.versions import Versions

# Reading all rows costs as much as asking for a thousand times a few, and 44 bytes a row are held: a process that asks
# one query, or a library that is larger, does without.
_PATIENCE = 8
_MOST_ROWS = 1_000_000

_CHUNK = 50_000


@dataclass(frozen=True, slots=True)
class _Held:
    """What is known of N rows that there are or were.

    ids:        (N,) ascending. facts: of ids, and then those of a row that is not stored: (N + 1,).
    by_owner:   (N,) places in ids, by the item that owns the row. owners: (N,) of these places, ascending.
    last_grave: the number of the last removal that they have seen.
    """

    ids: NDArray[np.int64]
    facts: RowFacts
    by_owner: NDArray[np.int64]
    owners: NDArray[np.int64]
    last_grave: int

    @classmethod
    def of(cls, ids: NDArray[np.int64], facts: RowFacts, last_grave: int) -> Self:
        """Rows (N,) with their facts (N + 1,)."""
        by_owner = np.argsort(facts.owners[:-1], kind="stable")
        return cls(ids, facts, by_owner, facts.owners[by_owner], last_grave)

    def places(self, row_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where row_ids (M,) are, -1 for those that are not stored."""
        found, places = find(self.ids, row_ids)
        return np.where(found, places, -1)

    def owned(self, item_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """The places (M,) of the rows that items own, ascending."""
        first, last = np.searchsorted(self.owners, item_ids), np.searchsorted(self.owners, item_ids, side="right")
        counts = last - first
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return np.sort(self.by_owner[np.repeat(first, counts) + within])


class RowTable:
    """Gives what a Reader gives of rows. Usable from many threads, and beside another process that indexes."""

    def __init__(self, catalog: Reader) -> None:
        self._catalog = catalog
        self._asked = 0
        self._seen = Versions(-1, -1, -1)
        self._held: _Held | None = None
        self._lock = threading.Lock()

    def facts(self, row_ids: NDArray[np.int64]) -> RowFacts:
        """As Reader's."""
        held = self._level()
        return self._catalog.facts(row_ids) if held is None else held.facts.at(held.places(row_ids))

    def rows_of_items(self, item_ids: NDArray[np.int64], view: View) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """As Reader's."""
        held = self._level()
        if held is None:
            return self._catalog.rows_of_items(item_ids, view)
        places = held.owned(item_ids)
        places = places[held.facts.views[places] == VIEWS.index(view)]
        return held.ids[places], held.facts.owners[places]

    def _level(self) -> _Held | None:
        """What is held, level with the catalogue; None where the catalogue is to be asked."""
        with self._lock:
            self._asked += 1
            now = self._catalog.versions()
            if self._asked <= _PATIENCE or now.rows > _MOST_ROWS:
                return None
            if (now.rows, now.hubness) != (self._seen.rows, self._seen.hubness):
                measured_anew = now.hubness != self._seen.hubness
                self._held = self._caught_up(None if measured_anew else self._held)
                self._seen = now
            return self._held

    def _caught_up(self, held: _Held | None) -> _Held:
        """What is held and what has come since, without what has gone."""
        while True:
            try:
                known = held or self._nothing()
                # Removals come second, since what is added and removed in between was among the rows then.
                ids, facts = self._fresh(known)
                buried, last_grave = self._catalog.graves_after(None, known.last_grave)
            except GravesGone:
                held = None
                continue
            there = np.where(is_among(ids, np.sort(buried)), -1, np.arange(len(ids)))
            return _Held.of(ids, facts.at(np.append(there, -1)), last_grave)

    def _nothing(self) -> _Held:
        return _Held.of(np.empty(0, np.int64), RowFacts.gone(), self._catalog.graves_floor())

    def _fresh(self, known: _Held) -> tuple[NDArray[np.int64], RowFacts]:
        """Ids (N,) and facts (N + 1,) of what is known and of all later rows."""
        ids, facts = known.ids, known.facts.at(np.arange(len(known.ids)))
        while True:
            more, of_them = self._catalog.facts_after(int(ids[-1]) if len(ids) else 0, _CHUNK)
            if not len(more):
                return ids, facts.followed_by(RowFacts.gone())
            ids, facts = np.concatenate([ids, more]), facts.followed_by(of_them)
