"""Candidates and examples made by hand, for the tests of signals and heads."""

import math

import numpy as np

from mmsearch.retrieval.candidates import Candidates, VectorsOf
from mmsearch.retrieval.encoders.base import ModelCard
from mmsearch.retrieval.fusion.examples import Examples
from mmsearch.retrieval.fusion.signals import Signals, measure
from mmsearch.retrieval.types import Preprocess

NAN = math.nan
DIM = 4
CARD = ModelCard(
    name="hand",
    dim=DIM,
    fingerprint="f",
    preprocess=Preprocess(8),
    context_length=16,
    null={
        "text": {"image": (0.1, 0.1), "text": (0.3, 0.2)},
        "image": {"image": (0.4, 0.1), "text": (0.1, 0.1)},
    },
    calibration={"text": {"image": (1.0, -2.0), "text": (2.0, -4.0)}},
)


def random_candidates(count: int, rng: np.random.Generator) -> Candidates:
    """Candidates that have some of their views, at least one."""
    present = rng.random((count, 4)) < 0.6
    present[np.arange(count), rng.integers(4, size=count)] = True
    vectors = rng.normal(size=(count, 4, DIM)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    words = np.where(present, rng.random((count, 4)) * 9, NAN).astype(np.float32)
    words[:, 0] = NAN
    name = (rng.random(count) * (rng.random(count) < 0.5)).astype(np.float32)
    return Candidates(
        items=np.arange(count),
        rows=np.where(present, np.arange(count * 4).reshape(count, 4), -1),
        cosine=np.where(present, rng.normal(0.3, 0.2, (count, 4)), NAN).astype(np.float32),
        hubness=np.where(present, rng.normal(0.4, 0.05, (count, 4)), NAN).astype(np.float32),
        words=words,
        name=name,
        name_coverage=name / np.float32(2),
        vectors=by_column(vectors * present[..., None]),
    )


def by_column(vectors: np.ndarray) -> VectorsOf:
    """What gives the vectors (C, V, D) of a column, as candidates do."""
    return lambda column: vectors[:, column]


def random_signals(count: int, seed: int = 0) -> Signals:
    """The signals of random candidates of a random query."""
    rng = np.random.default_rng(seed)
    target = rng.normal(size=DIM).astype(np.float32)
    return measure(CARD, ["a", "dog"], target / np.linalg.norm(target), random_candidates(count, rng))


def examples_of(lists: list[Signals], right: list[int]) -> Examples:
    """Judged queries of equally long lists, each with one right candidate, each a group of its own."""
    stacked = {name: np.stack([getattr(each, name) for each in lists]) for name in Signals.__slots__}
    vectors = stacked.pop("vectors")
    count, length = stacked["base"].shape
    relevant = np.arange(length) == np.array(right)[:, None]
    return Examples(
        **{name: stacked[name] for name in ("odds", "base", "views", "present", "items", "query", "valid")},
        table=vectors.reshape(-1, vectors.shape[-1]).astype(np.float16),
        rows=np.where(stacked["present"], np.arange(vectors[..., 0].size).reshape(vectors.shape[:-1]), -1).astype(
            np.int32
        ),
        targets=stacked["target"].astype(np.float16),
        relevant=relevant,
        wanted=np.ones(count, np.int32),
        has=stacked["present"][relevant],
        group=np.arange(count).astype(np.str_),
        regime=np.full(count, "mixed"),
    )
