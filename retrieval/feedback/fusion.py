"""The fusion of one library, as its user trains, judges and chooses it: `mmsearch fusion`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmsearch.index.catalog import Catalog
from mmsearch.index.indexes import Indexes
from mmsearch.index.items import VIEWS
from mmsearch.retrieval.encoders.base import Encoder
from mmsearch.retrieval.evaluation.examples import collect, head_scores, ranked
from mmsearch.retrieval.feedback import judged
from mmsearch.retrieval.feedback.heads import DEFAULT, Heads
from mmsearch.retrieval.feedback.training import OnStep, Trial, fitter, ndcg, train, with_unseen
from mmsearch.retrieval.fusion.examples import Examples
from mmsearch.retrieval.fusion.signals import ITEM_SIGNALS, LACKING, VIEW_SIGNALS
from mmsearch.retrieval.metrics import Interval, interval, mrr, recall_at
from mmsearch.retrieval.scopes import absolute

_WORDS, _Z, _NAME = VIEW_SIGNALS.index("words"), VIEW_SIGNALS.index("z"), ITEM_SIGNALS.index("name")


@dataclass(frozen=True, slots=True)
class Figures:
    """How well one order answers the judged queries; means over them in [0, 1].

    name: of a head, or of a single signal; ndcg: nDCG@10 with its 95 % interval.
    """

    name: str
    queries: int
    ndcg: Interval
    recall_1: float
    recall_10: float
    mrr: float


class UserFusion:
    """What `Library.fusion` gives: heads trained on the user's own queries, judged, and chosen from.

    The queries are those of `Library.feedback`, or, with `captions`, what a CSV says of items of the library.
    """

    def __init__(self, catalog: Catalog, indexes: Indexes, heads: Heads, encoder: Callable[[], Encoder]) -> None:
        self._catalog = catalog
        self._indexes = indexes
        self._heads = heads
        self._encoder = encoder

    @property
    def in_use(self) -> str:
        """The name of the head that answers."""
        return self._heads.in_use()

    def train(
        self,
        captions: Path | str | None = None,
        *,
        name: str | None = None,
        seed: int = 0,
        on_step: OnStep = lambda step, done, total: None,
    ) -> Trial:
        """Train a head, and let it answer if held-out queries show it to be surely better than the shipped one.

        name:    what to call it; `feedback` or `captions` if None. One of that name makes way for it.
        on_step: is told what is being done, how much of it is done, and of how much.

        Raises UsageError or BadManifest for too few queries, and MissingExtra without torch.
        """
        chosen = self._heads.check_name(name or ("feedback" if captions is None else "captions"))
        fit = fitter()
        examples, left_out = self._judged(captions, seed, on_step)
        return train(examples, self._heads, chosen, fit, left_out=left_out, seed=seed, on_step=on_step)

    def evaluate(
        self, captions: Path | str | None = None, *, on_step: OnStep = lambda step, done, total: None
    ) -> Figures:
        """How well the head in use answers. One that was trained on these very queries is flattered."""
        examples, _ = self._judged(captions, 0, on_step)
        return _figures(self.in_use, examples, head_scores(self._heads.current().head, examples))

    def compare(
        self, captions: Path | str | None = None, *, on_step: OnStep = lambda step, done, total: None
    ) -> list[Figures]:
        """How well every head answers, and every signal alone, the heads first. Heads are flattered as in evaluate."""
        examples, _ = self._judged(captions, 0, on_step)
        by_head = {name: head_scores(head, examples) for name, head in self._heads.usable()}
        return [_figures(name, examples, scores) for name, scores in (by_head | _signals(examples)).items()]

    def use(self, name: str) -> None:
        """Let the head of that name answer; `default` is the shipped one. Raises UsageError and HeadInvalid."""
        self._heads.use(name)

    def reset(self) -> int:
        """Let the shipped head answer, and delete all others; returns how many there were."""
        return self._heads.reset()

    def _judged(self, captions: Path | str | None, seed: int, on_step: OnStep) -> tuple[Examples, list[str]]:
        """The queries with what each finds, and what was left out of them."""
        if captions is None:
            queries, left_out = judged.from_feedback(self._catalog)
        else:
            queries, left_out = judged.from_captions(self._catalog, absolute(captions), seed)
        encoder, told = self._encoder(), partial(on_step, "measuring")
        found = collect(self._catalog, self._indexes, encoder, queries, on_done=lambda n: told(n, len(queries)))
        return (found if captions is not None else with_unseen(found, self._heads.load(DEFAULT))), left_out


def _figures(name: str, examples: Examples, scores: NDArray[np.floating]) -> Figures:
    hits, wanted = ranked(examples, scores), examples.wanted.astype(np.int64)
    return Figures(
        name=name,
        queries=len(examples),
        ndcg=interval(ndcg(examples, scores), examples.group.tolist()),
        recall_1=float(recall_at(hits, wanted, 1).mean()),
        recall_10=float(recall_at(hits, wanted, 10).mean()),
        mrr=float(mrr(hits).mean()),
    )


def _signals(examples: Examples) -> dict[str, NDArray[np.floating]]:
    """(N, C) the scores of each signal alone that any candidate has, by name."""
    z = np.where(examples.present, examples.views[..., _Z], LACKING)
    by_view = {view: z[..., at] for at, view in enumerate(VIEWS) if examples.present[..., at].any()}
    words = {"words": examples.views[..., _WORDS].max(axis=-1), "name": examples.items[..., _NAME]}
    return {f"signal {name}": scores for name, scores in ({"best view": examples.base} | by_view | words).items()}
