"""Training a fusion head on judged queries, in torch; what comes out is scored in NumPy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmsearch.index.items import VIEWS
from mmsearch.retrieval.fusion.examples import Examples
from mmsearch.retrieval.fusion.heads.base import CONSTANT, Head, Sizes, standardise
from mmsearch.retrieval.fusion.options import Options
from mmsearch.retrieval.fusion.signals import LACKING, VIEW_SIGNALS, Signals
from mmsearch.retrieval.training.fusion_losses import LOSSES

AnyHead = TypeVar("AnyHead", bound=Head)
Say = Callable[[str], None]
Places = NDArray[np.int64]
_LEAST_SCALE = 0.05  # of a signal that hardly varies in training


def fit(
    kind: type[AnyHead],
    examples: Examples,
    options: Options | None = None,
    start: Head | None = None,
    say: Say = lambda line: None,
) -> AnyHead:
    """The head of that kind with the lowest loss, among those after each epoch and the start, on groups held out.

    start: a head of the same kind to go on from; an untrained one otherwise. Queries whose right item is not among
    the candidates teach nothing and are passed over.
    """
    options = options or Options()
    torch.manual_seed(options.seed)
    rng = np.random.default_rng(options.seed)
    steps, held = _split(examples, options, rng)
    run = _Run(kind, dict((start or _fresh(kind, examples, steps, options)).parameters), options)
    if not len(steps):
        return kind(run.arrays())
    held = held if len(held) else steps  # too few to keep any out
    best, best_epoch, best_loss = run.arrays(), 0, run.loss(examples, held)
    say(f"before: loss {best_loss:.4f}")
    for epoch in range(1, options.epochs + 1):
        batches = _batches(examples, steps, kind, options, rng)
        losses = [run.step(_hidden(signals, options, rng), relevant) for signals, relevant in batches]
        loss = run.loss(examples, held)
        say(f"epoch {epoch}: loss {np.mean(losses):.4f}, held out {loss:.4f}")
        if loss < best_loss:
            best, best_epoch, best_loss = run.arrays(), epoch, loss
        elif epoch - best_epoch >= options.patience:
            break
    return kind(best)


class _Run:
    """The parameters as tensors, and the optimiser that moves them."""

    def __init__(self, kind: type[Head], parameters: dict[str, NDArray[np.float32]], options: Options) -> None:
        self.kind = kind
        self.options = options
        self.constants = {name: torch.tensor(value) for name, value in parameters.items() if name.startswith(CONSTANT)}
        self.learned = {
            name: torch.tensor(value, requires_grad=True)
            for name, value in parameters.items()
            if not name.startswith(CONSTANT)
        }
        self.start = {name: value.detach().clone() for name, value in self.learned.items()}
        self.optimiser = torch.optim.Adam(self.learned.values(), lr=options.rate)

    def step(self, signals: Signals, relevant: Tensor) -> float:
        """One step down the gradient of a batch; its loss before."""
        loss = self._loss(signals, relevant).mean() + self._auxiliary(signals)
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        with torch.no_grad():
            for name, value in self.learned.items():
                value -= self.options.rate * self.options.decay * (value - self.start[name])
        return loss.item()

    @torch.no_grad()
    def loss(self, examples: Examples, places: Places) -> float:
        """The mean loss of the queries at those places."""
        parts = [
            self._loss(*_tensors(examples, chosen, self.kind)).numpy()
            for chosen in np.array_split(places, max(1, len(places) // 256))
        ]
        return float(np.concatenate(parts).mean())

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """The parameters as they are now."""
        return {name: value.detach().numpy().copy() for name, value in (self.constants | self.learned).items()}

    def _loss(self, signals: Signals, relevant: Tensor) -> Tensor:
        parameters = self.constants | self.learned
        scores = signals.base + self.kind.residual(torch, parameters, standardise(torch, parameters, signals))
        return LOSSES[self.options.loss](scores, relevant, signals.valid)

    def _auxiliary(self, signals: Signals) -> Tensor | float:
        parameters = self.constants | self.learned
        return self.kind.auxiliary(torch, parameters, standardise(torch, parameters, signals))


def _split(examples: Examples, options: Options, rng: np.random.Generator) -> tuple[Places, Places]:
    """Places of the queries to step by and of those held out, no group on both sides."""
    groups, of = np.unique(examples.group, return_inverse=True)
    held_groups = rng.permutation(len(groups)) < round(options.hold * len(groups))
    taught = examples.relevant.any(axis=1)
    return np.flatnonzero(taught & ~held_groups[of]), np.flatnonzero(taught & held_groups[of])


def _fresh(kind: type[AnyHead], examples: Examples, places: Places, options: Options) -> AnyHead:
    """An untrained head that standardises by the signals of some of those queries."""
    sizes = Sizes(dim=examples.table.shape[1] if kind.uses_vectors else 0)
    head = kind.untrained(sizes, options.seed)
    if not len(places):
        return head
    some = np.random.default_rng(options.seed).permutation(places)[:2000]
    signals = examples.signals(some, vectors=False)
    parts = {"items": signals.items[signals.valid], "query": signals.query}
    for name, values in parts.items():
        head.parameters[f"{CONSTANT}{name}_mean"] = values.mean(axis=0)
        head.parameters[f"{CONSTANT}{name}_scale"] = np.maximum(values.std(axis=0), _LEAST_SCALE)
    for view in range(sizes.views):
        values = signals.views[..., view, :][signals.present[..., view]]
        if len(values) > 1:
            head.parameters[f"{CONSTANT}views_mean"][view] = values.mean(axis=0)
            head.parameters[f"{CONSTANT}views_scale"][view] = np.maximum(values.std(axis=0), _LEAST_SCALE)
    for blind in options.blind:
        named, signal = blind.split(".")
        head.parameters[f"{CONSTANT}views_scale"][VIEWS.index(named), VIEW_SIGNALS.index(signal)] = np.inf
    return head


def _batches(
    examples: Examples, places: Places, kind: type[Head], options: Options, rng: np.random.Generator
) -> Iterator[tuple[Signals, Tensor]]:
    for chosen in np.array_split(rng.permutation(places), max(1, len(places) // options.batch)):
        yield _tensors(examples, chosen, kind)


def _tensors(examples: Examples, places: Places, kind: type[Head]) -> tuple[Signals, Tensor]:
    signals = examples.signals(places, vectors=kind.uses_vectors)
    tensors = {name: torch.from_numpy(getattr(signals, name)) for name in Signals.__slots__}
    return Signals(**tensors), torch.from_numpy(examples.relevant[places])


def _hidden(signals: Signals, options: Options, rng: np.random.Generator) -> Signals:
    """The signals with views hidden by chance (modality dropout, Neverova et al. 2015); every candidate keeps one."""
    shape = signals.present.shape
    kept = torch.from_numpy(rng.random(shape) >= options.drop)
    photos_only = torch.from_numpy(rng.random(shape[0]) < options.drop_captions)
    kept[photos_only] = torch.arange(shape[-1]) == 0
    present = signals.present & kept
    present = torch.where(present.any(-1, keepdim=True), present, signals.present)
    odds = torch.where(present, signals.odds, LACKING)
    return replace(signals, odds=odds, base=odds.amax(-1), views=signals.views * present[..., None], present=present)
