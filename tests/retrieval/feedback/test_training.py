from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mmsearch.index.catalog import Catalog
from mmsearch.index.items import VIEWS
from mmsearch.retrieval.evaluation.examples import head_scores
from mmsearch.retrieval.feedback import heads as home
from mmsearch.retrieval.feedback import training
from mmsearch.retrieval.feedback.calibrating import Told
from mmsearch.retrieval.feedback.heads import Heads, Line
from mmsearch.retrieval.feedback.training import PARTS, Trial, ndcg, train, with_unseen
from mmsearch.retrieval.fusion import calibration
from mmsearch.retrieval.fusion.examples import Examples
from mmsearch.retrieval.fusion.heads.base import Head
from mmsearch.retrieval.fusion.heads.weighted import Weighted
from mmsearch.retrieval.fusion.options import Options
from mmsearch.retrieval.fusion.signals import ITEM_SIGNALS, QUERY_SIGNALS, VIEW_SIGNALS

WORDS = VIEW_SIGNALS.index("words")


def examples(count: int, candidates: int = 6, seed: int = 0) -> Examples:
    """Queries whose one right candidate is told by its words alone; two queries are of one group each."""
    rng = np.random.default_rng(seed)
    shape = (count, candidates, len(VIEWS))
    views = np.zeros((*shape, len(VIEW_SIGNALS)), np.float32)
    relevant = np.zeros(shape[:2], np.bool_)
    relevant[np.arange(count), rng.integers(0, candidates, count)] = True
    views[..., 1, WORDS] = relevant
    present = np.zeros(shape, np.bool_)
    present[..., 1] = True
    base = rng.normal(size=shape[:2]).astype(np.float32)
    return Examples(
        odds=np.repeat(base[..., None], len(VIEWS), axis=-1),
        base=base,
        views=views,
        present=present,
        items=np.zeros((*shape[:2], len(ITEM_SIGNALS)), np.float32),
        query=np.zeros((count, len(QUERY_SIGNALS)), np.float32),
        valid=np.ones(shape[:2], np.bool_),
        table=np.zeros((1, 4), np.float16),
        rows=np.zeros(shape, np.int32),
        targets=np.zeros((count, 4), np.float16),
        relevant=relevant,
        wanted=np.ones(count, np.int32),
        has=present[:, 0],
        group=np.array([f"photo {at // 2}" for at in range(count)]),
        regime=np.array(["user"] * count),
    )


class Fitter:
    """In place of the real one: gives each head the same weight of words, and keeps what it was given."""

    def __init__(self, weight: float) -> None:
        self.weight = weight
        self.seen: list[Examples] = []
        self.started: list[Head] = []

    def __call__(self, kind: type[Head], examples: Examples, options: Options, start: Head) -> Head:
        self.seen.append(examples)
        self.started.append(start)
        made = Weighted(start.parameters)
        made.parameters["weights"] = made.parameters["weights"].copy()
        made.parameters["weights"][1, WORDS] += self.weight
        return made


@pytest.fixture
def heads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Heads]:
    """With a shipped head that changes nothing."""
    untrained = Weighted.untrained()
    monkeypatch.setattr(home, "shipped", lambda: untrained)
    catalog = Catalog.open(tmp_path / "catalog.sqlite")
    yield Heads(catalog, tmp_path / "fusion", "model 1")
    catalog.close()


def trial(heads: Heads, fit: Fitter, count: int = 60) -> Trial:
    return train(examples(count), heads, "mine", fit, left_out=["1 thing"], seed=0, on_step=lambda *step: None)


def test_a_head_that_is_surely_better_answers_from_now_on(heads: Heads) -> None:
    done = trial(heads, Fitter(10.0))
    assert (done.name, done.queries, done.after, done.left_out) == ("mine", 60, 1.0, ("1 thing",))
    assert done.before < 0.9
    assert done.comparison.difference == pytest.approx(1 - done.before)
    assert heads.in_use() == "mine"
    assert ndcg(examples(60), head_scores(heads.current().head, examples(60))).mean() == 1


def test_few_judgements_leave_the_shipped_calibration(heads: Heads) -> None:
    assert not trial(heads, Fitter(10.0), count=49).is_calibrated
    np.testing.assert_array_equal(heads.current().sure.hit, calibration.shipped().hit)


def test_enough_judgements_calibrate_the_head_on_what_it_had_not_seen(heads: Heads) -> None:
    told: list[Sequence[Told]] = []

    def line(parts: Sequence[Told]) -> Line:
        told.append(parts)
        return Line(2.0, 1.0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "line", line)
        assert trial(heads, Fitter(10.0)).is_calibrated
    assert [len(part.right) for part in told[0]] == [72] * PARTS  # six candidates of twelve queries
    np.testing.assert_array_equal(heads.current().sure.slope, 2 * calibration.shipped().slope)


@pytest.mark.parametrize("weight", [0.0, -10.0])
def test_a_head_that_is_not_surely_better_changes_nothing(heads: Heads, weight: float) -> None:
    done = trial(heads, Fitter(weight))
    assert done.name is None
    assert done.comparison.low <= 0
    assert (heads.names(), heads.in_use()) == (["default"], "default")


def test_no_query_is_judged_by_a_head_that_saw_its_photo(heads: Heads) -> None:
    fit = Fitter(10.0)
    trial(heads, fit)
    *folds, last = [set(seen.group.tolist()) for seen in fit.seen]
    every = {f"photo {at}" for at in range(30)}
    assert len(folds) == PARTS
    held_out = [every - seen for seen in folds]
    assert sorted(name for part in held_out for name in part) == sorted(every)
    assert last == every


def test_every_head_begins_with_the_shipped_one(heads: Heads) -> None:
    heads.add("mine", Fitter(1.0)(Weighted, examples(2), Options(), heads.load("default")))
    heads.use("mine")
    fit = Fitter(10.0)
    trial(heads, fit)
    assert all(start is heads.load("default") for start in fit.started)


def test_what_nobody_looked_at_counts_as_wrong_but_the_best_does_not() -> None:
    told = examples(1, candidates=15)
    told.base[0] = np.arange(15, 0, -1)
    judged = np.isin(np.arange(15), [0, 3])
    told = replace(told, valid=judged[None])
    head = Weighted.untrained()
    # The head's ten best are 0 to 9; of these only the judged ones are ranked.
    assert np.flatnonzero(with_unseen(told, head).valid[0]).tolist() == [0, 3, 10, 11, 12, 13, 14]


def test_padding_is_never_ranked() -> None:
    told = examples(1, candidates=15)
    told.present[0, 12:] = False
    told = replace(told, valid=np.zeros((1, 15), np.bool_))
    assert with_unseen(told, Weighted.untrained()).valid[0].nonzero()[0].tolist() == sorted(
        np.argsort(-told.base[0, :12], kind="stable")[10:].tolist()
    )


def test_how_far_it_has_come_is_told(heads: Heads) -> None:
    told: list[tuple[str, int, int]] = []
    train(examples(20), heads, "mine", Fitter(0.0), left_out=(), seed=0, on_step=lambda *step: told.append(step))
    assert told == [("learning", at, 6) for at in range(6)]


def test_a_real_head_learns_what_the_queries_have_in_common(heads: Heads) -> None:
    pytest.importorskip("torch")
    from mmsearch.retrieval.feedback.training import fitter

    done = train(examples(60), heads, "mine", fitter(), left_out=(), seed=0, on_step=lambda *step: None)
    assert done.name == "mine"
    assert done.after > done.before
