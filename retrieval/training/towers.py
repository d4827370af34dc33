"""From a recipe to a model directory: pool, text tower, joint space, image tower, export.

Every step keeps its result in the work folder and is passed over when that is already there, so a run that was
stopped goes on where it was.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer

from mmsearch.retrieval.devices import choose
from mmsearch.retrieval.training.batches import Views
from mmsearch.retrieval.training.config import Recipe, read_recipe
from mmsearch.retrieval.training.corpus import (
    PROMPT,
    Sentence,
    Texts,
    captions_of,
    names_of,
    plain,
    sentence_vectors,
    table_of,
    text_set,
)
from mmsearch.retrieval.training.gather import Gathered, gather
from mmsearch.retrieval.training.image_stage import DevPhotos, ImageImitation, ImageWeights, PhotoTargets
from mmsearch.retrieval.training.image_tower import ImageTower, ImageTowerShape
from mmsearch.retrieval.training.joint_stage import JointData, JointHead, JointObjective, out_of_fold
from mmsearch.retrieval.training.labels import Labels
from mmsearch.retrieval.training.loop import Schedule, fit
from mmsearch.retrieval.training.placing import array, placed, tensor
from mmsearch.retrieval.training.pool import Shelf, build_source, open_shelf
from mmsearch.retrieval.training.refit import RefitEmbedding, RefitObjective, refit_data, start_head
from mmsearch.retrieval.training.ridge import bag_vectors, start_from, token_vectors
from mmsearch.retrieval.training.shipping import ship
from mmsearch.retrieval.training.text_stage import TextImitation, TextSet, embed_texts, rotated
from mmsearch.retrieval.training.text_tower import TextTower, TextTowerShape
from mmsearch.retrieval.training.tokenizing import token_array, train_tokenizer
from mmsearch.retrieval.training.tune_stage import TextAndHead, TuneObjective, TuneTexts

Progress = Callable[[str], None]


def train_towers(
    config_path: Path, *, out: Path | None = None, device: str = "auto", progress: Progress = print
) -> Path:
    """Train both towers as the recipe says and write a model directory; returns its path.

    config_path: a TOML recipe (recipes/bundled.toml shows every key).
    device:      auto, cpu, cuda or cuda:N, as `devices.choose` takes them; of several GPUs the first.
    out:         the work folder; beside the recipe, named after it, where none is given. The model is in OUT/model.
    """
    recipe = read_recipe(config_path)
    work = out or config_path.parent / recipe.name
    work.mkdir(parents=True, exist_ok=True)
    with placed(choose(device).split(",")[0]):
        return _Training(recipe, work, progress).all()


@dataclass
class _Training:
    recipe: Recipe
    work: Path
    progress: Progress

    def all(self) -> Path:
        torch.manual_seed(self.recipe.seed)
        shelves = self.shelves()
        pool = self.recipe.section("pool")
        gathered = gather(shelves, int(pool.get("apart_bits", 6)), int(pool.get("uncaptioned", 0)))
        text = self.text_tower(shelves, gathered)
        space = self.space(gathered, text)
        image = self.image_tower(gathered, space)
        if self.recipe.section("refit"):
            space = self.refit(gathered, space, image)
        return ship(self.recipe, self.work, image, space.turned_tower(), text.tokenizer, gathered, self.progress)

    def shelves(self) -> list[Shelf]:
        """The decoded pool, with the teacher's features where the recipe names one."""
        pool = self.work / "pool"
        for source in self.recipe.sources:
            build_source(source, self.recipe.root, pool, self.recipe.side, self.progress)
        shelves = [open_shelf(source, pool) for source in self.recipe.sources]
        if self.recipe.section("teacher").get("path"):
            from mmsearch.retrieval.training.teachers import teach

            teach(shelves, self.recipe.section("teacher"), self.recipe.root, self.progress)
        return shelves

    def text_tower(self, shelves: list[Shelf], gathered: Gathered) -> _Text:
        """The tokenizer, and the text tower after its own stage."""
        settings = dict(self.recipe.section("text"))
        sentences = self._sentences(shelves, settings)
        tokenizer = self._tokenizer(sentences, settings)
        shape = TextTowerShape(vocabulary=tokenizer.get_vocab_size(), **settings.get("shape", {}))
        tower = TextTower(shape)
        tokens = token_array(tokenizer, [sentence.text for sentence in sentences], shape.context)
        trained = np.flatnonzero([not sentence.dev for sentence in sentences])
        teacher = self._text_teacher(settings.get("teacher"), sentences, tokens, shape, trained)
        if not (self.work / "text.pt").exists():
            start_from(tower, token_vectors(tokens[trained], teacher[trained], shape.vocabulary))
        texts = text_set(sentences, tokens, teacher)
        objective = TextImitation(texts, pairs=settings.get("pairs", 0.05))
        tower = self._fit(tower, objective, "text", settings["schedule"])
        return _Text(tokenizer, tower.eval(), texts, {s.text: at for at, s in enumerate(sentences)})

    def _text_teacher(
        self,
        package: str | None,
        sentences: list[Sentence],
        tokens: np.ndarray,
        shape: TextTowerShape,
        trained: np.ndarray,
    ) -> np.ndarray:
        """(T, dim) float32 unit rows of the sentence model, or of a bag of tokens where the recipe names none."""
        if not package:
            return bag_vectors(tokens, shape.vocabulary, shape.dim, self.recipe.seed)
        rows = sentence_vectors(package, [s.text for s in sentences], self.work / "sentences.npy")
        return rotated(rows.astype(np.float32), shape.dim, trained)

    def _sentences(self, shelves: list[Shelf], settings: dict[str, Any]) -> list[Sentence]:
        tables = [Texts(**{**table, "columns": tuple(table["columns"])}) for table in settings.get("tables", [])]
        further = [sentence for table in tables for sentence in table_of(table, self.recipe.root)]
        return captions_of(shelves) + names_of(shelves, self._classes()) + further

    def _classes(self) -> list[str]:
        path = self.recipe.section("teacher").get("classes")
        lines = (self.recipe.root / path).read_text(encoding="utf-8").splitlines() if path else []
        return [line.split(",")[0].strip() for line in lines]

    def _tokenizer(self, sentences: list[Sentence], settings: dict[str, Any]) -> Tokenizer:
        path = self.work / "tokenizer.json"
        if not path.exists():
            seen = [sentence.text for sentence in sentences if not sentence.dev]
            train_tokenizer(seen, int(settings.get("vocabulary", 8000))).save(str(path))
        return Tokenizer.from_file(str(path))

    def space(self, gathered: Gathered, text: _Text) -> _Space:
        """The joint space: every photo's vector in it, the captions' and the class names', tuned where asked."""
        texts, classes = text.embed(gathered.captions), text.embed(self._classes())
        features = gathered.features.astype(np.float32)
        dev = {
            name: (part.features.astype(np.float32), text.embed(part.captions), part.owner)
            for name, part in gathered.dev.items()
        }
        known = np.flatnonzero(gathered.known)
        data = JointData.of(features, known, gathered, texts, label_vectors(gathered, text), classes, dev)
        settings = self.recipe.section("joint")
        head = JointHead(features.shape[1], texts.shape[1])
        head = self._fit(head, JointObjective(data), "joint", settings["schedule"]).eval()
        text, head = self._tuned(gathered, data, head, text)
        data = text.of(data, gathered)
        schedule = Schedule(**settings["schedule"])
        rows = out_of_fold(data, head, schedule, self.work, self.recipe.seed, self.progress)
        return _Space.of(head, text, features, known, rows, data, label_vectors(gathered, text))

    def image_tower(self, gathered: Gathered, space: _Space) -> ImageTower:
        """All image stages of the recipe, each from the averaged weights of the one before."""
        torch.manual_seed(self.recipe.seed)
        shape = ImageTowerShape(**{key: _tupled(value) for key, value in self.recipe.section("image").items()})
        tower = ImageTower(shape)
        tower.to(memory_format=torch.channels_last)
        basis = gathered.basis(shape.teacher_dim)
        dev = {
            name: DevPhotos(part.pixels, basis(part.features), space.dev_texts[name], part.owner)
            for name, part in gathered.dev.items()
        }
        targets = PhotoTargets(
            basis(gathered.features), space.photos, gathered.weights, gathered.known, space.labels
        )  # fmt: skip
        for stage in self.recipe.stages:
            weights = ImageWeights(**stage["weights"], views=Views(**stage["views"]))
            objective = ImageImitation(
                gathered.pool, targets, dev, weights, gathered.captioned, gathered.caption_rows, space.texts
            )
            # The next stage goes on from the average, which the optimiser of this one left untouched.
            tower = self._fit(tower, objective, stage["name"], stage["schedule"]).requires_grad_(True)
        tower.eval()
        return tower

    def refit(self, gathered: Gathered, space: _Space, tower: ImageTower) -> _Space:
        """Give the image tower a new head over its pooled maps."""
        settings = self.recipe.section("refit")
        pixels = {name: part.pixels for name, part in gathered.dev.items()}
        known = np.flatnonzero(gathered.known)
        data = refit_data(tower, gathered.pool, space.data, known, pixels)
        head = start_head(tower, space.head, data.features, settings.get("inner", 768), settings.get("dropout", 0.6))
        rows = np.concatenate([space.photos[known], space.photos[gathered.captioned]])  # the mirrored ones come last
        guide = tuple(settings.get("guide", (0.0, 0.0)))
        objective = RefitObjective(data, rows, spread=settings.get("spread", 0.3), guide=guide)
        head = self._fit(head, objective, "refit", settings["schedule"]).eval()
        tower.embed = RefitEmbedding(head)
        return replace(space, head=head)

    def _tuned(self, gathered: Gathered, data: JointData, head: JointHead, text: _Text) -> tuple[_Text, JointHead]:
        """The text tower and the head after learning together; as they were where the recipe has no such stage."""
        settings = self.recipe.section("tune")
        if not settings:
            return text, head
        rows = np.array([text.place[caption] for caption in gathered.captions])
        names = text.tokens([PROMPT.format(plain(name)) for name in gathered.names])
        dev = {name: text.tokens(part.captions) for name, part in gathered.dev.items()}
        texts = TuneTexts(text.texts.tokens[rows], text.texts.teacher[rows], text.texts, names, dev)
        further = {key: value for key, value in settings.items() if key != "schedule"}
        both = TextAndHead(copy.deepcopy(text.tower), copy.deepcopy(head))
        both = self._fit(both, TuneObjective(data, texts, **further), "tune", settings["schedule"]).eval()
        both.head.turn.load_state_dict(both.text.turn.state_dict())
        # The head's texts are given before the turn, so the kept tower must answer without it until it is shipped.
        plain_tower = copy.deepcopy(both.text)
        torch.nn.init.eye_(plain_tower.turn.weight)
        torch.nn.init.zeros_(plain_tower.turn.bias)
        return replace(text, tower=plain_tower), both.head

    def _fit(self, model: Any, objective: Any, stage: str, schedule: dict[str, Any]) -> Any:
        return fit(
            model,
            objective,
            Schedule(**schedule),
            self.work,
            seed=self.recipe.seed,
            stage=stage,
            progress=self.progress,
        )


