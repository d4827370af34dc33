"""Tuning the text tower to what photos show: the tower and a joint head learn together, the photos' features kept.

The sentence teacher holds the tower back, so that captions of sounds and texts among texts are found as before.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from mmsearch.retrieval.training.image_stage import recalls
from mmsearch.retrieval.training.joint_stage import JointData, JointHead
from mmsearch.retrieval.training.losses import embedding_distillation
from mmsearch.retrieval.training.placing import array, tensor
from mmsearch.retrieval.training.text_stage import TextSet, embed_texts
from mmsearch.retrieval.training.text_tower import TextTower
from mmsearch.retrieval.training.tokenizing import trimmed


class TextAndHead(nn.Module):
    """The text tower with the head's turn as its last layer, and the head over photos' features."""

    def __init__(self, text: TextTower, head: JointHead) -> None:
        super().__init__()
        self.text, self.head = text, head
        text.turn.load_state_dict(head.turn.state_dict())
        text.turn.requires_grad_(True)
        head.turn.requires_grad_(False)


@dataclass(frozen=True, slots=True)
class TuneTexts:
    """The texts of a joint stage as tokens.

    captions: (T, L) int64 and teacher: (T, D) the sentence teacher's rows of data.texts.
    others:   further texts with their teacher's rows (sounds, class names). names: (K, L) tokens of the class names.
    dev:      per development set its captions' tokens.
    """

    captions: np.ndarray
    teacher: np.ndarray
    others: TextSet
    names: np.ndarray
    dev: dict[str, np.ndarray]


class TuneObjective:
    """Captions against photos and a bank of further photos, class names, and the sentence teacher before the turn.

    bank, other: photos and further texts a batch; names: steps after which the class names are embedded anew.
    """

    def __init__(
        self, data: JointData, texts: TuneTexts, *, bank: int = 600, other: int = 48, names: int = 40,
        labels: float = 0.2, teacher: float = 2.0, spread: float = 0.1,
    ) -> None:  # fmt: skip
        self.data, self.texts, self.spread = data, texts, spread
        self.bank, self.other, self.every = bank, other, names
        self.weights = (labels, teacher)
        self.free = np.flatnonzero(~texts.others.dev)
        self.labelled = np.flatnonzero(data.labels.of >= 0)
        self._names: Tensor | None = None
        self._age = 0

    def loss(self, model: nn.Module, batch: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        assert isinstance(model, TextAndHead)
        data = self.data
        chosen = rng.choice(len(data.captioned), min(batch, len(data.captioned)), replace=False)
        bank = rng.choice(len(data.captioned), min(self.bank, len(data.captioned)), replace=False)
        labelled = rng.choice(self.labelled, 300) if len(self.labelled) else np.zeros(0, dtype=np.int64)
        images = model.head.images(
            self._features(np.concatenate([data.captioned[chosen], data.captioned[bank], labelled]), rng)
        )
        ends = len(chosen), len(chosen) + len(bank)
        own, far, named = images[: ends[0]], images[ends[0] : ends[1]], images[ends[1] :]
        captions = np.array([rng.choice(data.captions[at]) for at in chosen])
        sentence = self._sentences(model.text, captions, rng)
        turned = functional.normalize(model.text.turn(sentence[: len(chosen)]), dim=-1)
        same = tensor(np.isin(data.captioned[bank], data.captioned[chosen]))
        pair = banked(turned, own, far, same, model.head.scale)
        label = self._label_loss(model, named, labelled)
        kept = embedding_distillation(sentence, self._wanted(captions))
        total = pair + self.weights[0] * label + self.weights[1] * kept
        parts = {"pair": pair, "label": label, "teacher": kept}
        return total, {name: float(part.detach()) for name, part in parts.items()}

    def _features(self, ids: np.ndarray, rng: np.random.Generator) -> Tensor:
        features = self.data.features[ids]
        noise = rng.standard_normal(features.shape, np.float32)
        return tensor(features * (1 + self.spread * noise))

    def _sentences(self, text: TextTower, captions: np.ndarray, rng: np.random.Generator) -> Tensor:
        """(B + O, D) rows before the turn, of the captions and of other texts."""
        others = rng.choice(self.free, min(self.other, len(self.free)), replace=False)
        self._drawn = others
        tokens = np.concatenate([self.texts.captions[captions], self.texts.others.tokens[others]])
        return text.sentence(tensor(trimmed(tokens)))

    def _wanted(self, captions: np.ndarray) -> Tensor:
        return tensor(np.concatenate([self.texts.teacher[captions], self.texts.others.teacher[self._drawn]]))

    def _label_loss(self, model: TextAndHead, images: Tensor, ids: np.ndarray) -> Tensor:
        if len(ids) == 0:
            return images.sum() * 0
        if self._names is None or self._age % self.every == 0:
            with torch.no_grad():
                self._names = tensor(embed_texts(model.text, self.texts.names))
        self._age += 1
        return self.data.labels.loss(images, self._names, ids, model.head.scale)

    def measure(self, model: nn.Module) -> dict[str, float]:
        assert isinstance(model, TextAndHead)
        figures: dict[str, float] = {}
        for name, (features, _, owner) in self.data.dev.items():
            images = array(model.head.images(tensor(features)))
            texts = embed_texts(model.text, self.texts.dev[name])
            figures |= {f"{name}_{key}": value for key, value in recalls(texts @ images.T, owner).items()}
        return figures


def banked(texts: Tensor, own: Tensor, far: Tensor, same: Tensor, scale: Tensor) -> Tensor:
    """Contrastive loss of (B, D) texts and their photos, the texts also against (M, D) further photos.

    same: (M,) bool, further photos that are in the batch too and so are no negatives.
    """
    near = scale * texts @ own.T
    wide = torch.cat([near, (scale * texts @ far.T).masked_fill(same[None], -1e4)], dim=1)
    target = torch.arange(len(texts), device=texts.device)
    return (functional.cross_entropy(wide, target) + functional.cross_entropy(near.T, target)) / 2
