"""One run of querying: terms become vectors, vectors become candidates, candidates become ranked hits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from mmsearch.index.catalog import Catalog
from mmsearch.index.errors import UsageError
from mmsearch.index.indexes import Indexes
from mmsearch.index.items import ItemFilter, Kind, StoredRow
from mmsearch.retrieval.candidates import Candidates, gather
from mmsearch.retrieval.encoders.base import ModelCard
from mmsearch.retrieval.ranking import BestCosine, Fusion, Modality, NoisyOr, Signals, measure, order
from mmsearch.retrieval.types import Hit

# Rows looked at per view, and items short-listed out of them. Recall at this depth bounds the answer.
MIN_DEPTH = 200
SNIPPET_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class QueryVector:
    """A query in the shared space.

    vector:     (D,) float32, unit length: the weighted sum of all terms, subtracted ones with a negative weight.
    modality:   `image` if a picture was added, else `text`; cosines are judged by it.
    subtracted: the unit vectors of the subtracted terms, each with its modality.
    words:      what its added texts say; empty for a picture, which is looked for by its vector alone.
    """

    vector: NDArray[np.float32]
    modality: Modality = "text"
    subtracted: tuple[tuple[Modality, NDArray[np.float32]], ...] = ()
    words: str = ""


class PageOptions(TypedDict, total=False):
    """Which answers are wanted beside how many.

    kinds, path_glob, after, before: which items may answer; dates are ISO 8601, after <= taken < before.
    min_score: answers below it are left out.
    rerank:    False ranks by the plain cosine of the best view.
    offset:    answers to leave out at the top, for paging.
    """

    kinds: Sequence[Kind]
    path_glob: str | None
    after: str | None
    before: str | None
    min_score: float | None
    rerank: bool
    offset: int


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of the ranking is wanted, of which items, and how it is made.

    without: id of an item to leave out.
    """

    k: int = 10
    offset: int = 0
    min_score: float | None = None
    rerank: bool = True
    items: ItemFilter = field(default_factory=ItemFilter)
    without: int | None = None

    @classmethod
    def of(cls, k: int, options: PageOptions) -> Page:
        """The page that options ask for. UsageError for a k or an offset that is no count."""
        offset = options.get("offset", 0)
        if k < 1 or offset < 0:
            raise UsageError(f"k must be at least 1 and offset at least 0, but they are {k} and {offset}.")
        items = ItemFilter(
            tuple(options.get("kinds", ())), options.get("path_glob"), options.get("after"), options.get("before")
        )
        return cls(k, offset, options.get("min_score"), options.get("rerank", True), items)

    @property
    def depth(self) -> int:
        return max(MIN_DEPTH, 4 * (self.k + self.offset))


def search(
    catalog: Catalog, indexes: Indexes, card: ModelCard, queries: Sequence[QueryVector], page: Page
) -> list[list[Hit]]:
    """The hits of each query. A query's answer does not depend on the others beside it."""
    if not queries:
        return []
    targets = np.stack([query.vector for query in queries])
    gathered = gather(catalog, indexes, targets, [query.words for query in queries], page.depth, page.items)
    return [_rank(catalog, card, query, candidates, page) for query, candidates in zip(queries, gathered, strict=True)]


def _rank(catalog: Catalog, card: ModelCard, query: QueryVector, candidates: Candidates, page: Page) -> list[Hit]:
    signals = measure(card, query.modality, candidates.cosine, _against(query, candidates))
    fusion: Fusion = NoisyOr() if page.rerank else BestCosine()
    scores = fusion.score(signals)
    best = order(scores, candidates.items)
    best = best[candidates.items[best] != page.without]
    if page.min_score is not None:
        best = best[scores[best] >= page.min_score]
    best = best[page.offset : page.offset + page.k]
    views = _best_views(signals, page.rerank)
    rows = catalog.describe(candidates.rows[best, views[best]].tolist())
    hits = []
    for rank, place in enumerate(best.tolist(), page.offset + 1):
        row = rows.get(int(candidates.rows[place, views[place]]))
        if row is not None:  # deleted by another process a moment ago
            hits.append(_hit(row, float(scores[place]), rank, signals.of(place)))
    return hits


def _best_views(signals: Signals, rerank: bool) -> NDArray[np.int64]:
    """(C,) column of the view that speaks most for each candidate."""
    values = signals.relevance if rerank else signals.cosine
    return np.argmax(np.nan_to_num(values, nan=-np.inf), axis=1) if len(values) else np.empty(0, np.int64)


def _against(query: QueryVector, candidates: Candidates) -> dict[Modality, NDArray[np.float32]]:
    """Cosines (M, C, V) of the candidates' best rows to the subtracted terms of each modality."""
    against: dict[Modality, NDArray[np.float32]] = {}
    for modality in ("text", "image"):
        terms = [vector for kind, vector in query.subtracted if kind == modality]
        if terms:
            cosines = np.einsum("md,cvd->mcv", np.stack(terms), candidates.vectors)
            against[modality] = np.where(candidates.rows >= 0, cosines, np.float32(np.nan))
    return against


def _hit(row: StoredRow, score: float, rank: int, signals: dict[str, float]) -> Hit:
    return Hit(
        path=str(row.item.path),
        kind=row.item.kind,
        view=row.view,
        score=score,
        rank=rank,
        start_s=row.start_s,
        end_s=row.end_s,
        snippet=_shortened(row.text),
        signals=signals,
    )


def _shortened(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= SNIPPET_CHARACTERS else words[: SNIPPET_CHARACTERS - 1].rstrip() + "…"
