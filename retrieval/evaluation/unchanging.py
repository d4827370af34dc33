"""A catalogue that nobody writes to: what every query asks of it is read once, for tens of thousands of queries."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mmsearch.index.catalog import Catalog
from mmsearch.index.versions import Versions
from mmsearch.index.words import Indexed


class Unchanging(Catalog):
    """Gives what a Catalog gives, as it was when it was first asked."""

    def versions(self) -> Versions:
        """As Catalog's."""
        return self._versions

    def with_words(self, indexed: Indexed, words: Sequence[str]) -> list[NDArray[np.int64]]:
        """As Catalog's."""
        fresh = [word for word in words if (indexed, word) not in self._lists]
        self._lists |= zip(((indexed, word) for word in fresh), super().with_words(indexed, fresh), strict=True)
        return [self._lists[indexed, word] for word in words]

    @cached_property
    def _lists(self) -> dict[tuple[Indexed, str], NDArray[np.int64]]:
        return {}

    @cached_property
    def _versions(self) -> Versions:
        return super().versions()
