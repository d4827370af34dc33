from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.models import make_tiny_model

from mmsearch.index.errors import ModelInvalid
from mmsearch.retrieval.encoders import model_directory
from mmsearch.retrieval.encoders.model_directory import TextInput
from mmsearch.retrieval.types import Preprocess


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return make_tiny_model(tmp_path / "tiny")


def edit(model: Path, **changes: Any) -> None:
    manifest = model / "model.json"
    document = json.loads(manifest.read_text()) | changes
    manifest.write_text(json.dumps({key: value for key, value in document.items() if value is not ...}))


def test_what_is_written_is_read_back(model: Path) -> None:
    written = model_directory.read(model)
    changed = replace(
        written,
        card=replace(
            written.card,
            preprocess=Preprocess(48, "shortest", "bilinear", (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)),
            calibration={"text": {"image": (1.5, -3.0)}},
            metrics={"dev": {"R@10": 0.3}},
            licence="CC0",
        ),
        text=TextInput(pad_id=3, pad="context", clean="canonicalize"),
        source="ViT-B-32/laion2b",
    )
    assert model_directory.write(changed) == changed
    assert model_directory.read(model) == changed


def test_the_fingerprint_is_the_digest_of_the_three_files(model: Path) -> None:
    together = b"".join((model / part).read_bytes() for part in ("image.onnx", "text.onnx", "tokenizer.json"))
    assert model_directory.read(model).card.fingerprint == hashlib.sha256(together).hexdigest()


def test_another_seed_has_another_fingerprint(model: Path, tmp_path: Path) -> None:
    other = make_tiny_model(tmp_path / "other", seed=1)
    assert model_directory.read(other).card.fingerprint != model_directory.read(model).card.fingerprint


@pytest.mark.parametrize("part", ["model.json", "image.onnx", "text.onnx", "tokenizer.json"])
def test_a_missing_file_is_named(model: Path, part: str) -> None:
    (model / part).unlink()
    with pytest.raises(ModelInvalid) as caught:
        model_directory.read(model)
    assert str(caught.value) == f"the model {model} cannot be used: it has no {part}"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"format": 2}, "cannot be read: its format is 2, and this mmsearch knows format 1"),
        ({"dim": ...}, "lacks 'dim'"),
        ({"dim": "many"}, "cannot be read: invalid literal for int() with base 10: 'many'"),
        (
            {"text": {"context_length": 9, "pad_id": 0, "pad": "left"}},
            "cannot be read: 'left' is none of longest, context",
        ),
        ({"image": []}, "cannot be read: list indices must be integers or slices, not str"),
    ],
)
def test_a_wrong_manifest_says_what_is_wrong(model: Path, changes: dict[str, Any], reason: str) -> None:
    edit(model, **changes)
    with pytest.raises(ModelInvalid) as caught:
        model_directory.read(model)
    assert str(caught.value) == f"the model {model} cannot be used: model.json {reason}"


def test_changed_weights_are_noticed_when_verifying(model: Path) -> None:
    with (model / "text.onnx").open("ab") as file:
        file.write(b"\0")
    model_directory.read(model)  # hashing a large model takes seconds, so that is only done when asked for
    with pytest.raises(ModelInvalid, match=r"its files do not match the fingerprint in model\.json$"):
        model_directory.read(model, verify=True)


def test_torch_weights_are_found_beside_the_graphs(model: Path) -> None:
    assert model_directory.read(model).checkpoint is None
    (model / "open_clip").mkdir()
    assert model_directory.read(model).checkpoint == model / "open_clip"
