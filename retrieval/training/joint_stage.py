"""The joint stage: a head over the teacher's features and a turn of the text space, brought together by captions.

It costs seconds, and gives every pooled photo a vector of the shared space that the image tower can then imitate.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from mmsearch.retrieval.training.gather import Gathered
from mmsearch.retrieval.training.image_stage import recalls
from mmsearch.retrieval.training.labels import Labels
from mmsearch.retrieval.training.loop import Progress, Schedule, fit
from mmsearch.retrieval.training.losses import info_nce
from mmsearch.retrieval.training.placing import array, tensor


class JointHead(nn.Module):
    """(N, F) teacher features and (N, D) text vectors -> unit rows of one space."""

    def __init__(self, features: int, dim: int, inner: int = 1024, dropout: float = 0.3) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(features, affine=False)
        self.straight = nn.Linear(features, dim)
        self.bent = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(features, inner), nn.ReLU(), nn.Dropout(dropout), nn.Linear(inner, dim)
        )
        self.turn = nn.Linear(dim, dim)
        nn.init.eye_(self.turn.weight)
        nn.init.zeros_(self.turn.bias)
        self.log_scale = nn.Parameter(torch.tensor(3.0))

    def images(self, features: Tensor) -> Tensor:
        x = self.norm(features)
        return functional.normalize(self.straight(x) + self.bent(x), dim=-1)

    def texts(self, vectors: Tensor) -> Tensor:
        return functional.normalize(self.turn(vectors), dim=-1)

    @property
    def scale(self) -> Tensor:
        return self.log_scale.exp().clamp(max=60.0)


@dataclass(frozen=True, slots=True)
class JointData:
    """features (N, F) float32 of photos; captions: per captioned photo its rows of texts (T, D).

    posterior: (N, C) float16 the teacher's class probabilities, names (C, D) text vectors of those classes.
    dev: (features, texts, owner) of photos never trained on.
    """

    features: np.ndarray
    captioned: np.ndarray
    captions: list[np.ndarray]
    texts: np.ndarray
    labels: Labels
    posterior: np.ndarray
    names: np.ndarray
    dev: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]

    @classmethod
    def of(
        cls, features: np.ndarray, known: np.ndarray, gathered: Gathered, texts: np.ndarray, labels: Labels,
        classes: np.ndarray, dev: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]],
    ) -> JointData:  # fmt: skip
        """The photos that the teacher knows, numbered anew; every captioned photo must be among them."""
        place = np.full(len(features), -1)
        place[known] = np.arange(len(known))
        scores = gathered.scores[known].astype(np.float32)
        posterior = array(tensor(scores).softmax(-1))
        mine = replace(labels, of=labels.of[known], group=labels.group[known])
        return cls(
            features[known], place[gathered.captioned], gathered.caption_rows, texts, mine,
            posterior.astype(np.float16), classes, dev,
        )  # fmt: skip

    def without(self, fold: np.ndarray) -> JointData:
        """The same data less the captioned photos where `fold` is true."""
        gone = np.zeros(len(self.features), dtype=bool)
        gone[self.captioned[fold]] = True
        kept, place = np.flatnonzero(~gone), np.cumsum(~gone) - 1
        labels = replace(self.labels, of=self.labels.of[kept], group=self.labels.group[kept])
        return replace(
            self, features=self.features[kept], captioned=place[self.captioned[~fold]],
            captions=[rows for rows, out in zip(self.captions, fold, strict=True) if not out],
            labels=labels, posterior=self.posterior[kept],
        )  # fmt: skip


def out_of_fold(
    data: JointData, head: JointHead, schedule: Schedule, folder: Path, seed: int, progress: Progress
) -> np.ndarray:
    """(C, D) rows of the captioned photos, each by a head that never saw its captions, in `head`'s text space.

    A head's own photos come out near their captions, which no image tower can learn; these rows say what is seen.
    """
    rows = np.zeros((len(data.captioned), head.straight.out_features), dtype=np.float16)
    for part in (0, 1):
        fold = np.arange(len(data.captioned)) % 2 == part
        torch.manual_seed(seed + part)
        fresh = JointHead(head.straight.in_features, head.straight.out_features)
        fresh.turn.load_state_dict(head.turn.state_dict())
        fresh.log_scale.data.copy_(head.log_scale.data)
        fresh.turn.requires_grad_(False)
        fresh.log_scale.requires_grad_(False)
        objective = JointObjective(data.without(fold))
        fitted = fit(fresh, objective, schedule, folder, seed=seed, stage=f"fold{part}", progress=progress).eval()
        with torch.no_grad():
            unseen = tensor(data.features[data.captioned[fold]])
            rows[fold] = array(fitted.images(unseen))  # type: ignore[operator]
    return rows


class JointObjective:
    """Captions against photos, class names against labelled photos, and the teacher's own classes by name."""

    def __init__(self, data: JointData, *, labels: float = 0.3, posterior: float = 0.1, spread: float = 0.1) -> None:
        self.data, self.weights, self.spread = data, (labels, posterior), spread

    def loss(self, model: nn.Module, batch: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        assert isinstance(model, JointHead)
        data = self.data
        chosen = rng.choice(len(data.captioned), batch, replace=False)
        others = rng.choice(len(data.features), batch, replace=False)
        ids = np.concatenate([data.captioned[chosen], others])
        images = model.images(self.spread_out(tensor(data.features[ids]), rng))
        rows = np.array([rng.choice(data.captions[at]) for at in chosen])
        pair = info_nce(images[:batch], model.texts(tensor(data.texts[rows])), model.scale)
        label = data.labels.loss(images, model.texts(tensor(data.labels.vectors)), ids, model.scale)
        names = model.scale * images @ model.texts(tensor(data.names)).T
        wanted = tensor(data.posterior[ids].astype(np.float32))
        posterior = -(wanted * names.log_softmax(-1)).sum(-1).mean()
        total = pair + self.weights[0] * label + self.weights[1] * posterior
        parts = {"pair": pair, "label": label, "posterior": posterior}
        return total, {name: float(part.detach()) for name, part in parts.items()}

    def spread_out(self, features: Tensor, rng: np.random.Generator) -> Tensor:
        """Features times normal noise about one."""
        return features * (1 + self.spread * tensor(rng.standard_normal(features.shape, np.float32)))

    def measure(self, model: nn.Module) -> dict[str, float]:
        assert isinstance(model, JointHead)
        figures: dict[str, float] = {}
        for name, (features, texts, owner) in self.data.dev.items():
            images = array(model.images(tensor(features)))
            turned = array(model.texts(tensor(texts)))
            figures |= {f"{name}_{key}": value for key, value in recalls(turned @ images.T, owner).items()}
        return figures
