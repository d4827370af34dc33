"""The words that a few texts share with a query, weighed as the index of words weighs them."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Sequence
from contextlib import closing

import numpy as np
from numpy.typing import NDArray

from mmsearch.index.lexicon import query_words
from mmsearch.index.matches import Matches
from mmsearch.index.words_schema import TOKENS

# How rare a word is cannot be told from a few texts, least of all from those that were found by it. They count as if
# they lay among so many others, of which such a share holds it.
_OTHERS = 1000
_HOLDING = 0.02


def shared(texts: Sequence[str], query: str) -> Matches:
    """The texts, by their places, that hold words of the query in any form."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(f"CREATE VIRTUAL TABLE texts USING fts5 (text, content = '', {TOKENS})")
        connection.executemany("INSERT INTO texts (rowid, text) VALUES (?, ?)", enumerate(texts))
        lists = [_with_word(connection, word) for word in query_words(query)]
    return Matches.of(lists, [_weight(len(ids), len(texts)) for ids in lists])


def _with_word(connection: sqlite3.Connection, word: str) -> NDArray[np.int64]:
    found = connection.execute("SELECT rowid FROM texts WHERE texts MATCH ? ORDER BY rowid", (f'"{word}"',))
    return np.array([rowid for (rowid,) in found], np.int64)


def _weight(holding: int, count: int) -> float:
    """The inverse document frequency of a word that so many of count texts hold."""
    holding_all, count_all = holding + _HOLDING * _OTHERS, count + _OTHERS
    return math.log(1 + (count_all - holding_all + 0.5) / (holding_all + 0.5))
