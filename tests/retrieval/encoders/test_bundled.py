"""The model inside the package keeps what is promised of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mmsearch.retrieval.encoders import model_directory, registry
from mmsearch.retrieval.encoders.onnx_encoder import OnnxEncoder

FOLDER = registry.find(registry.BUNDLED)
MODALITIES = ("text", "image")


@pytest.fixture(scope="module")
def encoder() -> Iterator[OnnxEncoder]:
    opened = OnnxEncoder(FOLDER, threads=1)
    yield opened
    opened.close()


def pictures(count: int, size: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def test_it_is_small_enough_to_ship() -> None:
    sizes = [file.stat().st_size for file in FOLDER.iterdir()]
    assert sum(sizes) <= 20e6
    assert sum(size > 5e6 for size in sizes) <= 2


def test_its_files_are_those_that_its_fingerprint_names() -> None:
    card = model_directory.read(FOLDER, verify=True).card
    assert card.name == registry.BUNDLED == Path(FOLDER).name


def test_it_says_what_unrelated_pairs_look_like_and_how_a_match_stands_out() -> None:
    card = registry.card(registry.BUNDLED)
    for asked in MODALITIES:
        for stored in MODALITIES:
            _, std = card.null[asked][stored]
            slope, _ = card.calibration[asked][stored]
            assert std > 0
            assert slope > 0


def test_a_text_has_the_same_vector_alone_and_among_others(encoder: OnnxEncoder) -> None:
    texts = ["a dog", "two children play football on a muddy field while their parents watch", "", "DOG", "ß 犬 🐕"]
    together = encoder.texts(texts)
    alone = np.concatenate([encoder.texts([text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)


def test_a_picture_has_the_same_vector_alone_and_among_others(encoder: OnnxEncoder) -> None:
    pixels = pictures(5, encoder.card.preprocess.size)
    together = encoder.images(pixels)
    alone = np.concatenate([encoder.images(each[None]) for each in pixels])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)


def test_a_text_is_nearer_to_another_on_the_same_thing(encoder: OnnxEncoder) -> None:
    asked = encoder.texts(["a puppy runs through the snow", "somebody is playing an instrument", "waves at the shore"])
    stored = encoder.texts(["a small dog in a white field", "a man with a guitar", "the sea meets the beach"])
    assert (asked @ stored.T).argmax(axis=1).tolist() == [0, 1, 2]


def test_the_case_of_a_text_does_not_matter(encoder: OnnxEncoder) -> None:
    lower, upper = encoder.texts(["a dog on a beach", "A DOG ON A BEACH"])
    np.testing.assert_allclose(lower, upper, atol=1e-6)
