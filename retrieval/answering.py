"""What answers the queries of a library, imported and opened beside the towers."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from mmsearch.index.reader import Reader
from mmsearch.retrieval.opening import HEADS_NAME, VECTORS_NAME, Model
from mmsearch.retrieval.paging import Page
from mmsearch.retrieval.queries import QueryVector
from mmsearch.retrieval.types import Hits

if TYPE_CHECKING:
    from mmsearch.index.indexes import Indexes
    from mmsearch.retrieval.feedback.heads import Heads


class Answers:
    """The indexes and the fusion of one library, imported and opened when they are first needed."""

    def __init__(self, catalog: Reader, path: Path, model: Model) -> None:
        self._catalog = catalog
        self._path = path
        self._model = model
        self._is_ready = False

    @cached_property
    def indexes(self) -> Indexes:
        """The indexes of the library's views."""
        from mmsearch.index.indexes import Indexes, store_class

        card = self._model.card
        return Indexes(self._catalog, self._path / VECTORS_NAME, card.dim, store_class(self._model.device))

    @cached_property
    def heads(self) -> Heads:
        """The library's fusion heads."""
        from mmsearch.retrieval.feedback.heads import Heads

        return Heads(self._catalog, self._path / HEADS_NAME, self._model.card.fingerprint)

    @contextmanager
    def made_ready(self) -> Iterator[None]:
        """Have the first search imported and opened while the caller loads towers, which leaves Python to others."""
        if self._is_ready:
            yield
            return
        beside = threading.Thread(target=self._make_ready, daemon=True)
        beside.start()
        try:
            yield
        finally:
            beside.join()

    def search(self, vectors: Sequence[QueryVector], page: Page) -> list[Hits]:
        """The hits of each query."""
        from mmsearch.retrieval.searching import search

        return search(self._catalog, self.indexes, self._model.card, *self.heads.current(), vectors, page)

    def close(self) -> None:
        """Give back memory and files; what is asked for later is opened again."""
        if "indexes" in vars(self):
            self.indexes.close()

    def _make_ready(self) -> None:
        self._is_ready = True
        with suppress(Exception):  # the search itself meets it again, where its caller hears of it
            from mmsearch.retrieval.searching import make_ready

            make_ready(self.indexes)
