from __future__ import annotations

from pathlib import Path

import pytest
from tests.models import make_tiny_model

from mmsearch.index.errors import DeviceUnavailable, ModelNotFound, UsageError
from mmsearch.retrieval.encoders import registry
from mmsearch.retrieval.encoders.onnx_encoder import OnnxEncoder


def test_models_are_kept_where_the_environment_says(models: Path) -> None:
    assert registry.models_directory() == models


def test_models_are_kept_in_the_users_data_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MMSEARCH_MODELS", raising=False)
    assert registry.models_directory().parts[-2:] == ("mmsearch", "models")


def test_a_model_is_found_by_its_name(models: Path) -> None:
    make_tiny_model(models / "colours")
    assert registry.find("colours") == models / "colours"


def test_a_model_is_found_by_its_path(models: Path, tmp_path: Path) -> None:
    path = make_tiny_model(tmp_path / "elsewhere")
    assert registry.find(str(path)) == path


def test_an_unknown_model_is_told_with_those_there_are(models: Path) -> None:
    make_tiny_model(models / "colours")
    with pytest.raises(ModelNotFound) as caught:
        registry.find("clours")
    assert str(caught.value) == (
        "there is no model 'clours'; there are: bundled, colours. Add one with `mmsearch models add ARCH/TAG`."
    )


def test_the_bundled_model_is_listed_first(models: Path) -> None:
    make_tiny_model(models / "a", name="under another name")
    assert [card.name for card in registry.available()] == ["bundled", "a"]


def test_a_broken_model_is_listed_with_its_fault(models: Path) -> None:
    make_tiny_model(models / "broken")
    (models / "broken" / "text.onnx").unlink()
    card = registry.available()[-1]
    assert (card.name, card.dim) == ("broken", 0)
    assert card.description.endswith("cannot be used: it has no text.onnx")


def test_a_model_in_the_making_is_not_listed(models: Path) -> None:
    make_tiny_model(models / ".adding-x")
    assert len(registry.available()) == 1


def test_a_removed_model_is_gone(models: Path) -> None:
    make_tiny_model(models / "colours")
    registry.remove("colours")
    assert list(models.iterdir()) == []


def test_the_bundled_model_cannot_be_removed(models: Path) -> None:
    with pytest.raises(UsageError, match="is part of mmsearch and cannot be removed"):
        registry.remove("bundled")


def test_a_model_elsewhere_is_not_removed(models: Path, tmp_path: Path) -> None:
    path = make_tiny_model(tmp_path / "mine")
    with pytest.raises(UsageError, match="was not added by"):
        registry.remove(str(path))
    assert path.is_dir()


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "..", "bundled", "a b"])
def test_a_name_that_is_no_folder_name_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="a model cannot be called"):
        registry.check_name(name)


def test_the_card_is_read_without_loading_the_model(models: Path) -> None:
    make_tiny_model(models / "colours", dim=16)
    (models / "colours" / "text.onnx").write_bytes(b"")
    assert registry.card("colours").dim == 16


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_a_model_without_torch_weights_runs_on_the_cpu(models: Path, device: str) -> None:
    make_tiny_model(models / "colours")
    assert isinstance(registry.load("colours", device=device), OnnxEncoder)


def test_a_gpu_is_refused_to_a_model_without_torch_weights(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_tiny_model(models / "colours")
    monkeypatch.setattr("mmsearch.retrieval.devices.choose", lambda device: "cuda:0")
    with pytest.raises(DeviceUnavailable) as caught:
        registry.load("colours", device="cuda")
    assert str(caught.value) == (
        "the device cuda cannot be used: the model colours has no torch weights, only ONNX; `mmsearch models add` adds "
        "models that have them. `mmsearch doctor` says what is there."
    )


def test_a_gpu_is_refused_without_open_clip_and_auto_is_then_the_cpu(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = make_tiny_model(models / "colours") / "open_clip"
    checkpoint.mkdir()
    monkeypatch.setattr("mmsearch.retrieval.devices.choose", lambda device: "cuda:0")
    monkeypatch.setattr(registry, "find_spec", lambda name: object())
    assert registry.place("colours", "auto") == "cuda:0"
    monkeypatch.setattr(registry, "find_spec", lambda name: None)
    assert registry.place("colours", "auto") == "cpu"
    with pytest.raises(DeviceUnavailable, match=r"open_clip is not installed; pip install 'mmsearch\[gpu\]'"):
        registry.place("colours", "cuda:0")
