from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from mmsearch.index.catalog import Catalog
from mmsearch.index.items import VIEWS
from mmsearch.index.lexicon import query_words
from mmsearch.retrieval.candidates import gather
from mmsearch.retrieval.evaluation.examples import (
    choose,
    collect,
    examples_of,
    head_scores,
    join,
    plain_cosine,
    ranked,
)
from mmsearch.retrieval.evaluation.judged import JudgedQuery, judged_set
from mmsearch.retrieval.evaluation.remembering import Remembering
from mmsearch.retrieval.evaluation.staging import Staged, stage
from mmsearch.retrieval.evaluation.subjects import Subject
from mmsearch.retrieval.fusion.examples import Examples
from mmsearch.retrieval.fusion.heads.weighted import Weighted
from mmsearch.retrieval.fusion.signals import measure

DEPTH = 5


@pytest.fixture
def library(tmp_path: Path, painted: list[Subject], towers: Remembering, model: str) -> Iterator[Staged]:
    with stage(judged_set("noisy", painted * 2, seed=3), towers, tmp_path / "lib", model=model) as staged:
        yield staged


@pytest.fixture
def examples(library: Staged, towers: Remembering) -> Examples:
    return collect(library.catalog, library.indexes, towers, library.queries, DEPTH)


def test_signals_are_those_of_a_query_alone(library: Staged, towers: Remembering, examples: Examples) -> None:
    for at, query in enumerate(library.queries):
        target = towers.texts([query.text])
        (candidates,) = gather(library.catalog, library.indexes, target, [query.text], DEPTH)
        expected = measure(towers.card, query_words(query.text), target[0], candidates)
        count, got = len(candidates), examples.signals(at)
        np.testing.assert_array_equal(got.valid, np.arange(DEPTH) < count)
        np.testing.assert_array_equal(got.odds[:count], expected.odds)
        np.testing.assert_array_equal(got.base[:count], expected.base)
        np.testing.assert_allclose(got.views[:count], expected.views, rtol=1e-3, atol=1e-3)
        np.testing.assert_array_equal(got.present[:count], expected.present)
        np.testing.assert_allclose(got.items[:count], expected.items, rtol=1e-3)
        np.testing.assert_allclose(got.query, expected.query, rtol=1e-3)
        np.testing.assert_array_equal(got.vectors[:count], expected.vectors)
        np.testing.assert_allclose(got.target, expected.target, atol=1e-3)
        np.testing.assert_array_equal(examples.relevant[at, :count], np.isin(candidates.items, list(query.relevant)))


def test_a_catalogue_that_may_change_gives_the_same(library: Staged, towers: Remembering, examples: Examples) -> None:
    plain = Catalog.open(library.catalog.path)
    try:
        again = collect(plain, library.indexes, towers, library.queries, DEPTH)
        for each in fields(Examples):
            np.testing.assert_array_equal(getattr(again, each.name), getattr(examples, each.name))
    finally:
        plain.close()


def test_what_the_right_item_has_is_noted(library: Staged, examples: Examples) -> None:
    for at, query in enumerate(library.queries):
        (item,) = query.relevant
        has = {row.view for row, _ in library.catalog.rows_of(item)}
        assert {view for view, is_there in zip(VIEWS, examples.has[at], strict=True) if is_there} == has


def test_a_right_item_that_was_not_gathered_is_still_wanted(library: Staged, towers: Remembering) -> None:
    everything = frozenset(library.ids.tolist())
    made = collect(library.catalog, library.indexes, towers, [JudgedQuery("red", everything, "g", "r")], DEPTH)
    assert made.wanted.tolist() == [len(library.ids)]
    assert made.relevant.sum() == DEPTH


def test_nothing_relevant_is_nothing_to_have(library: Staged, towers: Remembering) -> None:
    made = collect(library.catalog, library.indexes, towers, [JudgedQuery("red", frozenset(), "g", "r")], DEPTH)
    assert made.wanted.tolist() == [0]
    assert not made.has.any()


def test_joined_examples_keep_their_vectors(examples: Examples) -> None:
    both = join([examples, examples])
    assert len(both) == 2 * len(examples)
    for at in range(len(examples)):
        for place in (at, len(examples) + at):
            np.testing.assert_array_equal(both.signals(place).vectors, examples.signals(at).vectors)


def test_chosen_examples_are_some_of_them(examples: Examples) -> None:
    some = choose(examples, np.array([2, 0]))
    assert some.group.tolist() == [examples.group[2], examples.group[0]]
    np.testing.assert_array_equal(some.signals(1).vectors, examples.signals(0).vectors)


def test_ranking_puts_the_best_score_first_and_padding_last(examples: Examples) -> None:
    scores = np.where(examples.relevant, -1.0, -2.0)  # all below what padding is filled with
    hits = ranked(examples, scores)
    np.testing.assert_array_equal(hits[:, 0], examples.relevant.any(axis=1))
    np.testing.assert_array_equal(hits.sum(axis=1), examples.relevant.sum(axis=1))


def test_equal_scores_keep_the_order_of_the_items(examples: Examples) -> None:
    np.testing.assert_array_equal(ranked(examples, np.zeros(examples.valid.shape)), examples.relevant)


def test_an_untrained_head_scores_as_the_base(examples: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmsearch.retrieval.evaluation.examples._SCORED_AT_ONCE", 3)
    np.testing.assert_array_equal(head_scores(Weighted.untrained(), examples), examples.base)


def test_the_plain_cosine_is_that_of_the_nearest_view(library: Staged, towers: Remembering, examples: Examples) -> None:
    scores = plain_cosine(examples)
    for at, query in enumerate(library.queries):
        (candidates,) = gather(library.catalog, library.indexes, towers.texts([query.text]), [query.text], DEPTH)
        expected = np.nan_to_num(candidates.cosine, nan=-1).max(axis=1)
        np.testing.assert_allclose(scores[at, : len(candidates)], expected, atol=1e-3)


def test_examples_of_a_set_are_those_of_its_library(
    painted: list[Subject], towers: Remembering, examples: Examples, model: str
) -> None:
    made = examples_of(judged_set("noisy", painted * 2, seed=3), towers, model=model)
    assert made.valid.shape[1] == 100
    assert made.regime.tolist() == examples.regime.tolist()
    np.testing.assert_array_equal(made.has, examples.has)
