"""Judged queries put to a library: their candidates gathered and measured as for any query, and what is right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from mmsearch.index.catalog import Catalog
from mmsearch.index.indexes import Indexes
from mmsearch.index.items import VIEWS
from mmsearch.index.lexicon import query_words
from mmsearch.retrieval.candidates import gather
from mmsearch.retrieval.encoders import registry
from mmsearch.retrieval.encoders.base import Encoder
from mmsearch.retrieval.evaluation.judged import JudgedQuery, JudgedSet
from mmsearch.retrieval.evaluation.remembering import Remembering
from mmsearch.retrieval.evaluation.staging import stage
from mmsearch.retrieval.fusion.examples import Examples
from mmsearch.retrieval.fusion.heads.base import Head
from mmsearch.retrieval.fusion.signals import ITEM_SIGNALS, QUERY_SIGNALS, VIEW_SIGNALS, Signals, measure
from mmsearch.retrieval.paging import MIN_DEPTH

_AT_ONCE = 500  # queries searched together
_SCORED_AT_ONCE = 100
_ALL = 2**31


def collect(
    catalog: Catalog,
    indexes: Indexes,
    encoder: Encoder,
    queries: Sequence[JudgedQuery],
    depth: int = MIN_DEPTH,
    on_done: Callable[[int], None] = lambda count: None,
) -> Examples:
    """What each query finds among its `depth` candidates. queries: of words, whose `relevant` are item ids.

    on_done: is told how many queries are done, after each.
    """
    targets = encoder.texts([query.text for query in queries])  # (Q, D)
    row_ids, table = _table(catalog)
    made = _empty(queries, depth, table, targets.astype(np.float16))
    for start in range(0, len(queries), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        gathered = gather(catalog, indexes, targets[part], [query.text for query in queries[part]], depth)
        for at, candidates in enumerate(gathered, start):
            words = query_words(queries[at].text)
            _fill(made, at, measure(encoder.card, words, targets[at], candidates, vectors=False))
            made.rows[at, : len(candidates)] = _places(row_ids, candidates.rows)
            made.relevant[at, : len(candidates)] = np.isin(candidates.items, list(queries[at].relevant))
            if (judged := queries[at].judged) is not None:
                made.valid[at, : len(candidates)] = np.isin(candidates.items, list(judged))
            on_done(at + 1)
    made.has[:] = _views_of(catalog, [min(query.relevant, default=-1) for query in queries])
    return made


def examples_of(judged: JudgedSet, encoder: Remembering, *, model: str = registry.BUNDLED) -> Examples:
    """What the queries of a judged set find in a library of its items, which is made for that and removed again.

    model: the name of the encoder's model.
    """
    with (
        TemporaryDirectory() as folder,
        stage(judged, encoder, Path(folder), model=model) as staged,
    ):
        return collect(staged.catalog, staged.indexes, encoder, staged.queries)


def join(parts: Sequence[Examples]) -> Examples:
    """The examples of several libraries as one; all have as many candidates."""
    tables = np.cumsum([0, *(len(part.table) for part in parts)])
    shifted = [
        replace(part, rows=np.where(part.rows < 0, part.rows, part.rows + offset).astype(np.int32))
        for part, offset in zip(parts, tables, strict=False)
    ]
    return Examples(
        **{each.name: np.concatenate([getattr(part, each.name) for part in shifted]) for each in fields(Examples)}
    )


def choose(examples: Examples, at: NDArray[np.integer] | NDArray[np.bool_]) -> Examples:
    """Some of the queries, with the table of all."""
    kept = {each.name: getattr(examples, each.name) for each in fields(Examples)}
    return Examples(**{name: values if name == "table" else values[at] for name, values in kept.items()})


def ranked(examples: Examples, scores: NDArray[np.floating]) -> NDArray[np.bool_]:
    """(N, C) whether the candidate at each rank is right, by scores (N, C); equal scores rank by item id."""
    worst_last = np.where(examples.valid, scores, -np.inf)
    order = np.argsort(-worst_last, axis=1, kind="stable")  # candidates come by item id
    return np.take_along_axis(examples.relevant, order, axis=1)


def head_scores(head: Head, examples: Examples) -> NDArray[np.float64]:
    """(N, C) what a head makes of every candidate of every query."""
    return _in_parts(examples, lambda at: head.score(examples.signals(at, vectors=head.uses_vectors)))


def plain_cosine(examples: Examples) -> NDArray[np.float64]:
    """(N, C) the cosine of each candidate's nearest view: the order of a search without re-ranking."""
    return _in_parts(examples, lambda at: cosines(examples, at).max(axis=-1))


