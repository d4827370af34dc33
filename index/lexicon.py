"""The index of words: which texts and names hold the words of a query, and how much that says of them.

SQLite's FTS5 keeps it, by triggers in the catalogue's own transactions, so that no code path can forget it. Scores
are made here from the lists that FTS5 holds for each word: its own bm25() looks up every text that has any of the
words, which costs hundreds of milliseconds among 100,000 texts.
"""

from __future__ import annotations

import math
import re
import threading
import unicodedata
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmsearch.index.bits import Bits, packed
from mmsearch.index.matches import Matches
from mmsearch.index.reader import Reader
from mmsearch.index.words import INDEXED, Indexed

_WORD = re.compile(r"[^\W_]+")

# Words that say nothing of what is in a photo.
_SAYING_NOTHING = (
    "a about an and are as at be been but by for from had has have he her his i in into is it its me my of on or our "
    "photo picture she so some that the their them then there these they this those to was we were which while who "
    "will with you your"
)
_STOP_WORDS = frozenset(_SAYING_NOTHING.split())

# BM25's k1 and b, and the length that counts as normal, in characters: that of a caption. A fixed length, so that a
# score means the same in every library.
_SATURATION = 1.2
_LENGTH_SHARE = 0.75
_USUAL_CHARACTERS = 52.0

# What the sets kept between queries may take; one has a bit for each text or item that there is or was.
_KEPT_BYTES = 1 << 26


def query_words(query: str) -> list[str]:
    """The words to look for, each once, in lower case; stop words only where there are no others.

    >>> query_words("The dog AND the t-shirt")
    ['dog', 't', 'shirt']
    >>> query_words("to be or not")
    ['not']
    >>> query_words("who is it")
    ['who', 'is', 'it']
    """
    # An accent on its own would part a word in two; one that is part of a letter FTS5 passes over.
    plain = "".join(character for character in query.lower() if not unicodedata.combining(character))
    words = list(dict.fromkeys(_WORD.findall(plain)))
    return [word for word in words if word not in _STOP_WORDS] or words


def bm25(weights: NDArray[np.float32], characters: NDArray[np.integer]) -> NDArray[np.float32]:
    """BM25 (N,) of texts of so many characters, from the summed weights of their words that a query has.

    Robertson and Zaragoza 2009, "The Probabilistic Relevance Framework: BM25 and Beyond", with every word counted
    once in a text: captions hardly repeat one.
    """
    length = characters / _USUAL_CHARACTERS
    scale = (_SATURATION + 1) / (1 + _SATURATION * (1 - _LENGTH_SHARE + _LENGTH_SHARE * length))
    return (weights * scale).astype(np.float32)


class _Held(NamedTuple):
    """The ids that hold a word, and how many they are."""

    ids: Bits
    many: int


class Lexicon:
    """Finds the texts and names of a catalogue by their words. Usable from many threads.

    The sets of what holds a word are kept, of the words asked for lately, until the catalogue changes.
    """

    def __init__(self, catalog: Reader) -> None:
        self._catalog = catalog
        self._version = -1
        self._counted: dict[Indexed, tuple[int, int]] = {}
        self._kept: dict[tuple[Indexed, str], _Held] = {}
        self._lock = threading.Lock()

    def texts(self, query: str) -> Matches:
        """The rows whose text shares a word with the query."""
        return self._matches("texts", query)

    def names(self, query: str) -> Matches:
        """The items whose path, title or tags share a word with the query."""
        return self._matches("names", query)

    def _matches(self, indexed: Indexed, query: str) -> Matches:
        words = query_words(query)
        with self._lock, self._catalog.one_state():
            self._catch_up()
            count, _ = self._counted[indexed]
            held = self._held(indexed, words) if count else []
        # "+ 1": a word that is in more than half of all texts still counts for something.
        weights = [math.log(1 + (count - each.many + 0.5) / (each.many + 0.5)) for each in held]
        return Matches([each.ids for each in held], weights)

    def _catch_up(self) -> None:
        version = self._catalog.versions().words
        if version != self._version:
            self._kept.clear()
            self._counted = {indexed: self._catalog.count_indexed(indexed) for indexed in INDEXED}
            self._version = version

    def _held(self, indexed: Indexed, words: list[str]) -> list[_Held]:
        _, span = self._counted[indexed]
        fresh = [word for word in words if (indexed, word) not in self._kept]
        if (len(self._kept) + len(fresh)) * span > 8 * _KEPT_BYTES:
            self._kept.clear()
            fresh = words
        for word, ids in zip(fresh, self._catalog.with_words(indexed, fresh) if fresh else (), strict=True):
            self._kept[indexed, word] = _Held(packed(ids, span), len(ids))
        return [self._kept[indexed, word] for word in words]
