"""A model directory with an adapter: the maps follow the towers, and the fingerprint covers them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.clip_models import make_tiny_clip
from tests.retrieval.encoders.contract import TEXTS, EncoderContract, pictures

from mmsearch.index.errors import ModelInvalid
from mmsearch.retrieval.encoders import adapter as adapters
from mmsearch.retrieval.encoders import model_directory
from mmsearch.retrieval.encoders.adapter import Adapter
from mmsearch.retrieval.encoders.batches import unit_rows
from mmsearch.retrieval.encoders.onnx_encoder import OnnxEncoder
from mmsearch.retrieval.encoders.open_clip_export import add

DIM = 32


def some_adapter(seed: int = 0) -> Adapter:
    text, image = np.random.default_rng(seed).normal(size=(2, DIM, DIM)).astype(np.float32)
    return Adapter(text, image)


def with_adapter(source: Path, directory: Path, adapter: Adapter) -> Path:
    shutil.copytree(source, directory)
    adapters.write(adapter, directory)
    model_directory.write(model_directory.read(directory))
    return directory


@pytest.fixture(scope="module")
def turned(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_adapter(tiny, tmp_path_factory.mktemp("turned") / "turned", some_adapter())


class TestContract(EncoderContract):
    @pytest.fixture
    def encoder(self, turned: Path) -> Iterator[OnnxEncoder]:
        encoder = OnnxEncoder(turned, threads=1)
        yield encoder
        encoder.close()


def test_each_tower_is_followed_by_its_own_map(tiny: Path, turned: Path) -> None:
    plain, encoder = OnnxEncoder(tiny, threads=1), OnnxEncoder(turned, threads=1)
    short = [text for text in TEXTS if len(text) < 30]
    pixels = pictures(plain, 3)
    np.testing.assert_allclose(encoder.texts(short), unit_rows(plain.texts(short) @ some_adapter().text), atol=1e-6)
    np.testing.assert_allclose(
        encoder.images(pixels), unit_rows(plain.images(pixels) @ some_adapter().image), atol=1e-6
    )


def test_the_identity_changes_nothing(tiny: Path, tmp_path: Path) -> None:
    encoder = OnnxEncoder(with_adapter(tiny, tmp_path / "same", Adapter.identity(DIM)), threads=1)
    np.testing.assert_allclose(encoder.texts(TEXTS), OnnxEncoder(tiny, threads=1).texts(TEXTS), atol=1e-6)


def test_one_adapter_after_another_is_one_adapter() -> None:
    first, second = some_adapter(1), some_adapter(2)
    rows = np.random.default_rng(3).normal(size=(5, DIM)).astype(np.float32)
    both = first.then(second)
    for one, other, together in ((first.text, second.text, both.text), (first.image, second.image, both.image)):
        expected = unit_rows(unit_rows(rows @ one) @ other)
        np.testing.assert_allclose(unit_rows(rows @ together), expected, atol=1e-5)


def test_an_adapter_changes_the_fingerprint(tiny: Path, turned: Path) -> None:
    fingerprint = model_directory.read(turned, verify=True).card.fingerprint
    assert fingerprint != model_directory.read(tiny).card.fingerprint


def test_a_changed_adapter_is_noticed_when_verifying(tiny: Path, tmp_path: Path) -> None:
    model = with_adapter(tiny, tmp_path / "m", some_adapter(0))
    adapters.write(some_adapter(1), model)
    with pytest.raises(ModelInvalid, match="do not match the fingerprint"):
        model_directory.read(model, verify=True)


def test_equal_adapters_make_equal_files(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    for folder in ("a", "b"):
        adapters.write(some_adapter(), tmp_path / folder)
    assert (tmp_path / "a" / "adapter.npz").read_bytes() == (tmp_path / "b" / "adapter.npz").read_bytes()


def test_an_adapter_travels_with_its_model(turned: Path, tmp_path: Path) -> None:
    card = add(str(turned), name="copied", directory=tmp_path)
    assert card.fingerprint == model_directory.read(turned).card.fingerprint
    assert (tmp_path / "copied" / "adapter.npz").is_file()


def test_a_damaged_adapter_is_told(turned: Path, tmp_path: Path) -> None:
    model = shutil.copytree(turned, tmp_path / "m")
    (model / "adapter.npz").write_bytes(b"nothing")
    with pytest.raises(ModelInvalid, match=r"m cannot be used: adapter\.npz cannot be read: "):
        OnnxEncoder(model)


def test_an_adapter_without_one_of_its_maps_is_told(turned: Path, tmp_path: Path) -> None:
    model = shutil.copytree(turned, tmp_path / "m")
    np.savez(model / "adapter.npz", text=np.eye(DIM, dtype=np.float32))
    with pytest.raises(ModelInvalid, match=r"adapter\.npz cannot be read: .*image"):
        OnnxEncoder(model)


def test_an_adapter_for_another_dimension_is_told(turned: Path, tmp_path: Path) -> None:
    model = shutil.copytree(turned, tmp_path / "m")
    adapters.write(Adapter.identity(8), model)
    with pytest.raises(ModelInvalid) as caught:
        OnnxEncoder(model)
    assert str(caught.value) == (
        f"the model {model} cannot be used: adapter.npz has maps of (8, 8), but model.json says 32 dimensions"
    )


@pytest.mark.filterwarnings("ignore")  # torch and open_clip warn about themselves
def test_torch_and_onnx_are_turned_alike(tmp_path: Path) -> None:
    for needed in ("torch", "open_clip", "onnxscript"):
        pytest.importorskip(needed)
    from mmsearch.retrieval.encoders.torch_encoder import TorchEncoder

    dim = add(str(make_tiny_clip(tmp_path / "clip")), name="clip", directory=tmp_path / "models").dim
    maps = np.random.default_rng(0).normal(size=(2, dim, dim)).astype(np.float32)
    model = with_adapter(tmp_path / "models" / "clip", tmp_path / "turned", Adapter(*maps))
    onnx, torch = OnnxEncoder(model, threads=1), TorchEncoder(model, "cpu")
    assert (onnx.texts(TEXTS) * torch.texts(TEXTS)).sum(axis=1).min() > 0.999
    assert (onnx.images(pictures(onnx, 3)) * torch.images(pictures(onnx, 3))).sum(axis=1).min() > 0.999
