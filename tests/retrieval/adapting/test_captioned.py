from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.models import COLOURS, make_tiny_model

from mmsearch.index.errors import BadManifest
from mmsearch.retrieval.adapting.captioned import Captioned, embed, find
from mmsearch.retrieval.decode import photos
from mmsearch.retrieval.encoders.adapter import Adapter
from mmsearch.retrieval.encoders.batches import unit_rows
from mmsearch.retrieval.encoders.onnx_encoder import OnnxEncoder
from mmsearch.retrieval.types import Skipped


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnnxEncoder]:
    encoder = OnnxEncoder(make_tiny_model(tmp_path_factory.mktemp("models") / "tiny"), threads=1)
    yield encoder
    encoder.close()


def named(folder: Path, rows: list[str], *, there: int) -> Path:
    """A caption file with these rows, and the first so many of 0.png, 1.png … beside it."""
    folder.mkdir(exist_ok=True)
    for i in range(there):
        (folder / f"{i}.png").touch()
    (folder / "captions.csv").write_text("\n".join(["path,caption", *rows]))
    return folder / "captions.csv"


def quiet(something: object) -> None:
    pass


def test_captions_are_gathered_by_photo(tmp_path: Path) -> None:
    rows = [f"{i}.png,of {i}" for i in range(200)] + ["3.png,again 3", "3.png,of 3"]
    captions = find(named(tmp_path, rows, there=200), None, quiet)
    assert len(captions) == 200
    assert captions[tmp_path / "3.png"] == ["of 3", "again 3"]


def test_sounds_and_what_is_heard_are_passed_over(tmp_path: Path) -> None:
    rows = [f"{i}.png,of {i},caption" for i in range(200)]
    table = named(tmp_path, [*rows, "200.png,waves,audio_caption", "sea.ogg,waves,", "gone.mp3,a bell,"], there=201)
    table.write_text(table.read_text().replace("path,caption", "path,caption,kind", 1))
    (tmp_path / "sea.ogg").touch()
    skipped: list[Skipped] = []
    captions = find(table, None, skipped.append)
    assert set(captions) == {tmp_path / f"{i}.png" for i in range(200)}
    assert skipped == []


def test_photos_are_looked_for_in_another_folder_too(tmp_path: Path) -> None:
    named(tmp_path / "photos", [], there=200)
    table = named(tmp_path, [f"{i}.png,of {i}" for i in range(200)], there=0)
    captions = find(table, tmp_path / "photos", quiet)
    assert list(captions)[7] == tmp_path / "photos" / "7.png"


def test_missing_photos_are_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    skipped: list[Skipped] = []
    captions = find(named(tmp_path, [f"{i}.png,of {i}" for i in range(202)], there=200), None, skipped.append)
    assert len(captions) == 200
    assert skipped == [Skipped(Path(f"{i}.png"), "not there, though captions.csv captions it") for i in (200, 201)]


def test_too_few_photos_are_told_with_what_is_needed(tmp_path: Path) -> None:
    table = named(tmp_path, [f"{i}.png,of {i}" for i in range(199)], there=199)
    with pytest.raises(BadManifest) as caught:
        find(table, None, quiet)
    assert str(caught.value) == (
        f"the caption file {table} cannot be used: it has captions for 199 photos, and adapting needs at least 200."
    )


def test_too_few_photos_are_told_with_those_that_are_missing(tmp_path: Path) -> None:
    table = named(tmp_path, [f"{i}.png,of {i}" for i in range(250)], there=150)
    with pytest.raises(BadManifest) as caught:
        find(table, None, quiet)
    assert str(caught.value) == (
        f"the caption file {table} cannot be used: it has captions for 150 photos, and adapting needs at least 200; "
        "100 more are not there or cannot be read."
    )


