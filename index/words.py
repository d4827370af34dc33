"""The index of words in the catalogue: FTS5 tables, the triggers that keep them, and the lists they give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, func, select

from mmsearch.index import schema, words_schema
from mmsearch.index.database import Database

Indexed = Literal["texts", "names"]
INDEXED: tuple[Indexed, ...] = get_args(Indexed)


class Words(Database):
    """The part of the catalogue that finds rows by their text (`texts`) and items by their names (`names`)."""

    def with_words(self, indexed: Indexed, words: Sequence[str]) -> list[NDArray[np.int64]]:
        """For each word the ids (N,), ascending, of the rows or items that hold it in any of its forms.

        A word is letters and digits alone; whatever else stands in it would part it in two.
        """
        # One text instead of N tuples: the list of a common word has tens of thousands of ids.
        query = f"SELECT group_concat(rowid) FROM {indexed} WHERE {indexed} MATCH ?"
        quoted = ['"' + word.replace('"', '""') + '"' for word in words]
        with self._reading() as connection:
            listed = [connection.exec_driver_sql(query, (each,)).scalar() for each in quoted]
        return [np.fromstring(ids or "", np.int64, sep=",") for ids in listed]

    def count_indexed(self, indexed: Indexed) -> int:
        """How many rows have a text, or how many items there are."""
        rows, items = schema.rows, schema.items
        counted = {
            "texts": select(func.count()).select_from(rows).where(rows.c.view != "image"),
            "names": select(func.count()).select_from(items),
        }
        with self._reading() as connection:
            return connection.scalar(counted[indexed]) or 0

    def words_version(self) -> int:
        """A number that grows whenever texts or names come, go or change."""
        # Each of these takes a number: a row or an item that comes, a row that goes, a root that takes in another.
        with self._reading() as connection:
            return connection.exec_driver_sql("SELECT sum(seq) FROM sqlite_sequence").scalar() or 0


def refill(connection: Connection) -> None:
    """Make the tables of words anew from what the catalogue holds."""
    for statement in words_schema.FILLED:
        connection.exec_driver_sql(statement)


def merge(connection: Connection) -> None:
    """Rewrite the tables of words without what was removed: FTS5 only marks it as such, and keeps the words."""
    for indexed in INDEXED:
        connection.exec_driver_sql(f"INSERT INTO {indexed} ({indexed}) VALUES ('optimize')")


def faults(connection: Connection) -> list[str]:
    """The tables of words that do not hold just what they should."""
    expected = {"texts": "SELECT id FROM row_texts", "names": "SELECT id FROM item_names"}
    found = []
    for indexed, query in expected.items():
        held = f"SELECT id FROM {indexed}_docsize"
        differing = f"SELECT EXISTS ({query} EXCEPT {held}) OR EXISTS ({held} EXCEPT {query})"
        if connection.exec_driver_sql(differing).scalar():
            found.append(f"the index of words over {indexed} is not that of the catalogue")
    return found
