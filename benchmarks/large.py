"""A large library without a single photo: made-up scenes with the vectors that a model gives their words.

    python benchmarks/large.py FOLDER [--photos 100000] [--captioned] [--seed 0]

A photo's vector is that of its scene's caption with noise, turned towards a common centre as those of photos are; every
third file is named after what it shows, the others as cameras name them. Searches over it cost what they cost over
photos; what they find says nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmsearch.index.catalog import Catalog
from mmsearch.index.indexes import Indexes
from mmsearch.index.items import NewItem, NewRow
from mmsearch.retrieval import hubs
from mmsearch.retrieval.encoders import registry
from mmsearch.retrieval.opening import CATALOG_NAME, VECTORS_NAME

WORDS = [line.split("\t")[0] for line in (Path(__file__).parent / "words.tsv").read_text("utf-8").splitlines()]
SCENES = 2000
BATCH = 2000


def stage(folder: Path, photos: int, *, captioned: bool = False, seed: int = 0, model: str = registry.BUNDLED) -> None:
    """A library of so many made-up photos in an empty folder, as if that model had indexed them."""
    rng = np.random.default_rng(seed)
    encoder = registry.load(model, device="cpu")
    scenes = [_sentence(rng) for _ in range(SCENES)]
    meant = encoder.texts(scenes)
    folder.mkdir(parents=True)
    catalog = Catalog.open(folder / CATALOG_NAME)
    card = encoder.card
    catalog.set_meta(model=model, fingerprint=card.fingerprint, dim=str(card.dim))
    root = catalog.add_root(folder / "photos").id
    centre = _unit(rng.standard_normal(card.dim))
    items: list[NewItem] = []
    for item in _items(rng, root, photos, scenes, meant, centre, captioned):
        items.append(item)
        if len(items) == BATCH:
            catalog.record(items)
            items.clear()
    catalog.record(items)
    hubs.level(catalog, hubs.provide(model, folder / VECTORS_NAME, lambda: encoder))
    Indexes(catalog, folder / VECTORS_NAME, card.dim).save()
    catalog.compact()
    catalog.close()


def queries(count: int, seed: int = 1) -> list[str]:
    """What is asked of it: sentences of the words that its scenes are made of."""
    rng = np.random.default_rng(seed)
    return [_sentence(rng) for _ in range(count)]


def _items(
    rng: np.random.Generator,
    root: int,
    photos: int,
    scenes: list[str],
    meant: NDArray[np.float32],
    centre: NDArray[np.float32],
    captioned: bool,
) -> Iterator[NewItem]:
    for number in range(photos):
        scene = int(rng.integers(SCENES))
        seen = _unit(0.7 * centre + 0.6 * meant[scene] + 0.4 * _unit(rng.standard_normal(len(centre))))
        rows = [NewRow("image", f"photo {number}", seen.astype(np.float16))]
        if captioned:
            said = f"{scenes[scene]} and {rng.choice(WORDS)} {number}"
            near = _unit(meant[scene] + 0.3 * _unit(rng.standard_normal(len(centre))))
            rows.append(NewRow("caption", f"text {number}", near.astype(np.float16), said))
        name = scenes[scene].split()[1] if number % 3 == 0 else "IMG"
        path = f"{2000 + number % 25}/{name}_{number:07}.jpg"
        yield NewItem(root, path, "image", 1, 1, "", f"digest {number}", "2024-05-01T12:00:00", rows=tuple(rows))


def _sentence(rng: np.random.Generator) -> str:
    """Four words, some far more common than others, as in captions."""
    common = 1 / np.arange(1, len(WORDS) + 1)
    one, two, three, four = rng.choice(WORDS, 4, replace=False, p=common / common.sum())
    return f"a {one} with a {two} in front of the {three} {four}"


def _unit(vector: NDArray[np.floating]) -> NDArray[np.float32]:
    return (vector / np.linalg.norm(vector)).astype(np.float32)


if __name__ == "__main__":
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("folder", type=Path)
    ask.add_argument("--photos", type=int, default=100_000)
    ask.add_argument("--captioned", action="store_true")
    ask.add_argument("--seed", type=int, default=0)
    want = ask.parse_args()
    stage(want.folder, want.photos, captioned=want.captioned, seed=want.seed)
