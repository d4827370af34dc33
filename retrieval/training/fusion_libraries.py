"""What the shipped fusion learns from: judged libraries of training photos and clips, asked as any library is."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mmsearch.retrieval.adapting.captioned import OnSkip
from mmsearch.retrieval.encoders import registry
from mmsearch.retrieval.encoders.base import Encoder
from mmsearch.retrieval.encoders.batches import unit_rows
from mmsearch.retrieval.evaluation.absent import taken_out
from mmsearch.retrieval.evaluation.examples import examples_of, join
from mmsearch.retrieval.evaluation.judged import LABELS, SHORT, SOUND, JudgedSet, judged_set, labelled_set, short_set
from mmsearch.retrieval.evaluation.remembering import Remembering
from mmsearch.retrieval.evaluation.subjects import Subject, read_clips, read_labelled, read_photos
from mmsearch.retrieval.fusion.examples import Examples
from mmsearch.retrieval.training.fusion_recipe import Estranged, FusionRecipe, Shard, Sources
from mmsearch.retrieval.training.sources import share

Say = Callable[[str], None]
Value = TypeVar("Value")
TAKEN_OUT = 1 / 3  # of the queries that calibrate
CALIBRATES = 0.15  # of the photos and clips
_APART = 1000  # between the seeds of two draws of a shard; more than there are shards


@dataclass(frozen=True, slots=True)
class Material:
    """Captioned photos, clips and labelled photos of the training splits."""

    photos: list[Subject]
    clips: list[Subject]
    labelled: list[Subject]

    @property
    def paths(self) -> list[Path]:
        """Every photo."""
        return [subject.photo for subject in (*self.photos, *self.labelled) if subject.photo is not None]


class Strange(Remembering):
    """Towers that know no photo well: each row is moved towards that of another photo, the same at every call."""

    def __init__(self, encoder: Encoder, folder: Path | None, others: Sequence[Path], how: Estranged) -> None:
        super().__init__(encoder, folder)
        self._others = others
        self._how = how

    def photos(
        self,
        paths: Sequence[Path],
        on_skip: OnSkip = lambda skipped: None,
        say: Say = lambda step: None,
    ) -> dict[Path, NDArray[np.float32]]:
        """The row (D,) of each photo that can be read, moved."""
        partners = {path: self._partner(path) for path in paths}
        rows = super().photos([*paths, *(other for other, _ in partners.values())], on_skip, say)
        return {
            path: unit_rows(((1 - far) * rows[path] + far * rows.get(other, rows[path]))[None])[0]
            for path, (other, far) in partners.items()
            if path in rows
        }

    def _partner(self, path: Path) -> tuple[Path, float]:
        """Another photo, and how far to go towards it."""
        digest = hashlib.blake2b(f"{path.parent.name}/{path.name}".encode(), digest_size=8).digest()
        rng = np.random.default_rng(int.from_bytes(digest, "big"))
        return self._others[int(rng.integers(len(self._others)))], rng.uniform(self._how.least, self._how.most)


def read_material(root: Path, sources: Sources) -> Material:
    """The training part of all sources. Raises BadManifest for a caption file that cannot be read."""
    pairs = zip(sources.captions, sources.images, strict=True)
    photos = [each for file, images in pairs for each in read_photos(root / file, root / images, "train")[0]]
    clips = [
        clip
        for file in sources.clips
        for clip in _some(read_clips(root / file), sources.most_clips, 0)
        if share(clip.name) >= sources.held_clips
    ]
    return Material(photos, clips, read_labelled(root / sources.labelled, held=False))


def libraries(recipe: FusionRecipe, material: Material, *, calibrating: bool) -> Iterator[JudgedSet]:
    """The judged sets of the shards that heads learn from, or of those that calibrate; no photo is in both."""
    rng = np.random.default_rng(recipe.seed)
    parts = Material(*(_shuffled(each, rng) for each in (material.photos, material.clips, material.labelled)))
    for at, shard in enumerate(recipe.shards):
        if shard.calibrates == calibrating:
            for draw in range(shard.draws):
                seed = at + _APART * draw
                drawn = Material(*(_some(each, count, seed) for each, count in _pools(parts, shard)))
                yield from _sets(shard, drawn, recipe.seed + seed)


def examples(
    sets: Sequence[JudgedSet], towers: Remembering, say: Say = lambda line: None, *, model: str = registry.BUNDLED
) -> Examples:
    """What the queries of all sets find, each in a library of its own. model: the name of the towers' model."""
    made = []
    for at, each in enumerate(sets, 1):
        made.append(examples_of(each, towers, model=model))
        say(f"library {at} of {len(sets)}: {len(each.items)} items, {len(each.queries)} queries")
    return join(made)


def _pools(parts: Material, shard: Shard) -> Iterator[tuple[list[Subject], int]]:
    """What a shard draws from, and how many; of all shuffled material, the first part calibrates."""
    for subjects, count in ((parts.photos, shard.photos), (parts.clips, shard.clips), (parts.labelled, shard.photos)):
        first = round(CALIBRATES * len(subjects))
        yield (subjects[:first] if shard.calibrates else subjects[first:]), count


def _sets(shard: Shard, material: Material, seed: int) -> Iterator[JudgedSet]:
    photos, clips, labelled = material.photos, material.clips, material.labelled
    how: dict[str, Any] = {"rotation": shard.rotation, "seed": seed, "twins": shard.twins}
    for regime, asked in shard.asked.items():
        if regime == SOUND:
            continue
        if regime == LABELS:
            made = labelled_set(labelled, clips, seed=seed)
        elif regime == SHORT:
            made = short_set(photos, clips, **how)
        else:
            made = judged_set(regime, photos, clips, labelled, **how)
        if shard.calibrates:
            made = taken_out(made, TAKEN_OUT, seed)
        own = [query for query in made.queries if query.regime == regime]
        sounds = [query for query in made.queries if query.regime == SOUND]
        chosen = (*_some(own, asked, seed), *_some(sounds, shard.asked.get(SOUND, 0), seed))
        yield replace(made, queries=chosen)


def _shuffled(subjects: Sequence[Subject], rng: np.random.Generator) -> list[Subject]:
    return [subjects[at] for at in rng.permutation(len(subjects)).tolist()]


def _some(values: Sequence[Value], count: int, seed: int) -> list[Value]:
    """So many of the values by chance, or all if there are fewer."""
    return [values[at] for at in np.random.default_rng(seed).permutation(len(values))[:count].tolist()]
