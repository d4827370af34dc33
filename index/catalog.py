"""The catalogue: everything that a library knows, in one SQLite file."""

from __future__ import annotations

from sqlalchemy import insert

from mmsearch.index import schema
from mmsearch.index.hubness import Hubness
from mmsearch.index.judgements import Judgements
from mmsearch.index.ledger import Ledger
from mmsearch.index.reader import Reader
from mmsearch.index.upkeep import Upkeep


class Catalog(Upkeep, Ledger, Judgements, Hubness, Reader):
    """Roots, items, rows with their vectors, judgements, and notes. Made by `Catalog.open`; usable from many threads.

    What is read goes through the driver alone, as a Reader reads it, what is written through SQLAlchemy. Every method
    is one transaction: done wholly when it returns, and not at all when it raises.
    """

    @property
    def writer(self) -> Catalog:
        """Itself."""
        return self

    def set_meta(self, **values: str) -> None:
        """Note values under their keys, in place of what was there."""
        with self._writing() as connection:
            connection.execute(
                insert(schema.meta).prefix_with("OR REPLACE"),
                [{"key": key, "value": value} for key, value in values.items()],
            )
