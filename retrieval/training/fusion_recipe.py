"""A fusion recipe: a TOML file read into frozen values, unknown keys refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from mmsearch.retrieval.evaluation.judged import SHORT
from mmsearch.retrieval.fusion.options import Options
from mmsearch.retrieval.training.config import data_root, read_as, read_table


@dataclass(frozen=True, slots=True)
class Shard:
    """Libraries of the same photos and clips, drawn by chance, one for each regime.

    photos, clips: how many.
    rotation:      which caption of each photo is asked.
    draws:         how many times photos and clips are drawn, for libraries of their own.
    twins:         share of the photos of which another item says the same, as in `judged_set`.
    asked:         queries of each library by regime; `labels` stands for a library of labelled photos, `short` for one
                   asked by a word or two, `sound` for queries for clips, asked of each of the libraries.
    calibrates:    True for a library that says how sure answers are, and that no head learns from; of a third of its
                   queries the right items are taken out. It asks no `short` ones: most photos would go with them.
    """

    photos: int
    clips: int
    rotation: int
    asked: dict[str, int]
    draws: int = 1
    twins: float = 0.0
    calibrates: bool = False

    def __post_init__(self) -> None:
        if self.calibrates and SHORT in self.asked:
            raise ValueError(f"a shard that calibrates cannot ask {SHORT} queries")


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the material lies, relative to the root.

    captions: caption files with a column split, of which `train` is used. images: their photos, a folder each.
    clips:    caption files of sounds, of each at most most_clips. held_clips: share kept out, by a hash of the name.
    labelled: a folder of SET/LABEL/photo.
    """

    captions: tuple[str, ...]
    images: tuple[str, ...]
    clips: tuple[str, ...]
    labelled: str
    most_clips: int = 4000
    held_clips: float = 0.12


@dataclass(frozen=True, slots=True)
class Estranged:
    """How far the photos' vectors are moved towards those of other photos, as shares of the way drawn between two.

    The towers know the photos that they were trained on better than they will know a user's.
    """

    least: float = 0.0
    most: float = 0.0


@dataclass(frozen=True, slots=True)
class FusionRecipe:
    """All that the shipped fusion is made of.

    ship:    the kind of head that is shipped.
    root:    where the data lies: $MMSEARCH_DATA, else `root` in the file, else the file's folder.
    options: by kind of head; `every` holds for the kinds that have none of their own.
    """

    ship: str
    seed: int
    root: Path
    sources: Sources
    estranged: Estranged
    shards: tuple[Shard, ...]
    options: dict[str, Options] = field(default_factory=dict)

    def options_of(self, kind: str) -> Options:
        """The settings by which a kind of head is trained."""
        return self.options.get(kind, self.options.get("every", Options()))


def read_fusion_recipe(path: Path) -> FusionRecipe:
    """Read a recipe; raises ValueError naming the key that is missing or unknown, or what cannot be asked."""
    table = read_table(path, {"ship", "seed", "sources", "shard"})
    return FusionRecipe(
        ship=table["ship"],
        seed=table["seed"],
        root=data_root(table, path),
        sources=read_as(Sources, table["sources"], path),
        estranged=read_as(Estranged, table.get("estranged", {}), path),
        shards=tuple(read_as(Shard, each, path) for each in table["shard"]),
        options={kind: read_as(Options, each, path) for kind, each in table.get("options", {}).items()},
    )
