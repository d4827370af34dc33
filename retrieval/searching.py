"""One run of querying: terms become vectors, vectors become candidates, candidates become ranked hits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from mmsearch.index.errors import UsageError
from mmsearch.index.indexes import Indexes
from mmsearch.index.items import VIEWS, ItemFilter, Kind, StoredRow
from mmsearch.index.reader import Reader
from mmsearch.retrieval import ranking
from mmsearch.retrieval.candidates import Candidates, gather
from mmsearch.retrieval.encoders.base import ModelCard
from mmsearch.retrieval.fusion import calibration, explaining
from mmsearch.retrieval.fusion.explaining import SharedWords
from mmsearch.retrieval.fusion.heads.base import Head
from mmsearch.retrieval.ranking import QueryVector, Ranked
from mmsearch.retrieval.types import Hit, Hits

# Rows looked at per view, and items short-listed out of them. Recall at this depth bounds the answer.
MIN_DEPTH = 200
SNIPPET_CHARACTERS = 200


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
        return max(MIN_DEPTH, 4 * (self.k + self.offset))


def search(
    catalog: Reader, indexes: Indexes, card: ModelCard, head: Head, queries: Sequence[QueryVector], page: Page
) -> list[Hits]:
    """The hits of each query, by that head if of words. A query's answer does not depend on the others beside it."""
    if not queries:
        return []
    targets = np.stack([query.vector for query in queries])
    gathered = gather(catalog, indexes, targets, [query.words for query in queries], page.depth, page.items)
    return [
        _answer(catalog, card, head, query, candidates, page)
        for query, candidates in zip(queries, gathered, strict=True)
    ]


def _answer(
    catalog: Reader, card: ModelCard, head: Head, query: QueryVector, candidates: Candidates, page: Page
) -> Hits:
    ranked = _ranked(card, head, query, candidates, page.rerank)
    best = _page_of(ranked, candidates, page)
    shown = candidates.rows[best, ranked.views[best]].tolist()
    rows = catalog.describe(shown)
    signals = ranking.measured(card, query, candidates, best.tolist())
    shared = SharedWords(catalog, query.words) if page.explain else None
    hits = []
    for rank, (place, row, named) in enumerate(zip(best.tolist(), shown, signals, strict=True), page.offset + 1):
        if row not in rows:  # deleted by another process a moment ago
            continue
        hit = _hit(rows[row], ranked, place, rank, named)
        hits.append(hit if shared is None else _explained(hit, ranked, candidates, place, shared))
    return Hits(hits, ranked.fits)


def _ranked(card: ModelCard, head: Head, query: QueryVector, candidates: Candidates, rerank: bool) -> Ranked:
    if not rerank:
        return ranking.by_cosine(candidates)
    if query.modality == "image" or not query.words:
        return ranking.by_relevance(card, query, candidates)
    return ranking.by_fusion(card, head, calibration.shipped(), query, candidates)


def _page_of(ranked: Ranked, candidates: Candidates, page: Page) -> NDArray[np.int64]:
    """Places of the candidates that the page shows, best first."""
    best = ranking.order(ranked.scores, candidates.items)
    best = best[candidates.items[best] != page.without]
    if page.min_score is not None:
        best = best[ranked.scores[best] >= page.min_score]
    if page.min_prob is not None and ranked.probabilities is not None:
        best = best[ranked.probabilities[best] >= page.min_prob]
    shown: NDArray[np.int64] = best[page.offset : page.offset + page.k]
    return shown


def _hit(row: StoredRow, ranked: Ranked, place: int, rank: int, signals: dict[str, float]) -> Hit:
    return Hit(
        path=str(row.item.path),
        kind=row.item.kind,
        view=row.view,
        score=float(ranked.scores[place]),
        rank=rank,
        start_s=row.start_s,
        end_s=row.end_s,
        snippet=_shortened(row.text),
        signals=signals,
        probability=None if ranked.probabilities is None else float(ranked.probabilities[place]),
    )


def _explained(hit: Hit, ranked: Ranked, candidates: Candidates, place: int, shared: SharedWords) -> Hit:
    """The hit with what made its score, in numbers and in words."""
    contributions = ranked.contributions(place)
    words = shared.of(int(candidates.items[place]), candidates.rows[place])
    reasons = tuple(explaining.in_words(contributions, VIEWS[ranked.views[place]], words))
    return replace(hit, contributions=contributions, method=ranked.method, reasons=reasons)


def _shortened(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= SNIPPET_CHARACTERS else words[: SNIPPET_CHARACTERS - 1].rstrip() + "…"
