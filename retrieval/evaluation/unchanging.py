"""A catalogue that nobody writes to: what every query asks of it is read once, for tens of thousands of queries."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mmsearch.index.catalog import Catalog
from mmsearch.index.items import VIEWS, View
from mmsearch.index.rows import RowFacts
from mmsearch.index.vectors import PADDING_ID
from mmsearch.index.words import Indexed

_ALL = 2**31


class Unchanging(Catalog):
    """Gives what a Catalog gives, as it was when it was first asked."""

    def version(self) -> int:
        """As Catalog's."""
        return self._version

    def words_version(self) -> int:
        """As Catalog's."""
        return self._words_version

    def facts(self, row_ids: NDArray[np.int64]) -> RowFacts:
        """As Catalog's."""
        places = np.searchsorted(self._ids, row_ids)
        places[self._ids[places] != row_ids] = len(self._ids) - 1
        return self._facts.at(places)

    def rows_of_items(self, item_ids: NDArray[np.int64], view: View) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """As Catalog's."""
        wanted = (self._facts.views == VIEWS.index(view)) & np.isin(self._facts.owners, item_ids)
        wanted &= self._facts.owners != PADDING_ID
        return self._ids[wanted], self._facts.owners[wanted]

    def with_words(self, indexed: Indexed, words: Sequence[str]) -> list[NDArray[np.int64]]:
        """As Catalog's."""
        fresh = [word for word in words if (indexed, word) not in self._lists]
        self._lists |= zip(((indexed, word) for word in fresh), super().with_words(indexed, fresh), strict=True)
        return [self._lists[indexed, word] for word in words]

    @cached_property
    def _lists(self) -> dict[tuple[Indexed, str], NDArray[np.int64]]:
        return {}

    @cached_property
    def _version(self) -> int:
        return super().version()

    @cached_property
    def _words_version(self) -> int:
        return super().words_version()

    @cached_property
    def _ids(self) -> NDArray[np.int64]:
        """(R + 1,) all row ids, ascending, and a last one that no row has."""
        stored = [self.rows_after(view, 0, _ALL)[0] for view in VIEWS]
        return np.append(np.sort(np.concatenate(stored)), np.iinfo(np.int64).max)

    @cached_property
    def _facts(self) -> RowFacts:
        return super().facts(self._ids)
