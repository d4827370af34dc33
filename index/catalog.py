"""The catalogue: everything that a library knows, in one SQLite file."""

from __future__ import annotations

from sqlalchemy import insert, select

from mmsearch.index import schema
from mmsearch.index.hubness import Hubness
from mmsearch.index.judgements import Judgements
from mmsearch.index.ledger import Ledger
from mmsearch.index.upkeep import Upkeep
from mmsearch.index.words import Words


class Catalog(Upkeep, Ledger, Judgements, Words, Hubness):
    """Roots, items, rows with their vectors, judgements, and notes. Made by `Catalog.open`; usable from many threads.

    Every method is one transaction: done wholly when it returns, and not at all when it raises.
    """

    def meta(self, key: str) -> str | None:
        """What set_meta noted under key."""
        with self._reading() as connection:
            return connection.scalar(select(schema.meta.c.value).where(schema.meta.c.key == key))

    def set_meta(self, **values: str) -> None:
        """Note values under their keys, in place of what was there."""
        with self._writing() as connection:
            connection.execute(
                insert(schema.meta).prefix_with("OR REPLACE"),
                [{"key": key, "value": value} for key, value in values.items()],
            )
