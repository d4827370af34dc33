"""One run of querying: terms become vectors, vectors become candidates, candidates become ranked hits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mmsearch.index.indexes import Indexes
from mmsearch.index.items import VIEWS, StoredRow
from mmsearch.index.reader import Reader
from mmsearch.retrieval import ranking
from mmsearch.retrieval.candidates import Candidates, gather
from mmsearch.retrieval.encoders.base import ModelCard
from mmsearch.retrieval.fusion import calibration, explaining
from mmsearch.retrieval.fusion.calibration import Calibration
from mmsearch.retrieval.fusion.explaining import SharedWords
from mmsearch.retrieval.fusion.heads import shipped
from mmsearch.retrieval.fusion.heads.base import Head
from mmsearch.retrieval.paging import Page
from mmsearch.retrieval.queries import QueryVector
from mmsearch.retrieval.ranking import Ranked
from mmsearch.retrieval.types import Hit, Hits

SNIPPET_CHARACTERS = 200


def make_ready(indexes: Indexes) -> None:
    """Open what every search reads; each of it is opened when it is first needed as well."""
    for view in VIEWS:
        indexes.count(view)
    shipped()
    calibration.shipped()


def search(
    catalog: Reader,
    indexes: Indexes,
    card: ModelCard,
    head: Head,
    sure: Calibration,
    queries: Sequence[QueryVector],
    page: Page,
) -> list[Hits]:
    """The hits of each query, by that head if of words. A query's answer does not depend on the others beside it."""
    if not queries:
        return []
    targets = np.stack([query.vector for query in queries])
    with catalog.one_state():
        gathered = gather(catalog, indexes, targets, [query.words for query in queries], page.depth, page.items)
        return [
            _answer(catalog, card, _ranked(card, head, sure, query, candidates, page.rerank), query, candidates, page)
            for query, candidates in zip(queries, gathered, strict=True)
        ]


def _answer(
    catalog: Reader, card: ModelCard, ranked: Ranked, query: QueryVector, candidates: Candidates, page: Page
) -> Hits:
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


def _ranked(
    card: ModelCard, head: Head, sure: Calibration, query: QueryVector, candidates: Candidates, rerank: bool
) -> Ranked:
    if not rerank:
        return ranking.by_cosine(candidates)
    if query.modality == "image" or not query.words:
        return ranking.by_relevance(card, query, candidates)
    return ranking.by_fusion(card, head, sure, query, candidates)


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
