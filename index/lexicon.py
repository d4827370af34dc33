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
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from mmsearch.index.ascending import find, is_among
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

# How many lists are kept between queries; one has at most as many ids as there are texts.
_KEPT_LISTS = 200


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


def bm25(weights: NDArray[np.float32], characters: NDArray[np.int64]) -> NDArray[np.float32]:
    """BM25 (N,) of texts of so many characters, from the summed weights of their words that a query has.

    Robertson and Zaragoza 2009, "The Probabilistic Relevance Framework: BM25 and Beyond", with every word counted
    once in a text: captions hardly repeat one.
    """
    length = characters / _USUAL_CHARACTERS
    scale = (_SATURATION + 1) / (1 + _SATURATION * (1 - _LENGTH_SHARE + _LENGTH_SHARE * length))
    return (weights * scale).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Matches:
    """What shares a word with a query.

    ids:     (M,) int64 of rows or of items, ascending.
    weights: (M,) float32, the sum of the inverse document frequencies of the words that they share.
    most:    that sum over all words of the query.
    """

    ids: NDArray[np.int64]
    weights: NDArray[np.float32]
    most: float

    @classmethod
    def of(cls, lists: Sequence[NDArray[np.int64]], weights: Sequence[float]) -> Self:
        """The union of lists of ids, each ascending, with the sum of the weights of the lists that an id is in."""
        if not lists:
            return cls(np.empty(0, np.int64), np.empty(0, np.float32), 0.0)
        ids = np.concatenate(lists)
        order = np.argsort(ids, kind="stable")  # quick on what is sorted in parts, and adds in the words' order
        ids = ids[order]
        firsts = np.flatnonzero(np.diff(ids, prepend=-1))
        spread = np.repeat(np.array(weights), [len(each) for each in lists])[order]
        sums = np.add.reduceat(spread, firsts) if len(ids) else spread
        return cls(ids[firsts], sums.astype(np.float32), sum(weights))

    def best(self, depth: int, allowed: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
        """The `depth` ids of the greatest weight, best first, ties to the smaller id; of allowed (A,) ones if given."""
        ids, weights = self.ids, self.weights
        if allowed is not None:
            kept = is_among(ids, allowed)
            ids, weights = ids[kept], weights[kept]
        if len(ids) > depth:  # sorting all of them would take longer than finding them
            kept = weights >= np.partition(weights, len(weights) - depth)[len(weights) - depth]
            ids, weights = ids[kept], weights[kept]
        return ids[np.lexsort((ids, -weights))[:depth]]

    def at(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """The weights (N,) of ids (N,), 0 for those that share no word."""
        found, places = find(self.ids, ids)
        weights = np.zeros(len(ids), np.float32)
        weights[found] = self.weights[places[found]]
        return weights

    def coverage(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """The part (N,) of all that the query's words weigh that ids (N,) share, in [0, 1]."""
        return self.at(ids) / np.float32(self.most or 1)


class Lexicon:
    """Finds the texts and names of a catalogue by their words. Usable from many threads.

    The lists of words asked for lately are kept until the catalogue changes.
    """

    def __init__(self, catalog: Reader) -> None:
        self._catalog = catalog
        self._version = -1
        self._counts: dict[Indexed, int] = {}
        self._lists: dict[tuple[Indexed, str], NDArray[np.int64]] = {}
        self._lock = threading.Lock()

    def texts(self, query: str) -> Matches:
        """The rows whose text shares a word with the query."""
        return self._matches("texts", query)

    def names(self, query: str) -> Matches:
        """The items whose path, title or tags share a word with the query."""
        return self._matches("names", query)

    def _matches(self, indexed: Indexed, query: str) -> Matches:
        words = query_words(query)
        if not words:
            return Matches.of([], [])
        with self._lock:
            self._catch_up()
            count = self._counts[indexed]
            lists = self._lists_of(indexed, words) if count else []
        # "+ 1": a word that is in more than half of all texts still counts for something.
        weights = [math.log(1 + (count - len(ids) + 0.5) / (len(ids) + 0.5)) for ids in lists]
        return Matches.of(lists, weights)

    def _catch_up(self) -> None:
        version = self._catalog.words_version()
        if version != self._version:
            self._lists.clear()
            self._counts = {indexed: self._catalog.count_indexed(indexed) for indexed in INDEXED}
            self._version = version

    def _lists_of(self, indexed: Indexed, words: list[str]) -> list[NDArray[np.int64]]:
        if len(self._lists) > _KEPT_LISTS:
            self._lists.clear()
        fresh = [word for word in words if (indexed, word) not in self._lists]
        if fresh:
            keys = [(indexed, word) for word in fresh]
            self._lists |= zip(keys, self._catalog.with_words(indexed, fresh), strict=True)
        return [self._lists[indexed, word] for word in words]