@dataclass(frozen=True)
class _Text:
    tokenizer: Tokenizer
    tower: TextTower
    texts: TextSet
    place: dict[str, int]  # of each text, its row of `texts`

    def tokens(self, texts: list[str]) -> np.ndarray:
        """(T, L) int64."""
        return token_array(self.tokenizer, texts, self.tower.shape.context)

    def of(self, data: JointData, gathered: Gathered) -> JointData:
        """The same data with this tower's rows for all texts."""
        labels = replace(data.labels, vectors=label_vectors(gathered, self).vectors)
        dev = {
            name: (features, self.embed(gathered.dev[name].captions), owner)
            for name, (features, _, owner) in data.dev.items()
        }
        return replace(data, texts=self.embed(gathered.captions), labels=labels, dev=dev)

    def embed(self, texts: list[str]) -> np.ndarray:
        """(T, D) float32 unit rows."""
        if not texts:
            return np.zeros((0, self.tower.shape.dim), dtype=np.float32)
        with torch.no_grad():
            return embed_texts(self.tower, self.tokens(texts))


@dataclass(frozen=True)
class _Space:
    """The joint space. photos (N, D) float16, zeros where unknown; texts (T, D) of the captions, turned into it."""

    head: JointHead
    text: _Text
    photos: np.ndarray
    texts: np.ndarray
    labels: Labels
    dev_texts: dict[str, np.ndarray]
    data: JointData

    @classmethod
    @torch.no_grad()
    def of(
        cls, head: JointHead, text: _Text, features: np.ndarray, known: np.ndarray, folded: np.ndarray,
        data: JointData, labels: Labels,
    ) -> _Space:  # fmt: skip
        photos = np.zeros((len(features), folded.shape[1]), dtype=np.float16)
        photos[known] = array(head.images(tensor(features[known])))
        photos[known[data.captioned]] = folded
        turned = {name: array(head.texts(tensor(texts))) for name, (_, texts, _) in data.dev.items()}
        names = replace(labels, vectors=array(head.texts(tensor(labels.vectors))))
        return cls(head, text, photos, array(head.texts(tensor(data.texts))), names, turned, data)

    @torch.no_grad()
    def turned_tower(self) -> TextTower:
        """The text tower with the head's turn as its last layer."""
        tower = copy.deepcopy(self.text.tower)
        tower.turn.load_state_dict(self.head.turn.state_dict())
        return tower


def label_vectors(gathered: Gathered, text: _Text) -> Labels:
    """Class names as vectors: the mean of the bare name and of a prompt."""
    names = gathered.names
    both = text.embed([plain(name) for name in names]) + text.embed([PROMPT.format(plain(name)) for name in names])
    unit = both / np.maximum(np.linalg.norm(both, axis=1, keepdims=True), 1e-9)
    return Labels(unit.astype(np.float32), gathered.label, gathered.rivals, gathered.group)


def _tupled(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
