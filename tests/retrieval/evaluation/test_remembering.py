from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.models import SIZE

from mmsearch.retrieval.encoders import registry
from mmsearch.retrieval.encoders.base import Encoder
from mmsearch.retrieval.evaluation.remembering import Remembering
from mmsearch.retrieval.types import Skipped


@pytest.fixture
def encoder(model: str) -> Encoder:
    return registry.load(model, device="cpu", threads=1)


def silent(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> Encoder:
    """An encoder that must not be asked for anything but nothing."""

    def refuse(given: object) -> np.ndarray:
        assert len(given) == 0, "made again"  # type: ignore[arg-type]
        return np.empty((0, encoder.card.dim), np.float32)

    monkeypatch.setattr(encoder, "texts", refuse)
    monkeypatch.setattr(encoder, "images", refuse)
    return encoder


def test_texts_are_those_of_the_encoder_in_the_order_asked(encoder: Encoder) -> None:
    asked = ["red", "blue dress", "red"]
    np.testing.assert_array_equal(Remembering(encoder).texts(asked), encoder.texts(asked))


def test_photos_are_those_of_the_encoder(encoder: Encoder, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (SIZE, SIZE), "red").save(path)
    (row,) = encoder.images(np.full((1, SIZE, SIZE, 3), (255, 0, 0), np.uint8))
    np.testing.assert_array_equal(Remembering(encoder).photos([path])[path], row)


def test_what_was_saved_is_not_made_again(encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, copy = tmp_path / "a.png", tmp_path / "b.png"
    for each in (path, copy):
        Image.new("RGB", (9, 9), "red").save(each)
    first = Remembering(encoder, tmp_path / "kept")
    texts, photo = first.texts(["red", "green"]), first.photos([path])[path]
    first.save()
    again = Remembering(silent(encoder, monkeypatch), tmp_path / "kept")
    np.testing.assert_array_equal(again.texts(["green", "red"]), texts[::-1])
    np.testing.assert_array_equal(again.photos([copy])[copy], photo)


def test_a_photo_that_changed_is_made_again(encoder: Encoder, tmp_path: Path) -> None:
    path, towers = tmp_path / "a.png", Remembering(encoder)
    rows = []
    for colour in ("red", "blue"):
        Image.new("RGB", (9, 9), colour).save(path)
        rows.append(towers.photos([path])[path])
    assert rows[0] @ rows[1] < 0.5


def test_photos_that_cannot_be_read_are_said(encoder: Encoder, tmp_path: Path) -> None:
    broken, gone = tmp_path / "broken.jpg", tmp_path / "gone.jpg"
    broken.write_bytes(b"no photo")
    skipped: list[Skipped] = []
    assert Remembering(encoder).photos([broken, gone], skipped.append) == {}
    assert {each.path for each in skipped} == {broken, gone}


def test_nothing_gives_no_rows(encoder: Encoder) -> None:
    assert Remembering(encoder).texts([]).shape == (0, encoder.card.dim)