@pytest.mark.parametrize(("count", "listed"), [(3, "0.png, 1.png, 2.png"), (5, "0.png, 1.png, 2.png and 2 more")])
def test_a_file_of_which_no_photo_is_there_says_how_to_find_them(tmp_path: Path, count: int, listed: str) -> None:
    table = named(tmp_path, [f"{i}.png,of {i}" for i in range(count)], there=0)
    with pytest.raises(BadManifest) as caught:
        find(table, None, quiet)
    assert str(caught.value) == (
        f"the caption file {table} cannot be used: none of its photos is there: {listed}. "
        "Say where they are with --photos DIR."
    )


def test_everything_is_embedded_as_the_towers_do(tmp_path: Path, encoder: OnnxEncoder) -> None:
    captions = {}
    for name, colour in COLOURS.items():
        Image.new("RGB", (40, 30), colour).save(tmp_path / f"{name}.png")
        captions[tmp_path / f"{name}.png"] = [name, f"a {name} thing"]
    captioned = embed(captions, encoder, quiet, quiet)
    pixels = np.stack([photos.load(path, encoder.card.preprocess) for path in captions])
    np.testing.assert_allclose(captioned.photos, encoder.images(pixels), atol=1e-6)
    texts = [text for each in captions.values() for text in each]
    np.testing.assert_allclose(captioned.texts, encoder.texts(texts), atol=1e-6)
    assert captioned.owner.tolist() == [i // 2 for i in range(14)]


def test_equal_photos_are_one_with_the_captions_of_both(tmp_path: Path, encoder: OnnxEncoder) -> None:
    for name, colour in (("a.png", "red"), ("b.png", "blue"), ("copy.bmp", "red")):
        Image.new("RGB", (40, 30), colour).save(tmp_path / name)
    captions = {tmp_path / "a.png": ["one"], tmp_path / "b.png": ["two"], tmp_path / "copy.bmp": ["one", "three"]}
    captioned = embed(captions, encoder, quiet, quiet)
    assert captioned.photos.shape == (2, 32)
    assert captioned.owner.tolist() == [0, 1, 0]
    np.testing.assert_allclose(captioned.texts, encoder.texts(["one", "two", "three"]), atol=1e-6)


def test_a_photo_that_cannot_be_read_is_left_out_with_its_captions(tmp_path: Path, encoder: OnnxEncoder) -> None:
    (tmp_path / "a.png").write_text("this is no photo")
    Image.new("RGB", (40, 30), "red").save(tmp_path / "b.png")
    skipped: list[Skipped] = []
    captioned = embed({tmp_path / "a.png": ["x"], tmp_path / "b.png": ["y"]}, encoder, skipped.append, quiet)
    assert skipped == [Skipped(tmp_path / "a.png", "not a photo, whatever its name says")]
    assert (len(captioned.photos), captioned.owner.tolist()) == (1, [0])
    np.testing.assert_allclose(captioned.texts, encoder.texts(["y"]), atol=1e-6)


def test_a_part_has_its_photos_captions_and_no_others() -> None:
    rows = np.arange(9, dtype=np.float32)[:, None]
    captioned = Captioned(rows[:5], rows, np.array([2, 0, 0, 1, 2, 3, 3, 1, 4]))
    part = captioned.part(np.array([2, 1]))
    assert part.photos.ravel().tolist() == [2, 1]
    assert part.texts.ravel().tolist() == [0, 3, 4, 7]
    assert part.owner.tolist() == [0, 1, 0, 1]


def test_an_adapter_turns_photos_and_captions_by_its_own_maps() -> None:
    photos_rows, texts, text, image = np.random.default_rng(0).normal(size=(4, 3, 3)).astype(np.float32)
    turned = Captioned(photos_rows, texts, np.arange(3)).adapted(Adapter(text, image))
    np.testing.assert_allclose(turned.photos, unit_rows(photos_rows @ image), atol=1e-6)
    np.testing.assert_allclose(turned.texts, unit_rows(texts @ text), atol=1e-6)
