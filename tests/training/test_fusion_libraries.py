"""From a recipe to the libraries that fusion learns from, and to the files that are shipped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.models import COLOURS, make_tiny_model

from mmsearch.retrieval.encoders import registry
from mmsearch.retrieval.evaluation.judged import JudgedSet
from mmsearch.retrieval.training.fusion_libraries import Strange, libraries, read_material
from mmsearch.retrieval.training.fusion_recipe import Estranged, FusionRecipe, read_fusion_recipe

SHIPPED_RECIPE = Path(__file__).parents[2] / "recipes" / "fusion.toml"
RECIPE = """
ship = "product"
seed = 3
[sources]
captions = ["colours/captions.csv"]
images = ["colours"]
clips = ["sounds.csv"]
labelled = "labelled"
held_clips = 0.0
[estranged]
least = 0.2
most = 0.4
[options.every]
epochs = 2
hold = 0.3
[[shard]]
photos = 30
clips = 6
rotation = 0
asked = {photo = 10, mixed = 12, labels = 5, sound = 4, short = 3}
[[shard]]
photos = 30
clips = 6
rotation = 1
calibrates = true
asked = {photo = 6, caption = 6}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> FusionRecipe:
    """A recipe with 42 captioned photos, of which two are not for training, 20 clips and 14 labelled photos."""
    lines = ["split,image,caption"]
    (tmp_path / "colours").mkdir()
    for at in range(42):
        colour = list(COLOURS)[at % 7]
        name = f"{at:02}.png"
        Image.new("RGB", (8 + at, 8), COLOURS[colour]).save(tmp_path / "colours" / name)
        split = "train" if at < 40 else "dev"
        lines += [f"{split},{name},{colour} number {at} {word}" for word in ("plain", "flat", "even", "calm")]
    (tmp_path / "colours" / "captions.csv").write_text("\n".join(lines))
    clips = [f"{at}.wav,bell {at} rings,bell {at} sounds" for at in range(20)]
    (tmp_path / "sounds.csv").write_text("\n".join(["file_name,caption_1,caption_2", *clips]))
    for colour, value in COLOURS.items():
        folder = tmp_path / "labelled" / "set" / colour
        folder.mkdir(parents=True)
        for side in (9, 10):
            Image.new("RGB", (side, 11), value).save(folder / f"{side}.png")
    (tmp_path / "fusion.toml").write_text(RECIPE)
    return read_fusion_recipe(tmp_path / "fusion.toml")


def photos_of(sets: list[JudgedSet]) -> set[Path]:
    return {item.photo for each in sets for item in each.items if item.photo is not None}


def test_the_recipe_that_is_shipped_can_be_read() -> None:
    read = read_fusion_recipe(SHIPPED_RECIPE)
    assert read.ship == "concat"
    assert {shard.calibrates for shard in read.shards} == {False, True}
    assert read.options_of("shared") == read.options_of("every")
    assert read.options_of("product") != read.options_of("every")


def test_a_key_that_is_unknown_or_lacking_is_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(RECIPE.replace("clips = 6", "clipz = 6"))
    with pytest.raises(ValueError, match=r"unknown key clipz$"):
        read_fusion_recipe(path)
    path.write_text(RECIPE.replace('ship = "product"', ""))
    with pytest.raises(ValueError, match=r"lacks ship$"):
        read_fusion_recipe(path)


