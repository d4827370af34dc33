"""What every head is: parameters, one forward over an array namespace, a score that adds to the best single one.

The forward is written once, with names that NumPy and torch share; xp is numpy at query time and torch in training.
"""

from __future__ import annotations

import zipfile
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from mmsearch.index.errors import HeadInvalid
from mmsearch.index.items import VIEWS
from mmsearch.retrieval.fusion.signals import ITEM_SIGNALS, QUERY_SIGNALS, VIEW_SIGNALS, Array, Signals

if TYPE_CHECKING:
    from mmsearch.retrieval.fusion.examples import Examples
    from mmsearch.retrieval.fusion.options import Options

Parameters = Mapping[str, Array]
CONSTANT = "input."  # parameters of such names standardise the signals; they are measured, not learned
CLIP = 5.0  # deviations from the training signals beyond which a signal says no more


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many of each there are: views, signals of a view, of an item, of a query, dimensions of a vector."""

    views: int = len(VIEWS)
    view_signals: int = len(VIEW_SIGNALS)
    items: int = len(ITEM_SIGNALS)
    query: int = len(QUERY_SIGNALS)
    dim: int = 0


class Head(ABC):
    """Makes one score of the signals of each candidate: the best single score plus a residual that was learned.

    name:       as in its file.
    parameters: float32 arrays by name; they start so that the residual is exactly 0.
    mixes_candidates: whether a candidate's residual depends on the other candidates' signals.
    method:     how explain shares the score out: `exact`, or `shapley` for a head that mixes its signals.
    dim:        the vectors' dimension that the head is bound to, None where it works with every model.
    """

    name: ClassVar[str]
    method: ClassVar[str] = "shapley"
    uses_vectors: ClassVar[bool] = False
    mixes_candidates: ClassVar[bool] = False

    def __init__(self, parameters: Mapping[str, NDArray[np.float32]]) -> None:
        self.parameters = dict(parameters)

    @classmethod
    @abstractmethod
    def initial(cls, sizes: Sizes, rng: np.random.Generator) -> dict[str, NDArray[np.float32]]:
        """Parameters of an untrained head, whose residual is 0."""

    @staticmethod
    @abstractmethod
    def residual(xp: Any, parameters: Parameters, signals: Signals) -> Array:
        """(…, C) what is added to the base, from standardised signals; xp is numpy or torch."""

    @classmethod
    def auxiliary(cls, xp: Any, parameters: Parameters, signals: Signals) -> Array | float:
        """A further loss of a head that learns something beside the ranking."""
        return 0.0

    @classmethod
    def untrained(cls, sizes: Sizes | None = None, seed: int = 0) -> Self:
        """A head that changes nothing."""
        sizes = sizes or Sizes()
        return cls(neutral_inputs(sizes) | cls.initial(sizes, np.random.default_rng(seed)))

    @classmethod
    def fit(cls, examples: Examples, options: Options | None = None, start: Head | None = None) -> Self:
        """The head learned from judged queries, from the parameters of start where given. Needs torch."""
        from mmsearch.retrieval.training.fusion import fit

        return fit(cls, examples, options, start)

    @property
    def dim(self) -> int | None:
        return int(self.parameters["input.dim"]) if self.uses_vectors else None

    @property
    def seen(self) -> NDArray[np.bool_]:
        """(V, S) the signals of views that it looks at, which spread in training; it is blind to the others."""
        return np.isfinite(self.parameters[f"{CONSTANT}views_scale"])

    def score(self, signals: Signals) -> NDArray[np.float64]:
        """(C,) float64 log odds, higher is better."""
        if not signals.base.size:
            return np.zeros(signals.base.shape)
        added = self.residual(np, self.parameters, standardise(np, self.parameters, signals))
        return np.asarray(signals.base, np.float64) + np.asarray(added, np.float64)

    def explain(self, signals: Signals, candidate: int) -> dict[str, float]:
        """What each signal added to the score of one candidate, by name; they sum to it. See method."""
        from mmsearch.retrieval.fusion.heads.shapley import shares

        return shares(self, signals, candidate)

    def save(self, path: Path) -> None:
        """Write the head; equal heads make equal files."""
        with path.open("wb") as file:
            np.savez(file, head=self.name, signals=_signal_names(), **self.parameters)  # type: ignore[arg-type]


def neutral_inputs(sizes: Sizes) -> dict[str, NDArray[np.float32]]:
    """Constants that leave every signal as it is."""
    shapes = {"views": (sizes.views, sizes.view_signals), "items": (sizes.items,), "query": (sizes.query,)}
    means = {f"{CONSTANT}{name}_mean": np.zeros(shape, np.float32) for name, shape in shapes.items()}
    scales = {f"{CONSTANT}{name}_scale": np.ones(shape, np.float32) for name, shape in shapes.items()}
    return means | scales | {f"{CONSTANT}dim": np.array(sizes.dim, np.float32)}


def standardise(xp: Any, parameters: Parameters, signals: Signals) -> Signals:
    """The signals as deviations from those of training, cut off at CLIP; 0 where a candidate lacks the view."""
    parts = {
        name: xp.clip(
            (getattr(signals, name) - parameters[f"{CONSTANT}{name}_mean"]) / parameters[f"{CONSTANT}{name}_scale"],
            -CLIP,
            CLIP,
        )
        for name in ("views", "items", "query")
    }
    return replace(signals, **parts | {"views": parts["views"] * signals.present[..., None]})


def read(path: Path) -> tuple[str, dict[str, NDArray[np.float32]]]:
    """The name and the parameters of the head in a file; HeadInvalid where it cannot be read or knows other signals."""
    try:
        # np.load would not close what it opened itself and cannot read.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
            name, signals = str(arrays.pop("head")), arrays.pop("signals").tolist()
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise HeadInvalid(path=path, reason=f"it cannot be read ({error})") from error
    if signals != _signal_names():
        raise HeadInvalid(path=path, reason="it was made for other signals than this version measures")
    return name, arrays


def _signal_names() -> list[str]:
    return [*VIEWS, *VIEW_SIGNALS, *ITEM_SIGNALS, *QUERY_SIGNALS]
