"""The models there are, by name: the bundled one, and those that were added."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from mmsearch.index.errors import DeviceUnavailable, ModelInvalid, ModelNotFound, UsageError
from mmsearch.retrieval import devices
from mmsearch.retrieval.encoders import model_directory
from mmsearch.retrieval.encoders.base import Encoder, ModelCard
from mmsearch.retrieval.types import Preprocess

BUNDLED = "bundled"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def models_directory() -> Path:
    """Where added models are kept: MMSEARCH_MODELS, or `models` in the user's data directory."""
    if named := os.environ.get("MMSEARCH_MODELS"):
        return Path(named)
    from platformdirs import user_data_path

    return user_data_path("mmsearch") / "models"


def available() -> list[ModelCard]:
    """The cards of all models, the bundled one first, under the names that find knows them by.

    The card of a model that cannot be used has dim 0 and says why in its description.
    """
    return [_card_or_fault(path) for path in [_bundled(), *_added()]]


def find(name: str) -> Path:
    """The directory of the model of that name, or at that path; ModelNotFound lists the names there are."""
    if name == BUNDLED:
        return _bundled()
    if _NAME.fullmatch(name) and (models_directory() / name).is_dir():
        return models_directory() / name
    if (Path(name) / model_directory.MANIFEST).is_file():
        return Path(name)
    raise ModelNotFound(name=name, known=[path.name for path in [_bundled(), *_added()]])


def chosen(name: str | None, otherwise: str | None = None) -> str:
    """The model that is meant: name, else MMSEARCH_MODEL, else otherwise, else the bundled one."""
    return name or os.environ.get("MMSEARCH_MODEL") or otherwise or BUNDLED


def card(name: str) -> ModelCard:
    """What the model of that name says of itself."""
    return model_directory.read(find(name)).card


def check_name(name: str) -> str:
    """The name, if a model can be added under it; else UsageError."""
    if name == BUNDLED or not _NAME.fullmatch(name):
        raise UsageError(f"a model cannot be called {name!r}; use letters, digits, dots, dashes, underscores")
    return name


def remove(name: str) -> None:
    """Delete the files of a model that was added."""
    if name == BUNDLED:
        raise UsageError(f"the model {BUNDLED} is part of mmsearch and cannot be removed")
    path = find(name)
    if path not in _added():
        raise UsageError(f"{path} was not added by `mmsearch models add`; delete it yourself")
    import shutil

    shutil.rmtree(path)


def place(name: str, device: str) -> str:
    """Where the model of that name computes, as devices.choose says.

    A model that torch cannot run computes on the CPU. DeviceUnavailable where a GPU is asked for that cannot be had.
    """
    fault = _torch_fault(name)
    if device == "auto" and fault:
        return "cpu"
    where = devices.choose(device)
    if where != "cpu" and fault:
        raise DeviceUnavailable(device=device, reason=fault)
    return where


def _torch_fault(name: str) -> str | None:
    """Why torch cannot run the model of that name, None where it can."""
    if model_directory.read(find(name)).checkpoint is None:
        return f"the model {name} has no torch weights, only ONNX; `mmsearch models add` adds models that have them"
    if find_spec("open_clip") is None:
        return "open_clip is not installed; pip install 'mmsearch[gpu]'"
    return None


def load(name: str, *, device: str = "auto", threads: int | None = None) -> Encoder:
    """The encoder of the model of that name, where `place` says: torch on each GPU, else ONNX Runtime."""
    where = place(name, device)
    if where == "cpu":
        from mmsearch.retrieval.encoders.onnx_encoder import OnnxEncoder

        return OnnxEncoder(find(name), threads)
    from mmsearch.retrieval.encoders.torch_encoder import TorchEncoder

    places = where.split(",")
    if len(places) == 1:
        return TorchEncoder(find(name), where)
    from mmsearch.retrieval.encoders.spread_encoder import SpreadEncoder

    return SpreadEncoder(card(name), [partial(TorchEncoder, find(name), each) for each in places])


def _bundled() -> Path:
    return Path(__file__).parent / BUNDLED


def _added() -> list[Path]:
    directory = models_directory()
    if not directory.is_dir():
        return []
    return sorted(path for path in directory.iterdir() if path.is_dir() and _NAME.fullmatch(path.name))


def _card_or_fault(path: Path) -> ModelCard:
    try:
        return replace(model_directory.read(path).card, name=path.name)
    except ModelInvalid as error:
        return ModelCard(path.name, 0, "", Preprocess(size=0), 0, description=str(error))
