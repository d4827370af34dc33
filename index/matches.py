"""What shares words with a query: which ids do, what the words weigh, and the best of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import combinations
from typing import Self

import numpy as np
from numpy.typing import NDArray

from mmsearch.index.bits import Bits, members, packed, size
from mmsearch.index.exact import best

_ROUNDED_UP = 1 + 1e-6  # weights that are nearer to each other may be one as float32
_FEW = 8192  # so many are weighed sooner than any are passed over
_PAIRED = 5  # so many of the heaviest words are looked at in pairs


@dataclass(frozen=True, slots=True)
class Matches:
    """Ids of rows or of items that share a word with a query. An id weighs what its words do together, as float32.

    lists:   for each word the set of ids that hold it, all of one span.
    weights: of each word, above 0: its inverse document frequency.
    """

    lists: Sequence[Bits]
    weights: Sequence[float]

    @classmethod
    def of(cls, lists: Sequence[NDArray[np.int64]], weights: Sequence[float]) -> Self:
        """Those of the ids (N,), ascending, that hold each word."""
        span = 1 + max((int(ids[-1]) for ids in lists if len(ids)), default=0)
        return cls([packed(ids, span) for ids in lists], weights)

    @property
    def ids(self) -> NDArray[np.int64]:
        """(M,) all of them, ascending."""
        return members(self._any())

    def at(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """The weights (N,) of ids (N,), 0 for those that share no word."""
        total = np.zeros(len(ids))
        if self.lists:
            inside = (ids >= 0) & (ids < 64 * len(self.lists[0]))
            octets, bits = np.where(inside, ids >> 3, 0), (inside << (ids & 7)).astype(np.uint8)
            for held, weight in zip(self.lists, self.weights, strict=True):
                total += weight * ((held.view(np.uint8)[octets] & bits) != 0)
        return total.astype(np.float32)

    def coverage(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """The part (N,) of all that the query's words weigh that ids (N,) share, in [0, 1]."""
        return self.at(ids) / np.float32(sum(self.weights) or 1)

    def best(self, depth: int, allowed: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
        """The `depth` ids of the greatest weight, best first, ties to the smaller id; of allowed (A,) ones if given."""
        ids = self._heaviest(depth, allowed)
        return best(ids, self.at(ids), depth)[0]

    def _heaviest(self, depth: int, allowed: NDArray[np.int64] | None) -> NDArray[np.int64]:
        """Ids (N,), ascending and allowed, among which are the `depth` of the greatest weight.

        As in MaxScore (Turtle and Flood 1995) those are passed over whose words cannot weigh what others surely do:
        the many that hold common words alone.
        """
        among = self._any()
        if allowed is not None:
            span = 64 * len(among)
            among = among & packed(allowed[allowed < span], span)
        if size(among) <= _FEW:
            return members(among)
        words = sorted(zip(self.weights, self.lists, strict=True), key=lambda word: -word[0])
        least = _reached(words, among, depth) / _ROUNDED_UP
        if not least:
            return members(among)
        rest = [sum(weight for weight, _ in words[at:]) for at in range(len(words))]
        nobody = holding = np.zeros_like(among)
        for at, (weight, held) in enumerate(words):
            if rest[at] < least:  # none of the heavier words, and so too light
                break
            others = zip(words[at + 1 :], rest[at + 1 :], strict=True)
            beside = (other for (_, other), most in others if weight + most >= least)
            holding = holding | (held if weight >= least else held & reduce(np.bitwise_or, beside, nobody))
        return members(holding & among)

    def _any(self) -> Bits:
        """All that share a word."""
        return reduce(np.bitwise_or, self.lists) if self.lists else packed(np.empty(0, np.int64), 0)


def _reached(words: Sequence[tuple[float, Bits]], among: Bits, depth: int) -> float:
    """A weight that `depth` of a set have or exceed, as far as one word or two of the heaviest tell; 0 if none does."""
    groups = [*((word,) for word in words), *combinations(words[:_PAIRED], 2)]
    for group in sorted(groups, key=lambda group: -sum(weight for weight, _ in group)):
        if size(reduce(np.bitwise_and, (held for _, held in group), among)) >= depth:
            return sum(weight for weight, _ in group)
    return 0.0
