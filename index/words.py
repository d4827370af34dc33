"""The index of words in the catalogue: FTS5 tables, the triggers that keep them, and the lists they give."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from mmsearch.index.sqlite_file import SqliteFile

Indexed = Literal["texts", "names"]
INDEXED: tuple[Indexed, ...] = get_args(Indexed)


class Words(SqliteFile):
    """The part of the catalogue that finds rows by their text (`texts`) and items by their names (`names`)."""

    def with_words(self, indexed: Indexed, words: Sequence[str]) -> list[NDArray[np.int64]]:
        """For each word the ids (N,), ascending, of the rows or items that hold it in any of its forms.

        A word is letters and digits alone; whatever else stands in it would part it in two.
        """
        # One text instead of N tuples: the list of a common word has tens of thousands of ids.
        query = f"SELECT group_concat(rowid) FROM {indexed} WHERE {indexed} MATCH ?"
        quoted = ['"' + word.replace('"', '""') + '"' for word in words]
        with self._reading() as connection:
            lists = [connection.execute(query, (each,)).fetchall() for each in quoted]
        return [np.fromstring(ids or "", np.int64, sep=",") for ((ids,),) in lists]

    def count_indexed(self, indexed: Indexed) -> tuple[int, int]:
        """How many rows have a text, or how many items there are; and a number above all of their ids."""
        counted = {
            "texts": "SELECT count(*), (SELECT max(id) FROM rows) FROM rows WHERE view <> 'image'",
            "names": "SELECT count(*), max(id) FROM items",
        }
        ((count, last),) = self._ask(counted[indexed])
        return count, 1 + (last or 0)


def faults(connection: sqlite3.Connection) -> list[str]:
    """The tables of words that do not hold just what they should."""
    expected = {"texts": "SELECT id FROM row_texts", "names": "SELECT id FROM item_names"}
    found = []
    for indexed, query in expected.items():
        held = f"SELECT id FROM {indexed}_docsize"
        differing = f"SELECT EXISTS ({query} EXCEPT {held}) OR EXISTS ({held} EXCEPT {query})"
        if connection.execute(differing).fetchall() == [(1,)]:
            found.append(f"the index of words over {indexed} is not that of the catalogue")
    return found
