from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.models import COLOURS, SIZE, make_tiny_model
from tests.retrieval.encoders.contract import TEXTS, EncoderContract

from mmsearch.index.errors import ModelInvalid, UsageError
from mmsearch.retrieval.encoders import model_directory
from mmsearch.retrieval.encoders.onnx_encoder import OnnxEncoder


@pytest.fixture(scope="module")
def encoder(tiny: Path) -> Iterator[OnnxEncoder]:
    encoder = OnnxEncoder(tiny, threads=1)
    yield encoder
    encoder.close()


class TestContract(EncoderContract):
    pass


def test_a_colour_finds_its_picture(encoder: OnnxEncoder) -> None:
    plain = np.stack([np.full((SIZE, SIZE, 3), colour, np.uint8) for colour in COLOURS.values()])
    cosine = encoder.texts([f"a {colour} thing" for colour in COLOURS]) @ encoder.images(plain).T
    assert cosine.argmax(axis=1).tolist() == list(range(len(COLOURS)))


def test_passages_count_by_their_length(encoder: OnnxEncoder) -> None:
    """30 words and 5 words, two special tokens each."""
    first, last = encoder.texts(["red " * 30, "blue " * 5])
    mean = 32 * first + 7 * last
    (row,) = encoder.texts(["red " * 30 + "blue " * 5])
    np.testing.assert_allclose(row, mean / np.linalg.norm(mean), atol=1e-6)


def test_the_message_about_wrong_pictures_names_both_shapes(encoder: OnnxEncoder) -> None:
    with pytest.raises(UsageError) as caught:
        encoder.images(np.zeros((2, 8, 8, 3), np.float32))
    assert str(caught.value) == ("the model tiny takes pictures as uint8 (N, 32, 32, 3), but got float32 (2, 8, 8, 3)")


def test_a_text_never_loads_the_image_tower(tmp_path: Path) -> None:
    model = make_tiny_model(tmp_path / "m")
    (model / "image.onnx").write_bytes(b"not a graph")
    encoder = OnnxEncoder(model)
    encoder.texts(["red"])
    with pytest.raises(ModelInvalid, match=r"image\.onnx cannot be loaded"):
        encoder.images(np.zeros((1, SIZE, SIZE, 3), np.uint8))


def test_a_tower_of_another_dimension_is_refused(tmp_path: Path) -> None:
    model = model_directory.read(make_tiny_model(tmp_path / "m"))
    model_directory.write(replace(model, card=replace(model.card, dim=16)))
    with pytest.raises(ModelInvalid, match=r"text\.onnx makes \{'embedding': 32\}, but model\.json says 16"):
        OnnxEncoder(model.path).texts(["red"])


def test_it_works_again_after_closing(tiny: Path) -> None:
    encoder = OnnxEncoder(tiny)
    before = encoder.texts(["red"])
    encoder.close()
    np.testing.assert_array_equal(encoder.texts(["red"]), before)


def test_threads_get_what_one_thread_gets(tiny: Path) -> None:
    encoder = OnnxEncoder(tiny)
    with ThreadPoolExecutor(8) as pool:
        rows = list(pool.map(lambda text: encoder.texts([text]), TEXTS * 4))
    np.testing.assert_allclose(np.concatenate(rows), encoder.texts(TEXTS * 4), atol=1e-5)


def test_embedding_a_text_imports_nothing_heavy(tiny: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from mmsearch.retrieval.encoders.registry import load; "
        f"load({str(tiny)!r}).texts(['a red dog']); "
        "print(sorted({'torch', 'open_clip', 'onnx', 'ftfy', 'PIL', 'sqlalchemy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
