"""The catalogue as queries and runs of indexing read it, over the standard library's driver alone.

What writes needs SQLAlchemy, which takes longer to import than a query takes to answer.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Self

from mmsearch.index import migrations
from mmsearch.index.addresses import Addresses
from mmsearch.index.holdings import Holdings
from mmsearch.index.rows import Rows
from mmsearch.index.words import Words

if TYPE_CHECKING:
    from mmsearch.index.catalog import Catalog


class Reader(Addresses, Rows, Words, Holdings):
    """Everything that is asked of a catalogue by queries, and by runs that find nothing new.

    Made by `Reader.open`; usable from many threads. Every method sees one state of the catalogue, whatever others write
    meanwhile.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._catalog: Catalog | None = None
        self._opening = threading.Lock()

    @classmethod
    def open(cls, path: Path, create: bool = True) -> Self:
        """Open the catalogue in the file path; make it, or bring it to the present schema, as needed.

        Raises LibraryNotFound (with create=False), LibraryDamaged, SchemaTooNew and OSError.
        """
        reader = cls(path)
        try:
            if not reader._is_up_to_date():
                reader._catalog = _catalog(path, create)
        except BaseException:
            reader.close()
            raise
        return reader

    @property
    def writer(self) -> Catalog:
        """The same catalogue with all that writes; imported and opened when it is first needed."""
        with self._opening:
            self._catalog = self._catalog or _catalog(self.path, create=False)
            return self._catalog

    def close(self) -> None:
        """Close every connection. Closing twice is allowed."""
        with self._opening:
            if self._catalog is not None:
                self._catalog.close()
                self._catalog = None
        super().close()

    def meta(self, key: str) -> str | None:
        """What set_meta noted under key."""
        found = self._ask("SELECT value FROM meta WHERE key = ?", (key,))
        return found[0][0] if found else None

    def _is_up_to_date(self) -> bool:
        if not self.path.exists():
            return False
        with self._reading() as connection:
            return migrations.stored_version(connection, self.path) == migrations.known_version()


def _catalog(path: Path, create: bool) -> Catalog:
    from mmsearch.index.catalog import Catalog

    return Catalog.open(path, create)
