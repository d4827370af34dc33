"""What `mmsearch models add` does before and around open_clip, which is not needed here."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.models import make_tiny_model

from mmsearch.index.errors import MissingExtra, ModelInvalid, UsageError
from mmsearch.retrieval.encoders import open_clip_export, registry
from mmsearch.retrieval.encoders.open_clip_export import Source, add, parse


def test_architecture_and_tag() -> None:
    assert parse("ViT-B-32/laion2b_s34b_b79k") == Source("ViT-B-32", "laion2b_s34b_b79k")


def test_a_model_of_the_hub() -> None:
    assert parse("hf-hub:org/name") == Source("hf-hub:org/name")


def test_a_checkpoint_with_its_architecture(tmp_path: Path) -> None:
    (tmp_path / "w.pt").touch()
    assert parse(f"ViT-B-32:{tmp_path}/w.pt") == Source("ViT-B-32", f"{tmp_path}/w.pt")


def test_a_folder_with_a_configuration(tmp_path: Path) -> None:
    (tmp_path / "open_clip_config.json").touch()
    assert parse(str(tmp_path)) == Source(f"local-dir:{tmp_path}")


def test_a_checkpoint_that_is_not_there_is_told() -> None:
    with pytest.raises(UsageError, match=r"there is no checkpoint nowhere/w\.pt; name it as ARCH:PATH"):
        parse("ViT-B-32:nowhere/w.pt")


@pytest.mark.parametrize("spec", ["ViT-B-32", "."])
def test_half_a_name_is_refused(spec: str) -> None:
    with pytest.raises(UsageError, match="names no model; give ARCH/TAG, hf-hub:ORG/NAME"):
        parse(spec)


def test_a_ready_model_is_copied(models: Path, tmp_path: Path) -> None:
    source = make_tiny_model(tmp_path / "mine")
    steps: list[str] = []
    card = add(str(source), progress=steps.append)
    assert registry.card("mine") == card
    assert steps == ["copying"]


def test_a_model_takes_the_name_it_is_given(models: Path, tmp_path: Path) -> None:
    add(str(make_tiny_model(tmp_path / "mine")), name="colours")
    assert registry.card("colours").name == "colours"


def test_a_model_can_be_added_to_another_directory(models: Path, tmp_path: Path) -> None:
    add(str(make_tiny_model(tmp_path / "mine")), directory=tmp_path / "deep" / "other")
    assert (tmp_path / "deep" / "other" / "mine" / "model.json").is_file()
    assert list(models.iterdir()) == []


def test_a_taken_name_is_refused(models: Path, tmp_path: Path) -> None:
    source = make_tiny_model(tmp_path / "mine")
    add(str(source))
    with pytest.raises(UsageError, match="there is already a model mine; remove it, or choose another --name"):
        add(str(source))


def test_a_model_that_was_tampered_with_is_not_added(models: Path, tmp_path: Path) -> None:
    source = make_tiny_model(tmp_path / "mine")
    (source / "text.onnx").write_bytes(b"other")
    with pytest.raises(ModelInvalid, match="do not match the fingerprint"):
        add(str(source))
    assert list(models.iterdir()) == []


def test_without_open_clip_the_extra_is_named(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_clip_export, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra) as caught:
        add("ViT-B-32/laion2b_s34b_b79k")
    assert str(caught.value) == (
        "adding a model from open_clip needs an optional part: pip install 'mmsearch[open-clip]'"
    )
    assert list(models.iterdir()) == []


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("ViT-B-32/laion2b_s34b_b79k", "ViT-B-32-laion2b_s34b_b79k"),
        ("hf-hub:timm/ViT-B-16-SigLIP", "ViT-B-16-SigLIP"),
        ("ViT-B-32:weights/my best.pt", "ViT-B-32-my-best"),
    ],
)
def test_a_name_is_made_from_the_spec(models: Path, monkeypatch: pytest.MonkeyPatch, spec: str, name: str) -> None:
    (models / name).mkdir()
    with pytest.raises(UsageError, match=f"there is already a model {name};"):
        add(spec)
