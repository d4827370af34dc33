"""Which part of the answers to a query is wanted, and of what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypedDict

from mmsearch.index.errors import UsageError
from mmsearch.index.items import ItemFilter, Kind

# Rows looked at per view, and items short-listed out of them. Recall at this depth bounds the answer.
MIN_DEPTH = 100
DEEPER = 4  # times as many, where a page lies beyond


class PageOptions(TypedDict, total=False):
    """Which answers are wanted beside how many.

    kinds, path_glob, after, before: which items may answer; dates are ISO 8601, after <= taken < before.
    min_score: answers below it are left out; a score is a cosine without re-ranking, else log odds.
    min_prob:  answers that are less probable are left out.
    rerank:    False ranks by the plain cosine of the best view, which says nothing of probability.
    explain:   say of each answer what made its score.
    offset:    answers to leave out at the top, for paging.
    """

    kinds: Sequence[Kind]
    path_glob: str | None
    after: str | None
    before: str | None
    min_score: float | None
    min_prob: float | None
    rerank: bool
    explain: bool
    offset: int


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of the ranking is wanted, of which items, and how it is made.

    without: id of an item to leave out.
    """

    k: int = 10
    offset: int = 0
    min_score: float | None = None
    min_prob: float | None = None
    rerank: bool = True
    explain: bool = False
    items: ItemFilter = field(default_factory=ItemFilter)
    without: int | None = None

    @classmethod
    def of(cls, k: int, options: PageOptions) -> Page:
        """The page that options ask for. UsageError for counts and probabilities that are none."""
        offset, min_prob, rerank = options.get("offset", 0), options.get("min_prob"), options.get("rerank", True)
        if k < 1 or offset < 0:
            raise UsageError(f"k must be at least 1 and offset at least 0, but they are {k} and {offset}.")
        if min_prob is not None and not 0 <= min_prob <= 1:
            raise UsageError(f"a probability lies between 0 and 1, but min_prob is {min_prob}.")
        if min_prob is not None and not rerank:
            raise UsageError("without re-ranking there are no probabilities; cut by min_score instead of min_prob.")
        items = ItemFilter(
            tuple(options.get("kinds", ())), options.get("path_glob"), options.get("after"), options.get("before")
        )
        return cls(k, offset, options.get("min_score"), min_prob, rerank, options.get("explain", False), items)

    @property
    def depth(self) -> int:
        """Rows and items to look at: of few sizes, as pages that look at equally many parts of one order fit."""
        depth = MIN_DEPTH
        while depth < self.k + self.offset:
            depth *= DEEPER
        return depth
