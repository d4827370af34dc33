"""A fusion head trained on the user's own queries, kept only if it is surely better than the shipped one."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mmsearch.index.errors import MissingExtra
from mmsearch.retrieval.evaluation.examples import choose, head_scores, ranked
from mmsearch.retrieval.feedback.calibrating import Told, line, told
from mmsearch.retrieval.feedback.heads import AS_SHIPPED, DEFAULT, Heads
from mmsearch.retrieval.fusion import calibration
from mmsearch.retrieval.fusion.examples import Examples
from mmsearch.retrieval.fusion.heads.base import Head
from mmsearch.retrieval.fusion.options import Options
from mmsearch.retrieval.metrics import Comparison, compare, ndcg_at

K = 10  # nDCG is taken of so many answers
_SEEN = 10  # so many of the best answers may be right though nobody said so
PARTS = 5

# Close to the shipped head: few queries are to bend it, not to make it anew.
OPTIONS = Options(epochs=40, patience=6, batch=16, rate=2e-3, decay=5.0, drop=0.0, drop_captions=0.0, hold=0.2)

OnStep = Callable[[str, int, int], None]  # what is being done, how much of it is done, of how much


class Fit(Protocol):
    """Makes a head of a kind from examples, beginning with the parameters of start."""

    def __call__(self, kind: type[Head], examples: Examples, options: Options, start: Head) -> Head: ...


@dataclass(frozen=True, slots=True)
class Trial:
    """What training came to.

    name:          of the new head; None where it would not have been surely better.
    queries:       how many it was judged and trained by.
    before, after: nDCG@10 of the shipped head and of heads that had not seen the query, in [0, 1].
    comparison:    after - before, by photo or query.
    is_calibrated: whether its own held-out answers say how sure it is; else the shipped calibration does.
    left_out:      what was not learned from, a sentence each.
    """

    name: str | None
    queries: int
    before: float
    after: float
    comparison: Comparison
    is_calibrated: bool
    left_out: tuple[str, ...]
    seconds: float


def fitter() -> Fit:
    """What fits heads. MissingExtra without torch."""
    try:
        import torch

        from mmsearch.retrieval.training.fusion import fit
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise MissingExtra(extra="train", purpose="training a fusion head") from error
    torch.set_num_threads(1)  # steps as small as these take several times as long on more
    return fit


def train(
    examples: Examples, heads: Heads, name: str, fit: Fit, *, left_out: Sequence[str], seed: int, on_step: OnStep
) -> Trial:
    """Train a head from the shipped one, and let it answer under a name if it is surely better.

    Each query is judged by a head that was trained without it and without any other of its group (cross-validation in
    PARTS). Better is an nDCG@10 that is higher with 95 % confidence; the head that is kept then learns from all. How
    sure its answers are is calibrated on the same held-out queries, where they are enough.
    """
    started = time.monotonic()
    shipped = heads.load(DEFAULT)
    learn = partial(fit, type(shipped), options=replace(OPTIONS, seed=seed), start=shipped)
    part_of = _parts(examples, seed)
    before, after = ndcg(examples, head_scores(shipped, examples)), np.zeros(len(examples))
    answers: list[Told] = []
    for part in range(PARTS):
        on_step("learning", part, PARTS + 1)
        held_out = choose(examples, part_of == part)
        learned = learn(choose(examples, part_of != part))
        after[part_of == part] = ndcg(held_out, head_scores(learned, held_out))
        answers.append(told(learned, calibration.shipped(), held_out))
    comparison = compare(before, after, examples.group.tolist())
    on_step("learning", PARTS, PARTS + 1)
    drawn = line(answers)
    if comparison.is_better:
        heads.add(name, learn(examples), drawn or AS_SHIPPED)
        heads.use(name)
    made = name if comparison.is_better else None
    figures = float(before.mean()), float(after.mean()), comparison, drawn is not None
    return Trial(made, len(examples), *figures, tuple(left_out), time.monotonic() - started)


def with_unseen(examples: Examples, head: Head) -> Examples:
    """Examples of which only what was judged is valid, with all candidates but the other best of a head beside it.

    Bad answers are judged because they stood high. Learned from alone, they teach to turn the order round: what nobody
    looked at has to stay below.
    """
    every = examples.present.any(axis=-1)  # (N, C)
    scores = np.where(every, head_scores(head, examples), -np.inf)
    rank = np.argsort(np.argsort(-scores, axis=1, kind="stable"), axis=1)
    return replace(examples, valid=examples.valid | (every & (rank >= _SEEN)))


def ndcg(examples: Examples, scores: NDArray[np.floating]) -> NDArray[np.float64]:
    """(N,) nDCG@10 of each query by the scores (N, C) of its candidates."""
    return ndcg_at(ranked(examples, scores), examples.wanted.astype(np.int64), K)


def _parts(examples: Examples, seed: int) -> NDArray[np.int64]:
    """(N,) the part of each query, from 0; all queries of a group are in one."""
    groups, of = np.unique(examples.group, return_inverse=True)
    part_of_group: NDArray[np.int64] = np.random.default_rng(seed).permutation(len(groups)) % PARTS
    return part_of_group[of]