def cosines(examples: Examples, at: NDArray[np.int64]) -> NDArray[np.float64]:
    """(N, C, V) the cosine of each view of every candidate of some queries, -1 where it lacks the view."""
    signals = examples.signals(at)
    found = np.einsum("ncvd,nd->ncv", signals.vectors, signals.target, dtype=np.float64)
    return np.where(signals.present, found, -1.0)


def _in_parts(examples: Examples, score: Callable[[NDArray[np.int64]], NDArray[np.float64]]) -> NDArray[np.float64]:
    """(N, C) scores that are made of some queries at a time, since their vectors would fill the memory."""
    scores = np.empty(examples.valid.shape)
    for start in range(0, len(examples), _SCORED_AT_ONCE):
        at = np.arange(start, min(start + _SCORED_AT_ONCE, len(examples)))
        scores[at] = score(at)
    return scores


def _table(catalog: Catalog) -> tuple[NDArray[np.int64], NDArray[np.float16]]:
    """The ids (R,) of all rows, ascending, and their vectors (R, D)."""
    parts = [part for view in VIEWS if len((part := catalog.rows_after(view, 0, _ALL))[0])]
    ids, vectors = (np.concatenate(each) for each in zip(*parts, strict=True))
    order = np.argsort(ids)
    return ids[order], vectors[order]


def _empty(
    queries: Sequence[JudgedQuery], depth: int, table: NDArray[np.float16], targets: NDArray[np.float16]
) -> Examples:
    """Examples of no candidates yet."""
    count, views = len(queries), len(VIEWS)
    return Examples(
        odds=np.full((count, depth, views), 0, np.float32),
        base=np.zeros((count, depth), np.float32),
        views=np.zeros((count, depth, views, len(VIEW_SIGNALS)), np.float16),
        present=np.zeros((count, depth, views), np.bool_),
        items=np.zeros((count, depth, len(ITEM_SIGNALS)), np.float16),
        query=np.zeros((count, len(QUERY_SIGNALS)), np.float16),
        valid=np.zeros((count, depth), np.bool_),
        table=table,
        rows=np.full((count, depth, views), -1, np.int32),
        targets=targets,
        relevant=np.zeros((count, depth), np.bool_),
        wanted=np.array([len(query.relevant) for query in queries], np.int32),
        has=np.zeros((count, views), np.bool_),
        group=np.array([query.group for query in queries], np.str_),
        regime=np.array([query.regime for query in queries], np.str_),
    )


def _fill(made: Examples, at: int, signals: Signals) -> None:
    """Write the signals of query `at` into made, in place."""
    found = slice(0, len(signals))
    for name in ("odds", "base", "views", "present", "items", "valid"):
        getattr(made, name)[at, found] = getattr(signals, name)
    made.query[at] = signals.query


def _places(row_ids: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where rows (C, V) stand in row_ids, ascending; -1 for -1."""
    return np.where(rows < 0, -1, np.searchsorted(row_ids, rows))


def _views_of(catalog: Catalog, items: Sequence[int]) -> NDArray[np.bool_]:
    """(N, V) which views each of N items has."""
    wanted = np.array(sorted(set(items)), np.int64)
    has = np.zeros((len(items), len(VIEWS)), np.bool_)
    for column, view in enumerate(VIEWS):
        _, owners = catalog.rows_of_items(wanted, view)
        has[:, column] = np.isin(items, owners)
    return has
