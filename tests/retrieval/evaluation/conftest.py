"""Photos of one colour each, and towers that know colours."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from PIL import Image
from tests.models import COLOURS, make_tiny_model

from mmsearch.retrieval.encoders import registry
from mmsearch.retrieval.evaluation.remembering import Remembering
from mmsearch.retrieval.evaluation.subjects import Subject


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_tiny_model(tmp_path_factory.mktemp("models") / "tiny"))


@pytest.fixture(scope="session")
def towers(model: str) -> Iterator[Remembering]:
    towers = Remembering(registry.load(model, device="cpu", threads=1))
    yield towers
    towers.close()


@pytest.fixture(scope="session")
def painted(tmp_path_factory: pytest.TempPathFactory) -> list[Subject]:
    """A photo of each colour with five captions that name it."""
    folder = tmp_path_factory.mktemp("painted")
    for colour in COLOURS:
        Image.new("RGB", (40, 40), colour).save(folder / f"{colour}.png")
    return [
        Subject(colour, folder / f"{colour}.png", tuple(f"{colour} {thing}" for thing in THINGS)) for colour in COLOURS
    ]


THINGS = ("dress", "balloons", "umbrella", "wall", "car")
