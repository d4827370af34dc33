"""How the shipped fusion is made: judged libraries, a head that learns from them, and how sure its answers are."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import torch

from mmsearch.retrieval.encoders import registry
from mmsearch.retrieval.fusion.calibration import SHIPPED as CALIBRATION
from mmsearch.retrieval.fusion.heads import HEADS, SHIPPED, head_class
from mmsearch.retrieval.training.fusion import fit
from mmsearch.retrieval.training.fusion_calibration import calibrate, lists_of
from mmsearch.retrieval.training.fusion_libraries import Strange, examples, libraries, read_material
from mmsearch.retrieval.training.fusion_recipe import read_fusion_recipe

Say = Callable[[str], None]


def train_fusion(
    config: Path,
    *,
    out: Path | None = None,
    compare: Path | None = None,
    model: str = registry.BUNDLED,
    cache: Path | None = None,
    progress: Say = print,
) -> Path:
    """Train the head that the recipe ships and its calibration on a model's vectors; the folder they were written to.

    out:     where they go; without it they replace those that mmsearch ships.
    compare: a folder where a head of every kind goes, each trained alike.
    cache:   a folder where vectors are kept for the next run.
    """
    recipe = read_fusion_recipe(config)
    torch.set_num_threads(1)
    material = read_material(recipe.root, recipe.sources)
    progress(f"{len(material.photos)} photos, {len(material.clips)} clips, {len(material.labelled)} labelled photos")
    others = [subject.photo for subject in material.photos if subject.photo is not None]
    with closing(Strange(registry.load(model, device="cpu"), cache, others, recipe.estranged)) as towers:
        learn, calibrating = (
            examples(list(libraries(recipe, material, calibrating=each)), towers, progress, model=model)
            for each in (False, True)
        )
        towers.save()
    out = out or SHIPPED.parent
    out.mkdir(parents=True, exist_ok=True)
    for kind in HEADS if compare else (recipe.ship,):
        progress(f"{kind}:")
        head = fit(head_class(kind), learn, recipe.options_of(kind), say=progress)
        if compare:
            compare.mkdir(parents=True, exist_ok=True)
            head.save(compare / f"{kind}.npz")
        if kind == recipe.ship:
            head.save(out / SHIPPED.name)
            calibrate(lists_of(head, calibrating)).save(out / CALIBRATION.name)
    return out