def test_what_calibrates_is_not_asked_by_a_word(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(RECIPE.replace("caption = 6", "short = 6"))
    with pytest.raises(ValueError, match=r"calibrates cannot ask short queries$"):
        read_fusion_recipe(path)


def test_only_the_training_split_is_learned_from(recipe: FusionRecipe) -> None:
    names = {
        photo.name
        for photo in photos_of(list(libraries(recipe, read_material(recipe.root, recipe.sources), calibrating=False)))
    }
    assert not names & {"40.png", "41.png"}


def test_no_photo_is_both_learned_from_and_calibrated_by(recipe: FusionRecipe) -> None:
    material = read_material(recipe.root, recipe.sources)
    learned, calibrated = (photos_of(list(libraries(recipe, material, calibrating=each))) for each in (False, True))
    assert learned
    assert calibrated
    assert not learned & calibrated


def test_each_library_is_asked_as_often_as_the_recipe_says(recipe: FusionRecipe) -> None:
    made = list(libraries(recipe, read_material(recipe.root, recipe.sources), calibrating=False))
    asked = [[query.regime for query in each.queries] for each in made]
    kinds = ("photo", "mixed", "labels", "short")
    assert [regimes.count(kind) for regimes, kind in zip(asked, kinds, strict=True)] == [10, 12, 5, 3]


def test_a_shard_is_drawn_as_often_as_the_recipe_says_and_each_time_anew(recipe: FusionRecipe) -> None:
    one, *rest = recipe.shards
    material = read_material(recipe.root, recipe.sources)
    once = list(libraries(recipe, material, calibrating=False))
    made = list(
        libraries(replace(recipe, shards=(replace(one, photos=8, draws=3), *rest)), material, calibrating=False)
    )
    assert [len(each.items) for each in made[::4]] == [14, 14, 14]
    assert len({frozenset(photos_of([each])) for each in made[::4]}) == 3
    again = libraries(replace(recipe, shards=(replace(one, draws=2), *rest)), material, calibrating=False)
    assert list(again)[: len(once)] == once


def test_twins_are_in_the_libraries_that_ask_for_them(recipe: FusionRecipe) -> None:
    one, *rest = recipe.shards
    with_twins = replace(recipe, shards=(replace(one, twins=1.0), *rest))
    made = next(iter(libraries(with_twins, read_material(recipe.root, recipe.sources), calibrating=False)))
    assert len(made.items) == 66  # 30 photos, as many twins, 6 clips
    assert all(len(query.relevant) == 2 for query in made.queries if query.regime == "photo")


def test_some_of_what_calibrates_is_asked_in_vain(recipe: FusionRecipe) -> None:
    made = list(libraries(recipe, read_material(recipe.root, recipe.sources), calibrating=True))
    found = [bool(query.relevant) for each in made for query in each.queries]
    assert set(found) == {False, True}


def test_equal_recipes_make_equal_libraries(recipe: FusionRecipe) -> None:
    one, other = (list(libraries(recipe, read_material(recipe.root, recipe.sources), calibrating=False)) for _ in "ab")
    assert one == other


def test_at_most_so_many_clips_of_a_file(recipe: FusionRecipe) -> None:
    assert len(read_material(recipe.root, replace(recipe.sources, most_clips=7)).clips) == 7


def test_a_strange_photo_is_moved_towards_another_and_always_alike(recipe: FusionRecipe, tmp_path: Path) -> None:
    encoder = registry.load(str(make_tiny_model(tmp_path / "model")), device="cpu")
    paths = read_material(recipe.root, recipe.sources).paths[:6]
    known, none, half = (Strange(encoder, None, paths, Estranged(far, far)).photos(paths) for far in (0.0, 0.0, 0.5))
    again = Strange(encoder, None, paths, Estranged(0.5, 0.5)).photos(paths[::-1])
    for path in paths:
        np.testing.assert_array_equal(known[path], none[path])
        np.testing.assert_allclose(half[path], again[path], rtol=1e-5)
        assert np.linalg.norm(half[path]) == pytest.approx(1, abs=1e-5)
    assert min(float(known[path] @ half[path]) for path in paths) < 0.95
    encoder.close()


def test_the_whole_recipe_writes_a_head_and_a_calibration(recipe: FusionRecipe, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from mmsearch.retrieval.fusion.calibration import Calibration
    from mmsearch.retrieval.fusion.heads import load
    from mmsearch.retrieval.training import train_fusion

    model = make_tiny_model(tmp_path / "model")
    brief = RECIPE.replace("photo = 10, mixed = 12, labels = 5, sound = 4, short = 3", "mixed = 12").replace(
        "photo = 6, ", ""
    )
    (tmp_path / "fusion.toml").write_text(brief)
    lines: list[str] = []
    out = train_fusion(tmp_path / "fusion.toml", out=tmp_path / "out", model=str(model), progress=lines.append)
    assert load(out / "shipped.npz").name == "product"
    assert np.isfinite(Calibration.load(out / "calibration.npz").hit).all()
    assert lines[0] == "40 photos, 20 clips, 11 labelled photos"  # three are held out
